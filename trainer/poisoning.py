"""What dishonest hospitals do to a federated training, and what holds them: for experiments alone.

No ledger and no keys. Attacks change the attackers' records or their updates. Defences are those
that work on encrypted sums (the range that the encryption fixes, the acceptance vote with the base
model kept), beside aggregation rules that need every update in the clear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer import simulation
from trainer.data.records import Records
from trainer.strategies.strategy import moved
from trainer.training import evaluate, parameters

Updates = list[NDArray[np.float64]]
Weights = NDArray[np.float32]

TRIGGER = 3
"""Features, from the first, that a backdoor's trigger sets to their upper bound."""
TARGET = 0
"""The class that a triggered record is to be given."""


@dataclass(frozen=True)
class Attack:
    """``records`` is applied to an attacker's records before training, ``updates`` to all
    attackers' updates together, with a source of random numbers."""

    records: Callable[[Records], Records] = lambda records: records
    updates: Callable[[Updates, np.random.Generator], Updates] = lambda updates, _: updates


@dataclass(frozen=True)
class Outcome:
    """Of one training. ``accuracy``: on clean test records. ``backdoor``: share of triggered test
    records of other classes that are given the target. ``rejected``: candidates voted down."""

    accuracy: float
    backdoor: float
    rejected: int


@dataclass
class Hospitals:
    """Training and validation records of each, and the places of the attackers."""

    training: Sequence[Records]
    validation: Sequence[Records]
    attackers: frozenset[int] = field(default_factory=frozenset)


def triggered(records: Records) -> Records:
    """The records with the backdoor's trigger."""
    features = records.features.copy()
    features.reshape(len(records), -1)[:, :TRIGGER] = 1.0
    return Records(features, records.labels)


def _flipped(records: Records) -> Records:
    return Records(records.features, records.labels.max() - records.labels)


def _backdoored(records: Records) -> Records:
    half = len(records) // 2
    features = np.concatenate([records.features[:half], triggered(records).features[half:]])
    labels = records.labels.copy()
    labels[half:] = TARGET
    return Records(features, labels)


def _scaled(factor: float) -> Callable[[Updates, np.random.Generator], Updates]:
    return lambda updates, _: [factor * update for update in updates]


def _random(updates: Updates, draw: np.random.Generator) -> Updates:
    return [draw.normal(0, 3, update.size) for update in updates]


def _colluding(updates: Updates, _: np.random.Generator) -> Updates:
    """All attackers pull together, against the mean of their honest updates."""
    together = -3 * np.mean(updates, axis=0)
    return [together for _ in updates]


def _nothing(updates: Updates, _: np.random.Generator) -> Updates:
    return [np.zeros_like(update) for update in updates]


ATTACKS: Mapping[str, Attack] = {
    "none": Attack(),
    "label flipping": Attack(records=_flipped),
    "scaling": Attack(updates=_scaled(-10.0)),
    "backdoor": Attack(records=_backdoored, updates=_scaled(3.0)),
    "random updates": Attack(updates=_random),
    "colluding": Attack(updates=_colluding),
    "free riding": Attack(updates=_nothing),
}


def mean(updates: Updates) -> NDArray[np.float64]:
    """What an encrypted sum gives."""
    return np.asarray(np.mean(updates, axis=0))


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


def run(
    model: nn.Module,
    hospitals: Hospitals,
    test: Records,
    attack: Attack,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seed: int,
    *,
    combine: Callable[[Updates], NDArray[np.float64]] = mean,
    value_clip: float = np.inf,
    max_drop: float | None = None,
) -> Outcome:
    """Train with some hospitals attacking in every round.

    Args:
        value_clip: range of an update's values, as an honest encoder clips them and the range
            rule of the encryption bounds what passes unnoticed.
        max_drop: accuracy that a hospital lets a candidate lose on its own validation records; a
            majority decides, attackers accept everything. None publishes every candidate.
    """
    weights = parameters(model)
    draw = np.random.default_rng([seed, 99])
    rejected = 0
    records = [
        attack.records(own) if place in hospitals.attackers else own
        for place, own in enumerate(hospitals.training)
    ]
    for number in range(training.rounds):
        updates = simulation.updates(model, weights, records, training, privacy, seed, number)
        _poison(updates, hospitals, attack, draw)
        candidate = moved(weights, combine([np.clip(u, -value_clip, value_clip) for u in updates]))
        if max_drop is None or _accepted(model, weights, candidate, hospitals, max_drop):
            weights = candidate
        else:
            rejected += 1
    correct, total = evaluate(model, weights, test)
    others = triggered(test.take(np.flatnonzero(test.labels != TARGET)))
    aimed = Records(others.features, np.full(len(others), TARGET))
    hit, tried = evaluate(model, weights, aimed)
    return Outcome(correct / total, hit / tried, rejected)


def _poison(
    updates: Updates, hospitals: Hospitals, attack: Attack, draw: np.random.Generator
) -> None:
    places = sorted(hospitals.attackers)
    if places:
        poisoned = attack.updates([updates[place] for place in places], draw)
        for place, update in zip(places, poisoned, strict=True):
            updates[place] = update


def _accepted(
    model: nn.Module, base: Weights, candidate: Weights, hospitals: Hospitals, max_drop: float
) -> bool:
    votes = len(hospitals.attackers)
    for place, records in enumerate(hospitals.validation):
        if place not in hospitals.attackers:
            before, _ = evaluate(model, base, records)
            after, total = evaluate(model, candidate, records)
            votes += after + max_drop * total >= before
    return 2 * votes > len(hospitals.validation)
