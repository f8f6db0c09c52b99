"""A node's part in a dispute: prove its decryption share, and check every other's proof."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

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
from trainer.privacy.sampling import Stream, fresh
from trainer.privacy.shareproof import Part
from trainer.privacy.threshold import share_sender
from trainer.privacy.wire import MALFORMED

_REFUTING = MALFORMED | {Code.SHARE_UNPROVEN}
"""Why a proof does not hold, whoever checks it."""
UNUSABLE = frozenset({Code.CONTENT_MISSING, Code.CONTENT_TAMPERED})
"""What its owner can mend."""


class _PreparedProof(Language):
    """The proof of this hospital's share, kept first: of one share there is one, for each tells
    something of the share's flooding noise."""

    content_sha256: str


class Proofs:
    """Makes and checks proofs of decryption shares, whatever it is that they decrypt.

    Args:
        msp_id: the node's hospital.
    """

    def __init__(self, msp_id: str, home: Home, exchange: Exchange, keys: KeyKeeper) -> None:
        self.msp_id = msp_id
        self._home = home
        self._exchange = exchange
        self._keys = keys

    def released(
        self,
        now: Snapshot,
        kept_as: tuple[str, str],
        proof: Callable[[Part], shareproof.ShareProof],
        stream: Stream | None,
    ) -> ContentRef:
        """The proof of this hospital's share, kept and stored.

        Args:
            now: the plan whose key it is, and its ceremony.
            kept_as: where in the node's folder, and under which name.
            proof: proofs about the share, by what is known of the part of the key.
            stream: in test mode, what it is drawn from; else from nothing repeatable.

        Raises:
            MedFabricError: ``SHARE_UNPROVEN`` where the share is not what it should be.
        """
        prepared = self._home.record(*kept_as, _PreparedProof)
        if prepared is None:
            shown, shorts = self._keys.opening(now)
            part, _ = self._keys.part(now, self.msp_id, shown)
            document = shown + proof(part).prove(shorts, stream or fresh())
            prepared = _PreparedProof(content_sha256=self._home.keep_content(document))
            self._home.keep(*kept_as, prepared)
        return self._exchange.release_kept(prepared.content_sha256)

    def refuted(
        self,
        now: Snapshot,
        hospital: str,
        document: bytes,
        proof: Callable[[Part], shareproof.ShareProof],
    ) -> bool:
        """Whether a hospital's proof does not hold."""
        try:
            part, rest = self._keys.part(now, hospital, document)
            proof(part).check(rest)
        except MedFabricError as error:
            if error.code not in _REFUTING:
                raise
            return True
        return False


class Disputes:
    """Carries out the duties of disputes about rounds' sums.

    Args:
        rounds: computes the sum in dispute.
    """

    def __init__(
        self,
        consortium: Consortium,
        exchange: Exchange,
        keys: KeyKeeper,
        courses: Courses,
        rounds: Rounds,
        proofs: Proofs,
    ) -> None:
        self._consortium = consortium
        self._exchange = exchange
        self._keys = keys
        self._courses = courses
        self._rounds = rounds
        self._proofs = proofs

    def prove(self, duty: Duty, now: Snapshot) -> dict[str, int | str]:
        """Prove that this hospital's share is of its part of the key and of the round's sum.

        Raises:
            MedFabricError: ``SHARE_UNPROVEN`` where it is not.
        """
        kept_as = (duty.plan_id, f"share-proof-{duty.round}")
        stream = self._courses.test_stream("share proof", duty.plan_id, duty.round)
        own = partial(self._proof, now, self._proofs.msp_id)
        ref = self._proofs.released(now, kept_as, own, stream)
        args = ProveShareArgs(plan_id=duty.plan_id, round=duty.round, proof=ref)
        self._consortium.submit("dispute:Prove", args, Posted)
        return {"bytes": ref.size_bytes}

    def judge(self, duty: Duty, now: Snapshot) -> None:
        """Check the others' proofs, and say whose do not hold."""
        others = [proof for proof in now.view.proofs if proof.msp_id != self._proofs.msp_id]
        culprits = tuple(proof.msp_id for proof in others if self._refuted(now, proof))
        args = JudgeSharesArgs(plan_id=duty.plan_id, round=duty.round, culprits=culprits)
        self._consortium.submit("dispute:Judge", args, Posted)

    def _refuted(self, now: Snapshot, proof: ShareProof) -> bool:
        """Whether a proof does not hold, or its owner does not give it.

        Raises:
            MedFabricError: what keeps it from this hospital, while its owner may still mend that.
        """
        document = self._fetched(now, proof.proof)
        if document is None:
            return True
        about = partial(self._proof, now, proof.msp_id)
        return self._proofs.refuted(now, proof.msp_id, document, about)

    def _fetched(self, now: Snapshot, ref: ContentRef) -> bytes | None:
        """Content, or None where it stays unusable after an objection to it became firm."""
        try:
            return self._exchange.fetch(ref)
        except MedFabricError as error:
            if error.code not in UNUSABLE:
                raise
            if any(o.firm and self._is_own(o, ref) for o in now.view.objections):
                return None
            round_ = now.view.round
            self._exchange.object(round_.plan_id, round_.number, ref.sha256, error.code)
            raise

    def _is_own(self, objection: Objection, ref: ContentRef) -> bool:
        return (objection.msp_id, objection.subject_sha256) == (self._proofs.msp_id, ref.sha256)

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
