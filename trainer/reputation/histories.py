"""Simulated consortia, round by round, booked as the ledger books them.

What is posted is made up; what becomes of it, evidence, fading, score, is the ledger's own
arithmetic (:mod:`chaincode.schema.conduct`), so that a trait means the same in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from chaincode.schema import conduct, grouptests
from chaincode.schema.base import ContentRef, Language
from chaincode.schema.conduct import Posts, Subject
from chaincode.schema.errors import Code
from chaincode.schema.grouptests import GroupScore, Quality
from chaincode.schema.reputation import Rated, Reputation
from chaincode.schema.rounds import (
    Attestation,
    DecryptionShare,
    Dropped,
    Evaluation,
    NodeRef,
    Round,
    RoundStatus,
    Update,
)
from trainer.reputation import quality
from trainer.reputation.behaviour import OF_VALIDATORS, Kind, Profile, honest, malicious

_RIGHT, _WRONG = "a" * 64, "b" * 64
_CANDIDATE = ContentRef(cid="c", sha256=_RIGHT, size_bytes=1)
Made = TypeVar("Made", bound=Language)
MAX_DROP = 0.05
"""Accuracy that a candidate may lose and still be accepted: the plans' default."""


@dataclass(frozen=True)
class Member:
    """A node of a simulated consortium."""

    msp_id: str
    node_id: str
    profile: Profile
    trainer: bool
    validator: bool
    records: int
    """Validation records of its hospital."""
    skew: float
    """How much better or worse its hospital's records fare than the average."""

    @property
    def name(self) -> str:
        return conduct.node_name(self.msp_id, self.node_id)


@dataclass
class Consortium:
    """Members and what the ledger would have booked of the nodes."""

    members: list[Member]
    booked: dict[Subject, Reputation] = field(default_factory=dict)
    clock: int = 1_800_000_000

    def book(self, round_: Round, posts: Posts) -> None:
        """As the contract does when a round has ended."""
        validators = {m.msp_id: m.node_id for m in self.members if m.validator}
        for subject, events in conduct.evidence(round_, posts, validators).items():
            if subject[0] is not Rated.NODE:
                continue
            before = self.booked.get(subject) or conduct.unknown(*subject)
            self.booked[subject] = conduct.book(before, events, self.clock)

    def book_test(self, qualities: Sequence[Quality], came: Sequence[Member]) -> None:
        """As the contract does when a group test was scored."""
        nodes = [(m.msp_id, m.node_id) for m in came]

        def find(subjects: Sequence[Subject]) -> list[Reputation]:
            return [self.booked.get(subject) or conduct.unknown(*subject) for subject in subjects]

        for one in quality.booked(qualities, nodes, find, self.clock):
            if one.subject is Rated.NODE:
                self.booked[one.subject, one.subject_id] = one

    def reputation(self, member: Member) -> Reputation:
        """A node's record; the unknown's where nothing was booked."""
        subject = (Rated.NODE, member.name)
        return self.booked.get(subject) or conduct.unknown(*subject)


def simulate(rng: np.random.Generator, kinds: Sequence[Kind]) -> Consortium:
    """A consortium with at most one attack, of one of ``kinds``, through two to four plans."""
    consortium = Consortium(_members(rng, kinds))
    for _ in range(rng.integers(2, 5)):
        plan = _Plan(consortium, rng)
        rounds = int(rng.integers(8, 41))
        for number in range(rounds):
            plan.round(number, last=number + 1 == rounds)
    return consortium


def _members(rng: np.random.Generator, kinds: Sequence[Kind]) -> list[Member]:
    hospitals = int(rng.integers(4, 11))
    kind = kinds[int(rng.integers(len(kinds)))] if kinds and rng.random() < 0.8 else Kind.HONEST
    # Fewer than half, so that colluders cannot agree on their own.
    several = int(rng.integers(2, max(3, (hospitals - 1) // 2 + 1)))
    bad = set(range(several if kind is Kind.COLLUDERS else 1)) if kind is not Kind.HONEST else set()
    together = malicious(rng, kind) if bad else None
    members = []
    for hospital in range(hospitals):
        nodes = int(rng.integers(1, 5))
        records, skew = int(rng.integers(20, 300)), rng.normal(0, 0.03)
        culprit = 0 if kind in OF_VALIDATORS else int(rng.integers(nodes))
        for node in range(nodes):
            guilty = together is not None and hospital in bad and node == culprit
            profile = together if guilty and together is not None else honest(rng)
            only_validates = node == 0 and nodes > 1 and rng.random() < 0.3
            trains = not only_validates or (guilty and kind not in OF_VALIDATORS)
            members.append(
                Member(
                    msp_id=f"H{hospital}",
                    node_id=f"n{node}",
                    profile=profile,
                    trainer=trains,
                    validator=node == 0,
                    records=records,
                    skew=skew,
                )
            )
    return members


class _Plan:
    """Some hospitals' nodes train one model."""

    def __init__(self, consortium: Consortium, rng: np.random.Generator) -> None:
        self._consortium, self._rng = consortium, rng
        names = sorted({m.msp_id for m in consortium.members})
        size = int(rng.integers(max(3, len(names) // 2), len(names) + 1))
        chosen = set(rng.permutation(names)[:size])
        self._here = [m for m in consortium.members if m.msp_id in chosen]
        self._validators = [m for m in self._here if m.validator]
        self._trainers = [m for m in self._here if m.trainer]
        self._needed = len(self._validators) // 2 + 1
        self._quorum = max(2, int(0.6 * len(self._trainers)))
        self._accuracy = rng.uniform(0.5, 0.7)
        self._ceiling = rng.uniform(0.85, 0.97)
        self._noise = rng.uniform(0.002, 0.015)
        self._least = 3 if size > 5 else 2
        # Half of the plans allow as many groups as there can be, the others none.
        self._groups = int(rng.random() < 0.5) * (size // self._least)
        self._seed = int(rng.integers(0, 2**32))
        self._contributions: dict[str, int] = {}

    def round(self, number: int, *, last: bool) -> None:
        """One round from OPEN to its end, booked; after the last no groups are tested."""
        consortium, rng = self._consortium, self._rng
        before = self._accuracy
        self._attacking = {m.name: m.profile.attacks(rng, number) for m in self._here}
        opened = consortium.clock
        came = [m for m in self._trainers if rng.random() < m.profile.available]
        updates = [self._update(m, opened) for m in came]
        missing = tuple(
            NodeRef.model_construct(msp_id=m.msp_id, node_id=m.node_id)
            for m in self._trainers
            if m not in came
        )
        dropped = self._dropped(came)
        summed = [m for m in came if m not in dropped]
        ended, posts = self._end(summed)
        status = RoundStatus.PUBLISHED if ended["model_sha256"] else RoundStatus.FAILED
        make: Any = Round.model_construct
        out = tuple(_made(Dropped, m) for m in dropped)
        round_ = make(status=status, opened_at=opened, dropped=out, **ended)
        consortium.clock += 1000
        consortium.book(round_, Posts(updates=updates, missing=missing, **posts))
        judged = ended["model_sha256"] or ended["failure"] == Code.CANDIDATE_REJECTED
        if judged and self._groups and not last:
            self._test(number, before, summed)

    def _update(self, member: Member, opened: int) -> Update:
        profile, rng = member.profile, self._rng
        seconds = profile.seconds * float(np.exp(rng.normal(0, 0.3)))
        if self._attacking[member.name] and rng.random() < profile.hasty:
            seconds *= rng.uniform(0.0, 0.2)
        posted_at = opened + 1 + int(seconds)
        return _made(Update, member, dataset_id="data", posted_at=posted_at)

    def _end(self, came: list[Member]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the round ends with, and what was posted after its updates."""
        if len(came) < self._quorum or len({m.msp_id for m in came}) < 2:
            return _failed(Code.QUORUM_MISSED), {}
        return self._aggregate(came)

    def _dropped(self, came: list[Member]) -> list[Member]:
        """Whose update nobody can use, where enough came for the round to be sealed."""
        if len(came) < self._quorum:
            return []
        return [m for m in came if self._attacks(m, m.profile.garble)]

    def _aggregate(self, came: list[Member]) -> tuple[dict[str, Any], dict[str, Any]]:
        on_duty = self._on_duty()
        attestations = [
            _made(Attestation, m, aggregate_sha256=_WRONG if self._forges(m) else _RIGHT)
            for m in on_duty
        ]
        posts: dict[str, Any] = {"attestations": attestations}
        right = sum(a.aggregate_sha256 == _RIGHT for a in attestations)
        absent = self._absent(on_duty)
        if right < self._needed:
            overdue = max(right, len(attestations) - right) + len(absent) >= self._needed
            return _failed(Code.NO_AGREEMENT, absent=absent if overdue else ()), posts
        holders = [m for m in self._on_duty() if not self._attacks(m, m.profile.withhold)]
        posts["shares"] = [_made(DecryptionShare, m) for m in holders]
        if absent := self._absent(holders):
            return _failed(Code.KEY_HOLDER_MISSING, aggregate_sha256=_RIGHT, absent=absent), posts
        ended, more = self._evaluate(came)
        return {**ended, "aggregate_sha256": _RIGHT}, {**posts, **more}

    def _evaluate(self, came: list[Member]) -> tuple[dict[str, Any], dict[str, Any]]:
        rng = self._rng
        here = self._on_duty()
        absent = self._absent(here)
        spoilers = [m for m in self._validators if self._attacks(m, m.profile.spoil)]
        if spoilers:
            shown = frozenset(m.msp_id for m in spoilers if rng.random() < 0.5)
            nothing = [_made(Evaluation, m, candidate=None, accept=False) for m in here]
            ended = _failed(Code.DECRYPTION_FAILED, absent=absent)
            return ended, {"evaluations": nothing, "unusable_shares": shown}
        candidate = self._candidate(came, self._accuracy)
        evaluations = [self._evaluation(m, candidate) for m in here]
        posts = {"evaluations": evaluations}
        if len(here) < self._needed:
            return _failed(Code.NO_AGREEMENT, absent=absent), posts
        if 2 * sum(e.accept is True for e in evaluations) <= len(evaluations):
            return _failed(Code.CANDIDATE_REJECTED, absent=absent), posts
        self._accuracy = candidate
        return {**_failed(Code.INTERNAL), "model_sha256": _RIGHT, "absent": absent}, posts

    def _candidate(self, came: Sequence[Member], base: float, thinner: float = 1.0) -> float:
        """Accuracy of the model that these nodes' updates give, attackers' weight in it.

        Args:
            thinner: how many times fewer updates than usual share their noise.
        """
        share = 1 / len(came)
        harm = sum(share * m.profile.harm for m in came if self._harms(m))
        idle = sum(share for m in came if self._attacking[m.name] and self._is_attacker(m))
        gain = 0.15 * (self._ceiling - base) * (1 - idle)
        moved = base + gain - harm + self._rng.normal(0, self._noise * thinner**0.5)
        return float(np.clip(moved, 0.05, self._ceiling))

    def _harms(self, member: Member) -> bool:
        return self._attacking[member.name] if self._is_attacker(member) else True

    @staticmethod
    def _is_attacker(member: Member) -> bool:
        return member.profile.kind is not Kind.HONEST

    def _evaluation(self, member: Member, candidate: float) -> Evaluation:
        """Counts on the hospital's own records: mostly the same are right before and after."""
        total = member.records
        base_correct, (correct,) = self._counts(member, self._accuracy, [candidate])
        accept = correct + MAX_DROP * total >= base_correct
        if self._attacks(member, member.profile.lie):
            accept = not accept
            correct = base_correct if accept else max(0, base_correct - total // 5)
        return _made(
            Evaluation,
            member,
            candidate=_CANDIDATE,
            accept=accept,
            correct=correct,
            base_correct=base_correct,
        )

    def _counts(
        self, member: Member, base: float, candidates: Sequence[float]
    ) -> tuple[int, list[int]]:
        """How many of a hospital's records the base model gets right, and each candidate."""
        rng, total = self._rng, member.records
        before = float(np.clip(base + member.skew, 0.02, 0.98))
        base_correct = int(rng.binomial(total, before))
        found = []
        for candidate in candidates:
            after = float(np.clip(candidate + member.skew, 0.02, 0.98))
            lost, won = max(0.0, before - after) / before, max(0.0, after - before) / (1 - before)
            churn = 0.01
            correct = base_correct - int(rng.binomial(base_correct, min(1.0, lost + churn)))
            churn_back = churn * before / (1 - before)
            correct += int(rng.binomial(total - base_correct, min(1.0, won + churn_back)))
            found.append(correct)
        return base_correct, found

    def _test(self, number: int, base: float, came: list[Member]) -> None:
        """Groups of those whose updates came, scored by all validators on duty."""
        hospitals = sorted({m.msp_id for m in came})
        drawn = grouptests.draw(f"{self._seed} {number}", hospitals, self._groups, self._least)
        here = self._on_duty()
        if not drawn or 2 * len(here) <= len(self._validators):
            return
        groups = [[m for m in came if m.msp_id in members] for members in drawn]
        candidates = [
            self._candidate(group, base, thinner=len(came) / len(group)) for group in groups
        ]
        scores = [self._score(m, base, candidates) for m in here]
        weighed = [
            [(msp_id, sum(m.msp_id == msp_id for m in group)) for msp_id in members]
            for members, group in zip(drawn, groups, strict=True)
        ]
        self._contributions, qualities = quality.found(
            self._contributions, weighed, scores, int(MAX_DROP * 10**6)
        )
        self._consortium.book_test(qualities, came)

    def _score(self, member: Member, base: float, candidates: Sequence[float]) -> GroupScore:
        """A liar's gains are losses."""
        base_correct, found = self._counts(member, base, candidates)
        if self._attacks(member, member.profile.lie):
            found = [min(member.records, max(0, 2 * base_correct - one)) for one in found]
        return quality.score(found, base_correct, member.records)

    def _attacks(self, member: Member, habit: float) -> bool:
        return self._attacking[member.name] and habit > 0 and self._rng.random() < habit

    def _forges(self, member: Member) -> bool:
        if member.profile.kind is Kind.COLLUDERS:
            # Together or not at all: one throw decides for all of them.
            first = next(m for m in self._validators if m.profile.kind is Kind.COLLUDERS)
            return self._attacking[first.name]
        return self._attacks(member, member.profile.forge)

    def _on_duty(self) -> list[Member]:
        return [m for m in self._validators if self._rng.random() < m.profile.on_duty]

    def _absent(self, present: list[Member]) -> tuple[str, ...]:
        here = {m.msp_id for m in present}
        return tuple(m.msp_id for m in self._validators if m.msp_id not in here)


def _failed(code: Code, **fixed: Any) -> dict[str, Any]:
    nothing = {"aggregate_sha256": None, "model_sha256": None, "absent": (), "unusable": None}
    return {**nothing, "failure": code.value, **fixed}


def _made(model: type[Made], member: Member, **fields: Any) -> Made:
    """A post with the fields that evidence is read from, and no others."""
    make: Any = model.model_construct
    made: Made = make(msp_id=member.msp_id, node_id=member.node_id, **fields)
    return made
