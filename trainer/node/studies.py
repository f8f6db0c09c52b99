"""A node's part in studies: hand records over, sum, attest, share, find; see
:mod:`chaincode.schema.studies`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chaincode.schema import canonical, states, studies
from chaincode.schema.base import ContentRef, Language, Role, Sha256
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import Posted
from chaincode.schema.studies import (
    AttestSumArgs,
    Deposit,
    DepositArgs,
    FindArgs,
    Finding,
    JudgeStudySharesArgs,
    ProveStudyShareArgs,
    Selection,
    ShareSumArgs,
    Study,
    StudyArgs,
    StudyAttestation,
    StudyShare,
    StudyShareProof,
    StudyStatus,
    StudyTerms,
    StudyView,
    SumArgs,
)
from client.consortium import Consortium, every
from trainer.node.agent import Due
from trainer.node.ceremony import KeyKeeper
from trainer.node.content import Exchange
from trainer.node.disputes import UNUSABLE, Proofs
from trainer.node.duties import Duty, Me, Snapshot, Task
from trainer.node.home import Home
from trainer.privacy import statistics
from trainer.privacy.shareproof import Part, ShareProof
from trainer.privacy.wire import MALFORMED
from trainer.randomness import Secrets

if TYPE_CHECKING:
    from trainer.data.raw import Raw

log = logging.getLogger("medfabric.node")

Facts = dict[str, int | str]
ReadRecords = Callable[[StudyTerms, str], "Raw"]
"""All records of this node's dataset, by the study's columns, as they were registered."""

_UNSOUND = MALFORMED | {Code.CIPHERTEXT_UNSOUND, Code.TRANSPARENT}
"""How ciphertexts are that nobody may add, whoever checks them."""
_UNDECODABLE = MALFORMED | {Code.DECODE_RANGE}
"""Why shares decrypt nothing, whoever combines them."""


class _Released(Language):
    """What this node released for a purpose, kept first: there is one of it."""

    content_sha256: Sha256


class _Decrypted(Language):
    """The one sum of a study that this hospital decrypts."""

    sum_sha256: Sha256


class Studies:
    """Finds and carries out the duties of studies.

    Args:
        dataset_ids: the node's own datasets.
        read: gives the records of one.
    """

    def __init__(
        self,
        me: Me,
        dataset_ids: tuple[str, ...],
        consortium: Consortium,
        home: Home,
        exchange: Exchange,
        keys: KeyKeeper,
        secrets: Secrets,
        read: ReadRecords,
    ) -> None:
        self._me = me
        self._dataset_ids = dataset_ids
        self._consortium = consortium
        self._home = home
        self._exchange = exchange
        self._keys = keys
        self._proofs = Proofs(me.msp_id, home, exchange, keys)
        self._secrets = secrets
        self._read = read
        self._made: dict[str, statistics.Study] = {}

    def due(self) -> Iterator[Due]:
        """What this node owes to studies, as committed."""
        for page in every(self._consortium.studies.page):
            for study in page.studies:
                if study.status is StudyStatus.PROPOSED or _over(study):
                    continue
                view = self._consortium.studies.get(study_id=study.study_id)
                terms = self._consortium.plans.get(plan_id=study.terms.plan_id).plan.terms
                for duty in duties(self._me, self._dataset_ids, view, terms):
                    yield duty, partial(self._carry_out, duty, view)

    def sum(self, view: StudyView, selection: Sequence[Selection]) -> Facts:
        """The holder's sum over chosen records.

        Raises:
            MedFabricError: ciphertexts are missing or malformed, or the ledger refuses.
        """
        total = self._summed(view, selection)
        ref = self._exchange.release(total)
        args = SumArgs(study_id=view.study.study_id, selection=tuple(selection), sum=ref)
        self._consortium.submit("study:Sum", args, Study)
        return {"records": studies.selected(tuple(selection)), "bytes": ref.size_bytes}

    def _carry_out(self, duty: Duty, view: StudyView) -> Facts:
        by_task: dict[Task, Callable[[StudyView], Facts]] = {
            Task.DEPOSIT_RECORDS: self._deposit,
            Task.SUM_RECORDS: lambda v: self.sum(v, studies.everything(self._sound(v))),
            Task.ATTEST_SUM: self._attest,
            Task.SHARE_SUM: self._share,
            Task.FIND_SUMS: self._find,
            Task.PROVE_SHARE: self._prove,
            Task.JUDGE_SHARES: self._judge,
            Task.ADVANCE_STUDY: self._advance,
        }
        return {"study": view.study.study_id, **by_task[duty.task](view)}

    def _deposit(self, view: StudyView) -> Facts:
        from trainer.data.studied import values

        terms, (dataset_id, *_) = view.study.terms, _owed(self._dataset_ids, view)
        name = f"deposit-{dataset_id}"
        raw = self._read(terms, dataset_id)
        plan = self._plan(terms)
        encryption = self._encryption(plan, terms)
        key = self._keys.collective_key(plan)
        stream = self._secrets.test_stream("study", terms.study_id, dataset_id)
        place = _folder(terms)
        released = self._home.record(place, name, _Released)
        if released is None:
            chunks = encryption.encrypt(values(raw, terms), key, dataset_id, stream)
            released = _Released(content_sha256=self._home.keep_stream(chunks))
            self._home.keep(place, name, released)
        ref = self._exchange.release_kept(released.content_sha256)
        args = DepositArgs(
            study_id=terms.study_id,
            dataset_id=dataset_id,
            content=ref,
            records=raw.labels.size,
        )
        self._consortium.submit("study:Deposit", args, Deposit)
        return {"records": raw.labels.size, "bytes": ref.size_bytes}

    def _attest(self, view: StudyView) -> Facts:
        total = self._summed(view, view.study.selection)
        args = AttestSumArgs(
            study_id=view.study.study_id,
            sum_sha256=self._home.keep_content(total),
            unsound=self._left_out(view),
        )
        self._consortium.submit("study:Attest", args, StudyAttestation)
        return {"bytes": len(total)}

    def _share(self, view: StudyView) -> Facts:
        """Share in the decryption of the agreed sum, if it is the one computed here.

        Raises:
            MedFabricError: ``AGGREGATE_REFUSED`` where it is not, or where this hospital already
                shared in another sum of this study: two of them could be subtracted.
        """
        study = view.study
        assert study.sum is not None
        place = _folder(study.terms)
        decrypted = self._home.record(place, "decrypted", _Decrypted)
        if decrypted is None:
            own = self._home.keep_content(self._summed(view, study.selection))
            if own != study.sum.sha256:
                raise _refused(study, "the agreed sum is not the one computed here")
            decrypted = _Decrypted(sum_sha256=own)
            self._home.keep(place, "decrypted", decrypted)
        if decrypted.sum_sha256 != study.sum.sha256:
            raise _refused(study, "this hospital already shared in another sum")
        name = f"share-{study.attempt}"
        released = self._home.record(place, name, _Released)
        if released is None:
            released = _Released(content_sha256=self._home.keep_content(self._made_share(study)))
            self._home.keep(place, name, released)
        ref = self._exchange.release_kept(released.content_sha256)
        args = ShareSumArgs(
            study_id=study.study_id,
            attempt=study.attempt,
            sum_sha256=decrypted.sum_sha256,
            share=ref,
        )
        self._consortium.submit("study:SubmitShare", args, StudyShare)
        return {"bytes": ref.size_bytes}

    def _made_share(self, study: Study) -> bytes:
        plan = self._plan(study.terms)
        _, points = _place(plan, study, self._me.msp_id)
        stream = self._secrets.test_stream("study-share", study.study_id, str(study.attempt))
        total, key = self._exchange.fetch(_sum(study)), self._keys.share_key(plan)
        return self._encryption(plan, study.terms).share(key, total, points, stream)

    def _find(self, view: StudyView) -> Facts:
        study, plan = view.study, self._plan(view.study.terms)
        encryption = self._encryption(plan, study.terms)
        total = self._exchange.fetch(_sum(study))
        shares = [self._given(study, share.share) for share in view.shares]
        try:
            sums = encryption.decode(total, [s for s in shares if s is not None], study.records)
        except MedFabricError as error:
            if error.code not in _UNDECODABLE:
                raise
            sums = ()
        args = FindArgs(study_id=study.study_id, sums=sums)
        self._consortium.submit("study:Find", args, Finding)
        self._exchange.forget(deposit.content for deposit in study.deposits)
        return {"sums": len(sums)}

    def _prove(self, view: StudyView) -> Facts:
        """Prove that this hospital's share is of its part of the key and of the agreed sum.

        Raises:
            MedFabricError: ``SHARE_UNPROVEN`` where it is not.
        """
        study, own = view.study, self._me.msp_id
        stream = self._secrets.test_stream("share proof", study.study_id)
        kept_as, proof = (_folder(study.terms), "share-proof"), partial(self._proof, view, own)
        ref = self._proofs.released(self._plan(study.terms), kept_as, proof, stream)
        args = ProveStudyShareArgs(study_id=study.study_id, proof=ref)
        self._consortium.submit("study:Prove", args, Posted)
        return {"bytes": ref.size_bytes}

    def _judge(self, view: StudyView) -> Facts:
        """Check the others' proofs, and say whose do not hold."""
        others = [proof for proof in view.proofs if proof.msp_id != self._me.msp_id]
        culprits = tuple(proof.msp_id for proof in others if self._refuted(view, proof))
        args = JudgeStudySharesArgs(study_id=view.study.study_id, culprits=culprits)
        self._consortium.submit("study:Judge", args, Posted)
        return {"culprits": len(culprits)}

    def _refuted(self, view: StudyView, given: StudyShareProof) -> bool:
        """Whether a proof does not hold, or its owner gives it, or its share, not in time."""
        study, hospital = view.study, given.msp_id
        document, share = self._given(study, given.proof), self._shared(view, hospital)
        if document is None or self._given(study, share) is None:
            return True
        proof = partial(self._proof, view, hospital)
        return self._proofs.refuted(self._plan(study.terms), hospital, document, proof)

    def _proof(self, view: StudyView, hospital: str, part: Part) -> ShareProof:
        """Proofs about a hospital's share in the sum."""
        study, plan = view.study, self._plan(view.study.terms)
        total = self._exchange.fetch(_sum(study))
        share = self._exchange.fetch(self._shared(view, hospital))
        sender = canonical.dumps({"attempt": study.attempt, "share": hospital})
        place = _place(plan, study, hospital)
        return self._encryption(plan, study.terms).share_proof(part, total, share, place, sender)

    def _shared(self, view: StudyView, hospital: str) -> ContentRef:
        return next(share.share for share in view.shares if share.msp_id == hospital)

    def _given(self, study: Study, ref: ContentRef) -> bytes | None:
        """Content of another hospital's, or None where it is not there late in the stage.

        Raises:
            MedFabricError: what keeps it from this hospital, while its owner may still mend that.
        """
        try:
            return self._exchange.fetch(ref)
        except MedFabricError as error:
            left = study.deadline - time.time()
            if error.code not in UNUSABLE or left > study.terms.stage_seconds / 4:
                raise
            log.warning("study %s: %s", study.study_id, error)
            return None

    def _advance(self, view: StudyView) -> Facts:
        args = StudyArgs(study_id=view.study.study_id)
        after = self._consortium.submit("study:Advance", args, Study)
        return {"status": after.status.value}

    def _summed(self, view: StudyView, selection: Sequence[Selection]) -> bytes:
        """The encrypted sum over these records, of ciphertexts as the ledger names them."""
        study = view.study
        encryption = self._encryption(self._plan(study.terms), study.terms)
        with ExitStack() as stack:
            chosen = []
            for deposit in study.deposits:
                ranges = [
                    (s.first, s.last) for s in selection if s.dataset_id == deposit.dataset_id
                ]
                if ranges:
                    path = self._exchange.fetch_file(deposit.content)
                    file = stack.enter_context(path.open("rb"))
                    chosen.append((file, deposit.dataset_id, deposit.records, ranges))
            return encryption.sum(chosen)

    def _sound(self, view: StudyView) -> tuple[Deposit, ...]:
        """What was handed over by the rules, by owners who still consent; the rest is left out."""
        willing = {consent.dataset_id for consent in view.consents if consent.given}
        given = [deposit for deposit in view.study.deposits if deposit.dataset_id in willing]
        return tuple(d for d in given if self._proven(view.study, d, self._fetched(d)))

    def _left_out(self, view: StudyView) -> tuple[str, ...]:
        """What the sum is not of, and is not proven to be by the rules. What cannot be fetched is
        nobody's fault for certain."""
        study = view.study
        summed = {one.dataset_id for one in study.selection}
        found = []
        for deposit in study.deposits:
            if deposit.dataset_id in summed:
                continue
            try:
                path = self._fetched(deposit)
            except MedFabricError as error:
                log.warning("study %s: %s: %s", study.study_id, deposit.dataset_id, error)
            else:
                if not self._proven(study, deposit, path):
                    found.append(deposit.dataset_id)
        return tuple(found)

    def _fetched(self, deposit: Deposit) -> Path:
        return self._exchange.fetch_file(deposit.content)

    def _proven(self, study: Study, deposit: Deposit, path: Path) -> bool:
        """Whether an owner's ciphertexts are proven to be by the rules."""
        encryption = self._encryption(self._plan(study.terms), study.terms)
        try:
            with path.open("rb") as file:
                encryption.check(file, deposit.dataset_id, deposit.records)
        except MedFabricError as error:
            if error.code not in _UNSOUND:
                raise
            log.warning("study %s: %s left out: %s", study.study_id, deposit.dataset_id, error)
            return False
        return True

    def _encryption(self, plan: Snapshot, terms: StudyTerms) -> statistics.Study:
        if terms.study_id not in self._made:
            made = statistics.Study(terms, plan.plan.terms, self._keys.scheme(plan))
            self._made[terms.study_id] = made
        return self._made[terms.study_id]

    def _plan(self, terms: StudyTerms) -> Snapshot:
        plan = self._consortium.plans.get(plan_id=terms.plan_id).plan
        ceremony = self._consortium.ceremonies.get(plan_id=terms.plan_id)
        return Snapshot(plan, ceremony, None, plan.terms.hospitals)


def duties(me: Me, dataset_ids: Sequence[str], view: StudyView, plan: PlanTerms) -> Iterator[Duty]:
    """What a node owes to a study: its hospital's records, where it keeps them and the hospital
    consents; and, of a validator, what its hospital owes."""
    study = view.study
    subject = study.study_id
    if study.status is StudyStatus.COLLECTING and _owed(dataset_ids, view):
        yield Duty(Task.DEPOSIT_RECORDS, subject=subject)
    if Role.VALIDATOR not in me.roles:
        return
    holds = study.status is StudyStatus.HELD and me.msp_id == study.terms.holder
    if holds and not study.terms.holder_selects:
        yield Duty(Task.SUM_RECORDS, subject=subject)
    attest = (Task.ATTEST_SUM, plan.hospitals, view.attestations)
    wanted: dict[StudyStatus, list[tuple[Task, tuple[str, ...], Iterable[object]]]] = {
        StudyStatus.SUMMED: [attest],
        StudyStatus.AGREED: [(Task.SHARE_SUM, study.key_holders, view.shares), attest],
        StudyStatus.DECRYPTED: [(Task.FIND_SUMS, plan.hospitals, view.findings)],
        StudyStatus.DISPUTED: [(Task.PROVE_SHARE, study.key_holders, view.proofs)],
        StudyStatus.JUDGING: [(Task.JUDGE_SHARES, plan.hospitals, view.verdicts)],
    }
    for task, who, posted in wanted.get(study.status, ()):
        done = {getattr(post, "msp_id", "") for post in posted}
        if me.msp_id in who and me.msp_id not in done:
            yield Duty(task, subject=subject)
    if me.msp_id in plan.hospitals:
        turn = plan.hospitals.index(me.msp_id)
        not_before = 0 if _complete(view, plan) else study.deadline + 1
        yield Duty(Task.ADVANCE_STUDY, subject=subject, turn=turn, not_before=not_before)


def _complete(view: StudyView, plan: PlanTerms) -> bool:
    """Whether the contract's condition for leaving the stage before its deadline holds."""
    study, needed = view.study, plan.attestations_needed
    match study.status:
        case StudyStatus.COLLECTING:
            return len(view.deposits) == len(study.terms.datasets)
        case StudyStatus.SUMMED:
            agreed = [a for a in view.attestations if a.sum_sha256 == _sum(study).sha256]
            return len(agreed) >= needed or len(view.attestations) == len(plan.hospitals)
        case StudyStatus.AGREED:
            return len(view.shares) == len(study.key_holders)
        case StudyStatus.DECRYPTED:
            votes = [finding.sums for finding in view.findings]
            most = max((votes.count(sums) for sums in votes), default=0)
            return most >= needed or len(votes) == len(plan.hospitals)
        case StudyStatus.DISPUTED:
            return len(view.proofs) == len(study.key_holders)
        case StudyStatus.JUDGING:
            return len(view.verdicts) == len(plan.hospitals)
    return False


def _over(study: Study) -> bool:
    return states.is_final(states.STUDY, study.status)


def _sum(study: Study) -> ContentRef:
    if study.sum is None:
        raise MedFabricError(Code.BAD_STATE, "the study has no sum yet; read it again")
    return study.sum


def _place(plan: Snapshot, study: Study, hospital: str) -> tuple[int, list[int]]:
    """The point of a hospital that shares in the decryption, and those of all who do."""
    hospitals = plan.plan.terms.hospitals
    return hospitals.index(hospital) + 1, [hospitals.index(h) + 1 for h in study.key_holders]


def _folder(terms: StudyTerms) -> str:
    """Of what the node's folder keeps of a study; no plan has such a name."""
    return f"study.{terms.study_id}"


def _refused(study: Study, why: str) -> MedFabricError:
    return MedFabricError(
        Code.AGGREGATE_REFUSED,
        f"study {study.study_id}: will not share in this decryption: {why}; audit the ledger",
    )


def _owed(dataset_ids: Sequence[str], view: StudyView) -> list[str]:
    """Of these datasets those that the hospital consents to give and has not given."""
    consented = {c.dataset_id for c in view.consents if c.given}
    given = {d.dataset_id for d in view.deposits}
    return [one for one in dataset_ids if one in consented - given]
