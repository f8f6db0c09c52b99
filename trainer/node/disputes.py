"""A node's part in a dispute: prove its decryption share, and check every other's proof."""

from __future__ import annotations

from chaincode.schema.base import ContentRef, Language
from chaincode.schema.disputes import JudgeSharesArgs, ProveShareArgs, ShareProof
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.rounds import Objection, Posted
from client.consortium import Consortium
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.courses import Courses
from trainer.node.duties import Duty, Snapshot
from trainer.node.home import Home
from trainer.node.rounds import Rounds
from trainer.privacy import shareproof
from trainer.privacy.sampling import fresh
from trainer.privacy.shareproof import Part
from trainer.privacy.threshold import share_sender
from trainer.privacy.wire import MALFORMED

_REFUTING = MALFORMED | {Code.SHARE_UNPROVEN}
"""Why a proof does not hold, whoever checks it."""
_UNUSABLE = frozenset({Code.CONTENT_MISSING, Code.CONTENT_TAMPERED})
"""What its owner can mend."""


class _PreparedProof(Language):
    """The proof of this hospital's share, kept first: of one share there is one, for each tells
    something of the share's flooding noise."""

    content_sha256: str


class Disputes:
    """Carries out the duties of disputes.

    Args:
        msp_id: the node's hospital.
        rounds: computes the sum in dispute.
    """

    def __init__(
        self,
        msp_id: str,
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        keys: KeyKeeper,
        courses: Courses,
        rounds: Rounds,
    ) -> None:
        self._msp_id = msp_id
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._keys = keys
        self._courses = courses
        self._rounds = rounds

    def prove(self, duty: Duty, now: Snapshot) -> dict[str, int | str]:
        """Prove that this hospital's share is of its part of the key and of the round's sum.

        Raises:
            MedFabricError: ``SHARE_UNPROVEN`` where it is not.
        """
        name = f"share-proof-{duty.round}"
        prepared = self._home.record(duty.plan_id, name, _PreparedProof)
        if prepared is None:
            prepared = _PreparedProof(content_sha256=self._home.keep_content(self._made(now)))
            self._home.keep(duty.plan_id, name, prepared)
        ref = self._exchange.release_kept(prepared.content_sha256)
        args = ProveShareArgs(plan_id=duty.plan_id, round=duty.round, proof=ref)
        self._consortium.submit("dispute:Prove", args, Posted)
        return {"bytes": ref.size_bytes}

    def judge(self, duty: Duty, now: Snapshot) -> None:
        """Check the others' proofs, and say whose do not hold."""
        others = [proof for proof in now.view.proofs if proof.msp_id != self._msp_id]
        culprits = tuple(proof.msp_id for proof in others if self._refuted(now, proof))
        args = JudgeSharesArgs(plan_id=duty.plan_id, round=duty.round, culprits=culprits)
        self._consortium.submit("dispute:Judge", args, Posted)

    def _made(self, now: Snapshot) -> bytes:
        shown, shorts = self._keys.opening(now)
        part, _ = self._keys.part(now, self._msp_id, shown)
        round_ = now.view.round
        stream = self._courses.test_stream("share proof", round_.plan_id, round_.number) or fresh()
        return shown + self._proof(now, self._msp_id, part).prove(shorts, stream)

    def _refuted(self, now: Snapshot, proof: ShareProof) -> bool:
        """Whether a proof does not hold, or its owner does not give it.

        Raises:
            MedFabricError: what keeps it from this hospital, while its owner may still mend that.
        """
        document = self._fetched(now, proof.proof)
        if document is None:
            return True
        try:
            part, rest = self._keys.part(now, proof.msp_id, document)
            self._proof(now, proof.msp_id, part).check(rest)
        except MedFabricError as error:
            if error.code not in _REFUTING:
                raise
            return True
        return False

    def _fetched(self, now: Snapshot, ref: ContentRef) -> bytes | None:
        """Content, or None where it stays unusable after an objection to it became firm."""
        try:
            return self._exchange.fetch(ref)
        except MedFabricError as error:
            if error.code not in _UNUSABLE:
                raise
            if any(o.firm and self._is_own(o, ref) for o in now.view.objections):
                return None
            round_ = now.view.round
            self._exchange.object(round_.plan_id, round_.number, ref.sha256, error.code)
            raise

    def _is_own(self, objection: Objection, ref: ContentRef) -> bool:
        return (objection.msp_id, objection.subject_sha256) == (self._msp_id, ref.sha256)

    def _proof(self, now: Snapshot, hospital: str, part: Part) -> shareproof.ShareProof:
        """Proofs about a hospital's share in the sum."""
        round_, hospitals = now.view.round, now.plan.terms.hospitals
        posted = next(share for share in now.view.shares if share.msp_id == hospital)
        share = self._exchange.fetch(posted.share)
        points = [hospitals.index(h) + 1 for h in round_.key_holders]
        place = (hospitals.index(hospital) + 1, points)
        sender = share_sender(round_.plan_id, round_.number, hospital)
        with self._rounds.aggregate(now).path.open("rb") as aggregate:
            scheme = self._keys.scheme(now)
            return scheme.share_proof(part, aggregate, share, place, sender)
