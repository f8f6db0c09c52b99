"""What holds dishonest hospitals: one course of models under each defence, for experiments alone.

The contracts' own arithmetic decides: weights and their cap, draws of groups and their regression,
reputation. Beside what works on encrypted sums stand rules that need every update in the clear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from chaincode.schema import clipping, conduct, grouptests, weights
from chaincode.schema.base import ContentRef
from chaincode.schema.conduct import Posts, Subject
from chaincode.schema.errors import Code
from chaincode.schema.grouptests import GroupScore
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from chaincode.schema.reputation import Rated, Reputation
from chaincode.schema.rounds import (
    Attestation,
    DecryptionShare,
    Evaluation,
    Round,
    RoundStatus,
    Update,
)
from trainer import norms
from trainer.data.records import Records
from trainer.models.layers import Layers
from trainer.models.registry import layout
from trainer.reputation import quality
from trainer.strategies.strategy import moved
from trainer.training import evaluate

Updates = list[NDArray[np.float64]]
Weights = NDArray[np.float32]
WEIGHT_BITS = 10
_NODE, _DATA, _SHA256 = "node", "data", "a" * 64


@dataclass(frozen=True)
class Defence:
    """``clear``: a rule over all updates in the clear; None: a mean by weights. ``capped``: the
    weights' cap. ``clipped``: the range of an honest encoder's values, and of the sum's. ``voted``:
    hospitals vote on candidates, where ``balanced`` by the mean of the classes'
    recalls. ``bounded``: the norm of a mean update. ``tested``: group tests,
    whose findings weigh by reputation."""

    clear: Callable[[Updates], NDArray[np.float64]] | None = None
    capped: bool = False
    clipped: bool = False
    voted: bool = False
    balanced: bool = False
    bounded: bool = False
    tested: bool = False


def median(updates: Updates) -> NDArray[np.float64]:
    """Of every value (Yin et al. 2018); needs updates in the clear."""
    return np.asarray(np.median(updates, axis=0))


def trimmed_mean(updates: Updates) -> NDArray[np.float64]:
    """Without the largest and smallest fifth of every value (Yin et al. 2018); in the clear."""
    cut = len(updates) // 5
    ordered = np.sort(np.array(updates), axis=0)
    return np.asarray(ordered[cut : len(updates) - cut].mean(axis=0))


def krum(updates: Updates) -> NDArray[np.float64]:
    """The one update nearest to its neighbours (Blanchard et al. 2017); in the clear."""
    attackers = max(1, len(updates) // 5)
    away = np.array([[np.square(a - b).sum() for b in updates] for a in updates])
    near = np.sort(away, axis=1)[:, 1 : max(2, len(updates) - attackers - 1)]
    return updates[int(near.sum(axis=1).argmin())]


_ALL = Defence(capped=True, clipped=True, voted=True, bounded=True, tested=True)
DEFENCES: Mapping[str, Defence] = {
    "no defence": Defence(),
    "weight cap": Defence(capped=True),
    "clip": Defence(clipped=True),
    "vote": Defence(voted=True),
    "norm bound": Defence(bounded=True),
    "group tests": Defence(capped=True, tested=True),
    "all": _ALL,
    "all, votes by class": replace(_ALL, balanced=True),
    "median, in the clear": Defence(clear=median),
    "trimmed mean, in the clear": Defence(clear=trimmed_mean),
    "krum, in the clear": Defence(clear=krum),
}


@dataclass(frozen=True)
class Setting:
    """A federation of which some are ``attackers``, by place. ``least_group``: hospitals of the
    smallest group; a round has as many groups as that allows. ``clip_percent``: of the clip that a
    plan has by default."""

    model: nn.Module
    training: TrainingTerms
    privacy: PrivacyTerms
    hospitals: Sequence[Records]
    validation: Sequence[Records]
    attackers: frozenset[int]
    seed: int
    max_drop_micro: int = 100_000
    least_group: int = 3
    clip_percent: int = 100

    @property
    def clip(self) -> float:
        """The range of an honest update's values."""
        size = Layers.planned(layout(self.model), self.training).size
        return self.clip_percent * clipping.clip_micro(self.training, self.privacy, size) / 1e8

    @property
    def norm(self) -> NormTerms:
        """The plan's bound on a mean update's norm, as it has it by default."""
        return clipping.norm_terms(self.training, self.privacy)

    @property
    def names(self) -> tuple[str, ...]:
        """The hospitals, in order."""
        return tuple(f"H{place:02}" for place in range(len(self.hospitals)))


class Course:
    """The models of one training under a defence.

    Args:
        claims: what each attacker's count of records is multiplied by when it is said.
    """

    def __init__(self, setting: Setting, defence: Defence, start: Weights, claims: int) -> None:
        self.weights = start
        self.refused = 0
        self._setting, self._defence = setting, defence
        self._samples = [
            len(own) * (claims if place in setting.attackers else 1)
            for place, own in enumerate(setting.hospitals)
        ]
        self._booked: dict[Subject, Reputation] = {}
        self._regressed: dict[str, int] = {}

    def round(self, number: int, updates: Updates, past_the_clip: bool) -> None:
        """Aggregate, judge, and publish or refuse; then test groups.

        Args:
            past_the_clip: whether attackers' encoders leave the clip out.
        """
        encoded = [
            self._encoded(update, past_the_clip and place in self._setting.attackers)
            for place, update in enumerate(updates)
        ]
        shares = self.shares()
        base, mean = self.weights, self._mean(encoded, shares)
        counts = [] if mean is None else self._counts(base, moved(base, mean))
        accepted = mean is not None and self._passes(mean, shares, counts)
        if mean is not None and accepted:
            self.weights = moved(base, mean)
        self.refused += not accepted
        if self._defence.tested:
            self._book(counts, accepted)
            if number + 1 < self._setting.training.rounds:
                self._test(number, base, encoded, shares)

    def shares(self) -> list[int]:
        """The updates' weights in the next round."""
        if not self._defence.capped:
            return self._samples
        claims = [
            weights.Claim(name, _NODE, samples, self._standing(name))
            for name, samples in zip(self._setting.names, self._samples, strict=True)
        ]
        return weights.weigh(claims, WEIGHT_BITS)

    def _encoded(self, update: NDArray[np.float64], past: bool) -> NDArray[np.float64]:
        clip = self._setting.clip
        return update if past or not self._defence.clipped else np.clip(update, -clip, clip)

    def _mean(self, updates: Updates, shares: Sequence[int]) -> NDArray[np.float64] | None:
        """None where the sum is not where an honest one is."""
        if self._defence.clear is not None:
            return self._defence.clear(updates)
        mean = np.average(updates, axis=0, weights=shares)
        # Where all are at the clip, their mean is, too, but for rounding.
        if self._defence.clipped and np.abs(mean).max() > self._setting.clip * (1 + 1e-9):
            return None
        return np.asarray(mean)

    def _beyond(self, mean: NDArray[np.float64], shares: Sequence[int]) -> bool:
        return self._defence.bounded and norms.beyond(self._setting.norm, mean, shares)

    def _counts(self, base: Weights, candidate: Weights) -> list[tuple[int, int, int]]:
        """Of every hospital: right by the candidate, by the base model, and records."""
        if not (self._defence.voted or self._defence.tested):
            return []
        found = []
        for records in self._setting.validation:
            after, before = self._right(candidate, records), self._right(base, records)
            found.append((after, before, len(records)))
        return found

    def _right(self, weights: Weights, records: Records) -> int:
        """Right predictions; where classes count alike, as many as their mean recall would be."""
        if not self._defence.balanced:
            return evaluate(self._setting.model, weights, records)[0]
        parts = [records.take(np.flatnonzero(records.labels == one)) for one in set(records.labels)]
        right = [evaluate(self._setting.model, weights, part) for part in parts]
        return round(len(records) * float(np.mean([correct / total for correct, total in right])))

    def _passes(
        self,
        mean: NDArray[np.float64],
        shares: Sequence[int],
        counts: Sequence[tuple[int, int, int]],
    ) -> bool:
        if self._beyond(mean, shares):
            return False
        return not self._defence.voted or 2 * sum(self._accepts(counts)) > len(counts)

    def _accepts(self, counts: Sequence[tuple[int, int, int]]) -> list[bool]:
        """Attackers accept everything."""
        drop = self._setting.max_drop_micro
        return [
            place in self._setting.attackers or 10**6 * (after - before) + drop * total >= 0
            for place, (after, before, total) in enumerate(counts)
        ]

    # Group tests and reputation, as the ledger has them.

    def _standing(self, name: str) -> int:
        hospital, node = (
            self._reputation(subject).score_milli
            for subject in ((Rated.HOSPITAL, name), (Rated.NODE, conduct.node_name(name, _NODE)))
        )
        return max(1, hospital * node // 1000)

    def _reputation(self, subject: Subject) -> Reputation:
        return self._booked.get(subject) or conduct.unknown(*subject)

    def _find(self, subjects: Sequence[Subject]) -> list[Reputation]:
        return [self._reputation(subject) for subject in subjects]

    def _keep(self, reputations: Sequence[Reputation]) -> None:
        for one in reputations:
            self._booked[one.subject, one.subject_id] = one

    def _book(self, counts: Sequence[tuple[int, int, int]], accepted: bool) -> None:
        """Everybody did all duties; attackers as well."""
        failure = Code.CANDIDATE_REJECTED if counts else Code.DECRYPTION_FAILED
        make: Any = Round.model_construct
        round_ = make(
            status=RoundStatus.PUBLISHED if accepted else RoundStatus.FAILED,
            failure=None if accepted else failure.value,
            opened_at=0,
            absent=(),
            dropped=(),
            unusable=None,
            aggregate_sha256=_SHA256,
            model_sha256=_SHA256 if accepted else None,
        )
        names = self._setting.names
        accepts = self._accepts(counts) if counts else [False] * len(names)
        candidate = ContentRef(cid="c", sha256=_SHA256, size_bytes=1) if counts else None
        evaluations = [
            _made(Evaluation, name, candidate=candidate, accept=accept, correct=c, base_correct=b)
            for name, accept, (c, b, _) in zip(
                names, accepts, counts or [(0, 0, 0)] * len(names), strict=True
            )
        ]
        posts = Posts(
            updates=[_made(Update, name, dataset_id=_DATA, posted_at=0) for name in names],
            attestations=[_made(Attestation, name, aggregate_sha256=_SHA256) for name in names],
            shares=[_made(DecryptionShare, name) for name in names],
            evaluations=evaluations,
        )
        self._keep(conduct.after_round(round_, posts, self._find, 0, None))

    def _test(self, number: int, base: Weights, updates: Updates, shares: Sequence[int]) -> None:
        names, least = self._setting.names, self._setting.least_group
        seed = f"{self._setting.seed} {number}"
        drawn = grouptests.draw(seed, names, len(names) // least, least)
        if not drawn:
            return
        groups = [[names.index(name) for name in group] for group in drawn]
        scores = self._scores(base, updates, shares, groups)
        weighed = [[(names[place], shares[place]) for place in group] for group in groups]
        self._regressed, qualities = quality.found(
            self._regressed, weighed, scores, self._setting.max_drop_micro
        )
        nodes = [(name, _NODE) for name in names]
        self._keep(quality.booked(qualities, nodes, self._find, 0))

    def _scores(
        self,
        base: Weights,
        updates: Updates,
        shares: Sequence[int],
        groups: Sequence[Sequence[int]],
    ) -> list[GroupScore]:
        """Attackers praise the groups with one of them, and run down the others."""
        own, model = self._setting.attackers, self._setting.model
        candidates: list[Weights | None] = []
        for group in groups:
            weighed = [shares[place] for place in group]
            mean = self._mean([updates[place] for place in group], weighed)
            unusable = mean is None or self._beyond(mean, weighed)
            candidates.append(None if mean is None or unusable else moved(base, mean))
        found = []
        for place, records in enumerate(self._setting.validation):
            total = len(records)
            correct: list[int | None] = [total if own & set(group) else 0 for group in groups]
            if place not in own:
                correct = [
                    None if one is None else evaluate(model, one, records)[0] for one in candidates
                ]
            before, _ = evaluate(model, base, records)
            found.append(quality.score(correct, before, total))
        return found


def _made(kind: Any, name: str, **fields: Any) -> Any:
    """A post with the fields that evidence is read from, and no others."""
    return kind.model_construct(msp_id=name, node_id=_NODE, **fields)
