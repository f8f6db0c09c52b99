"""Reputations as they follow from a proven ledger, whatever the ledger's own records say.

Every round that ended, key ceremony that lapsed and complaint that was upheld is booked again, in
the order of the blocks, by the ledger's own arithmetic. Within one block no two transactions book
the same subject: both would have read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaincode.schema import conduct, keys, states
from chaincode.schema.ceremonies import Ceremony, CeremonyStatus
from chaincode.schema.classifiers import AdoptedClassifier, Classifier, ClassifierTerms
from chaincode.schema.conduct import Events, Posts, Subject
from chaincode.schema.errors import Code
from chaincode.schema.grouptests import GroupTest, GroupTestStatus
from chaincode.schema.reputation import (
    Complaint,
    ComplaintStatus,
    Evidence,
    Rated,
    Reputation,
)
from chaincode.schema.rounds import (
    Attestation,
    Cohort,
    Contributions,
    DecryptionShare,
    Evaluation,
    Objection,
    Round,
    RoundStatus,
    Update,
)
from chaincode.schema.stored import whole
from chaincode.schema.studies import Deposit, Study, StudyShare, StudyStatus
from client.audit.lineage import Reader
from client.audit.proof import Finding, Ledger, Writing

_EVENTS = ("round", "ceremony", "complaint", "adopted-classifier", "group-test", "study")


def check(ledger: Ledger) -> Iterator[Finding]:
    """Compare every reputation on the ledger with the one that follows from it."""
    reader = Reader(ledger)
    follows = _Books(reader).all(ledger)
    kept = {(r.subject, r.subject_id): r for r in reader.reputations()}
    for subject in sorted(follows.keys() | kept.keys()):
        if kept.get(subject) != follows.get(subject):
            why = f"the reputation of {subject[0]} {subject[1]} does not follow from its conduct"
            yield Finding(Code.REPUTATION_WRONG, why)


@dataclass(frozen=True)
class _Event:
    kind: str
    value: bytes
    writing: Writing
    before: bytes | None


class _Books:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[Subject, Reputation] = {}
        self._classifier: ClassifierTerms | None = None

    def all(self, ledger: Ledger) -> dict[Subject, Reputation]:
        """Every reputation there should be."""
        for event in sorted(_events(ledger), key=lambda event: event.writing.block):
            self._book(event)
        return self._known

    def _book(self, event: _Event) -> None:
        value, now = event.value, event.writing.seconds
        if event.kind == "round":
            round_ = Round.model_validate_json(value)
            before = Round.model_validate_json(event.before) if event.before else round_
            # A plan that is aborted ends its round, and nothing is booked of that.
            aborted = round_.failure == Code.PLAN_ABORTED
            if states.is_final(states.ROUND, round_.status) and not aborted:
                self._round(round_, before.status, now, round_.booked - 1)
        elif event.kind == "ceremony":
            ceremony = Ceremony.model_validate_json(value)
            if ceremony.status is CeremonyStatus.FAILED:
                self._missed(sorted({*ceremony.missing, *ceremony.culprits}), now)
        elif event.kind == "complaint":
            complaint = Complaint.model_validate_json(value)
            if complaint.status is ComplaintStatus.UPHELD:
                subject = (complaint.terms.subject, complaint.terms.subject_id)
                self._event(subject, {Evidence.COMPLAINT: (0, 1)}, now, fade=False)
        elif event.kind == "group-test":
            self._test(GroupTest.model_validate_json(value), now)
        elif event.kind == "study":
            study = Study.model_validate_json(value)
            self._study(study, Study.model_validate_json(event.before or value), now)
        else:
            name = AdoptedClassifier.model_validate_json(value).classifier_id
            self._classifier = self._reader.get(keys.classifier(name), Classifier).terms

    def _round(self, round_: Round, before: RoundStatus, now: int, page: int) -> None:
        posts = _posts(self._reader, round_, before, page)
        after = conduct.after_round(round_, posts, self._find, now, self._classifier, page)
        self._known |= {(r.subject, r.subject_id): r for r in after}

    def _test(self, test: GroupTest, now: int) -> None:
        if test.status is GroupTestStatus.FAILED:
            self._missed(test.absent, now)
        elif test.status is GroupTestStatus.SCORED:
            sealed = self._reader.find(
                keys.contributions(test.plan_id, test.round, 0), Contributions
            )
            dropped = self._reader.get(keys.round_(test.plan_id, test.round), Round).dropped
            summed = sealed.present(dropped) if sealed else ()
            after = conduct.after_test(test, summed, self._find, now, self._classifier)
            self._known |= {(r.subject, r.subject_id): r for r in after}

    def _study(self, study: Study, before: Study, now: int) -> None:
        if study.status is StudyStatus.FAILED:
            self._missed(study.absent, now)
        self._missed([msp_id for msp_id in study.silent if msp_id not in before.silent], now)
        if study.unsound and not before.unsound:
            unsound = [d for d in study.deposits if d.dataset_id in study.unsound]
            self._given(unsound, Evidence.CONTENT, now)
        if study.status is StudyStatus.FAILED:
            place = keys.study_share(study.study_id, study.attempt, "")[1][:-1]
            shares = self._reader.all("study-share", StudyShare, *place)
            wrong = [share for share in shares if share.msp_id in study.unproven]
            self._given(wrong, Evidence.SHARE, now)

    def _given(self, wrong: Sequence[Deposit | StudyShare], evidence: Evidence, now: int) -> None:
        after = conduct.after_study(wrong, evidence, self._find, now, self._classifier)
        self._known |= {(r.subject, r.subject_id): r for r in after}

    def _missed(self, hospitals: Sequence[str], now: int) -> None:
        for msp_id in hospitals:
            self._event((Rated.HOSPITAL, msp_id), {Evidence.DUTY: (0, 1)}, now)

    def _event(self, subject: Subject, events: Events, now: int, *, fade: bool = True) -> None:
        (before,) = self._find([subject])
        self._known[subject] = conduct.book(before, events, now, fade=fade)

    def _find(self, subjects: Sequence[Subject]) -> list[Reputation]:
        return [self._known.get(subject) or conduct.unknown(*subject) for subject in subjects]


def _events(ledger: Ledger) -> Iterator[_Event]:
    for key, writings in ledger.writings.items():
        name = keys.parted(key)
        if name[0] in _EVENTS:
            before = None
            for writing in writings:
                value = whole(name, writing.value or b"")
                yield _Event(name[0], value, writing, before)
                before = value


def _posts(reader: Reader, round_: Round, before: RoundStatus, page: int) -> Posts:
    """What was posted, of the nodes those of one page: posts stand for good, and none are taken
    once a round is over."""
    place = (round_.plan_id, round_.number)
    attempt = keys.share(*place, round_.attempt, "")[1][:-1]
    left = keys.attestation(*place, len(round_.dropped), "")[1][:-1]
    shares = list(reader.all("share", DecryptionShare, *attempt))
    terms = reader.plan(round_.plan_id).terms
    unusable = [
        share.msp_id
        for share in shares
        if before is RoundStatus.DECRYPTED
        and sum(
            reader.find(keys.objection(*place, h, share.share.sha256), Objection) is not None
            for h in terms.hospitals
        )
        >= terms.participation.agreement
    ]
    sealed = reader.find(keys.contributions(*place, page), Contributions)
    return Posts(
        updates=_updates(reader, round_, page),
        missing=sealed.missing if sealed else (),
        sealed=reader.find(keys.contributions(*place, round_.pages - 1), Contributions),
        attestations=list(reader.all("attestation", Attestation, *left)),
        shares=shares,
        evaluations=list(reader.all("evaluation", Evaluation, *attempt)),
        unusable_shares=frozenset(unusable),
    )


def _updates(reader: Reader, round_: Round, page: int) -> list[Update]:
    """What the nodes of a page posted, in their order."""
    place = (round_.plan_id, round_.number)
    cohort = reader.find(keys.cohort(*place, page), Cohort)
    nodes = cohort.participants if cohort else ()
    found = (reader.find(keys.update(*place, n.msp_id, n.node_id), Update) for n in nodes)
    return [update for update in found if update is not None]
