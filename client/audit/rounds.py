"""What rounds dropped and summed, and whom they named, as it follows from a proven ledger: no
update is left out but by the firm objections of most hospitals, what was accepted is a sum of all
the others, and nobody is named for a share but who proved none, or whose proof most found not to
hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TypeVar

from chaincode.schema import disputes, keys
from chaincode.schema.base import Language
from chaincode.schema.ceremonies import Ceremony
from chaincode.schema.disputes import ShareProof, ShareVerdict
from chaincode.schema.dropping import verdicts
from chaincode.schema.errors import Code
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import (
    Attestation,
    Dropped,
    NodeRef,
    Objection,
    Round,
    RoundStatus,
    Update,
)
from chaincode.schema.stored import whole
from chaincode.schema.sums import attested_sha256
from client.audit.lineage import Reader
from client.audit.proof import Finding, Ledger, Writing

Asset = TypeVar("Asset", bound=Language)


def check(ledger: Ledger) -> Iterator[Finding]:
    """Compare what every round dropped, and the sum that it accepted, with what was posted."""
    for composite, writings in ledger.writings.items():
        if keys.parted(composite)[0] == "round":
            yield from _Round(ledger, keys.parted(composite), writings).findings()


class _Round:
    def __init__(self, ledger: Ledger, key: keys.Key, writings: Sequence[Writing]) -> None:
        self._ledger = ledger
        self._writings = writings
        self._states = [Round.model_validate_json(whole(key, w.value or b"")) for w in writings]
        self._place = (self._states[0].plan_id, self._states[0].number)
        self._terms = Reader(ledger).get(keys.plan_terms(self._place[0]), PlanTerms)

    def findings(self) -> Iterator[Finding]:
        """What does not follow, at the transaction that says so."""
        before = self._states[0].model_copy(update={"dropped": (), "aggregate_sha256": None})
        for round_, writing in zip(self._states, self._writings, strict=True):
            if round_.dropped != before.dropped and (
                before.status is not RoundStatus.SEALED
                or round_.status not in (RoundStatus.SEALED, RoundStatus.FAILED)
                or round_.dropped != (*before.dropped, *self._to_drop(before, writing.block))
            ):
                yield self._finding("what it drops does not follow from objections", writing)
            if round_.aggregate_sha256 != before.aggregate_sha256 and (
                self._attesting(round_, writing.block) < self._terms.attestations_needed
            ):
                yield self._finding("too few hospitals attest what it sums", writing)
            judged = before.status is RoundStatus.JUDGING
            if (judged or round_.unproven != before.unproven) and (
                round_.unproven != self._unproven(round_, writing.block)
            ):
                yield self._finding("whom it names does not follow from proofs", writing)
            before = round_

    def _to_drop(self, round_: Round, block: int) -> tuple[Dropped, ...]:
        """What the objections before a block take out of a round."""
        updates = {
            update.update.sha256: NodeRef(msp_id=update.msp_id, node_id=update.node_id)
            for update in self._posted("update", Update, block)
        }
        for update in round_.dropped:
            del updates[update.update_sha256]
        objections = self._posted("objection", Objection, block)
        found = [
            Dropped(**dict(updates[verdict.update_sha256]), **asdict(verdict))
            for verdict in verdicts(objections, self._terms.participation)
            if verdict.update_sha256 in updates
        ]
        return tuple(sorted(found, key=lambda one: (one.msp_id, one.node_id)))

    def _attesting(self, round_: Round, block: int) -> int:
        """Hospitals that had attested the accepted sum: of all updates that are left, by the
        weights that follow from the ledger."""
        reader, left = Reader(self._ledger), len(round_.dropped)
        key = reader.find(keys.ceremony(round_.plan_id), Ceremony)
        masked = isinstance(self._terms.encryption, MaskingTerms)
        key_sha256 = None if masked or key is None else key.collective_key_sha256
        whole = reader.whole(round_)

        def is_right(posted: Attestation) -> bool:
            digest = attested_sha256(self._terms, key_sha256, whole, posted.aggregate.sha256)
            return posted.aggregate_sha256 == round_.aggregate_sha256 == digest

        posted = self._posted("attestation", Attestation, block)
        return sum(one.dropped == left and is_right(one) for one in posted)

    def _unproven(self, round_: Round, block: int) -> tuple[str, ...]:
        """Key holders without a proof before a block, or found out by most hospitals."""
        proven = {proof.msp_id for proof in self._posted("share-proof", ShareProof, block)}
        said = [verdict.culprits for verdict in self._posted("share-verdict", ShareVerdict, block)]
        return disputes.unproven(round_.key_holders, proven, said, len(self._terms.hospitals))

    def _posted(self, kind: str, model: type[Asset], block: int) -> Iterator[Asset]:
        place = keys.round_(*self._place)[1]
        return Reader(self._ledger).posted(block, kind, model, *place)

    def _finding(self, why: str, writing: Writing) -> Finding:
        plan_id, number = self._place
        message = f"round {number} of {plan_id}: {why}"
        return Finding(Code.LINEAGE_BROKEN, message, writing.block, writing.tx_id)
