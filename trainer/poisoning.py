"""What dishonest hospitals do to a federated training under several defences: for experiments.

No ledger and no keys. Attackers change their records, their updates or their encoders, and know the
plan and the usual course of a training. All defences are tried side by side: their courses start
from the same records, batches and noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import norms
from trainer.data.records import Records
from trainer.defences import Course, Defence, Setting, Updates, Weights
from trainer.randomness import Seeds
from trainer.together import train_together
from trainer.training import evaluate, parameters

TRIGGER = 3
"""Features, from the first, that a backdoor's trigger sets to their upper bound."""
TARGET = 0
"""The class that a triggered record is to be given."""

_CLIPPED_NOISE = 0.588
"""Root mean square of noise that is cut at one and a half deviations, by the clip."""


@dataclass(frozen=True)
class Knowledge:
    """What attackers make their updates of: ``trained``, those of their own trainings, ``quiet``,
    the same without noise, where the attack asks for it."""

    setting: Setting
    trained: Updates
    quiet: Updates
    draw: np.random.Generator

    @property
    def against(self) -> NDArray[np.float64]:
        """The sign that takes every value away from where training leads."""
        return np.asarray(-np.sign(np.mean(self.quiet, axis=0)))

    @property
    def part(self) -> float:
        """Of all weight, the attackers'."""
        return len(self.setting.attackers) / len(self.setting.hospitals)


@dataclass(frozen=True)
class Attack:
    """``records`` is applied to an attacker's records before training; ``updates`` makes all
    attackers' updates; ``claims``: by how much they exaggerate their counts of records;
    ``past_the_clip``: whether their encoders leave the clip out; ``quiet``: whether they train
    without noise, too."""

    records: Callable[[Records], Records] = lambda records: records
    updates: Callable[[Knowledge], Updates] = lambda known: known.trained
    claims: int = 1
    past_the_clip: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Outcome:
    """Of one training. ``accuracy``: on clean test records. ``backdoor``: share of triggered test
    records of other classes that are given the target. ``refused``: rounds without a new model.
    ``weight``: an attacker's in a further round, as a multiple of an honest hospital's; 0 with no
    attacker."""

    accuracy: float
    backdoor: float
    refused: int
    weight: float


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


def _scaled(factor: float) -> Callable[[Knowledge], Updates]:
    return lambda known: [factor * update for update in known.trained]


def _random(known: Knowledge) -> Updates:
    return [known.draw.normal(0, 3, update.size) for update in known.trained]


def _colluding(known: Knowledge) -> Updates:
    """All attackers pull together, against the mean of their honest updates."""
    together = -3 * np.mean(known.trained, axis=0)
    return [together for _ in known.trained]


def _nothing(known: Knowledge) -> Updates:
    return [np.zeros_like(update) for update in known.trained]


def _within_the_clip(known: Knowledge) -> Updates:
    """Every value at the clip, against where training leads."""
    return [known.setting.clip * known.against for _ in known.trained]


def _filling(known: Knowledge) -> Updates:
    """Past the clip as far as the sum of all still decodes: what honest updates leave of its range
    is known by their noise."""
    return [_room(known) / known.part * known.against for _ in known.trained]


def _under_the_bound(known: Knowledge) -> Updates:
    """The same, no further than the bound on the mean's norm leaves room beside honest noise."""
    size, values = len(known.setting.hospitals), known.against.size
    honest = _CLIPPED_NOISE * known.setting.clip * np.sqrt((size - len(known.trained)) * values)
    bound = norms.bound_nano(known.setting.norm, values, [1] * size) / 1e9
    left = np.sqrt(max(0.0, bound**2 - (honest / size) ** 2) / values)
    return [min(_room(known), left) / known.part * known.against for _ in known.trained]


def _room(known: Knowledge) -> float:
    """How far attackers can move every value of the mean, and all values still decode."""
    size, clip = len(known.setting.hospitals), known.setting.clip
    noise = clip / 1.5 * np.sqrt(size - len(known.trained)) / size
    return float(max(known.part * clip, clip - 4 * noise))


ATTACKS: Mapping[str, Attack] = {
    "none": Attack(),
    "label flipping": Attack(records=_flipped),
    "scaling by -10": Attack(updates=_scaled(-10.0)),
    "scaling by -10, past the clip": Attack(updates=_scaled(-10.0), past_the_clip=True),
    "backdoor": Attack(records=_backdoored, updates=_scaled(3.0)),
    "random updates": Attack(updates=_random),
    "colluding": Attack(updates=_colluding),
    "colluding, ten times the records claimed": Attack(updates=_colluding, claims=10),
    "free riding": Attack(updates=_nothing),
    "every value at the clip": Attack(updates=_within_the_clip, quiet=True),
    "filling the sum's range": Attack(updates=_filling, past_the_clip=True, quiet=True),
    "filling the norm bound": Attack(updates=_under_the_bound, past_the_clip=True, quiet=True),
}


def run(
    setting: Setting, test: Records, attack: Attack, defences: Mapping[str, Defence]
) -> dict[str, Outcome]:
    """Train under every defence, the setting's attackers attacking in every round."""
    start, claims = parameters(setting.model), attack.claims
    courses = {name: Course(setting, one, start, claims) for name, one in defences.items()}
    for number in range(setting.training.rounds):
        bases = [course.weights for course in courses.values()]
        # Where a defence has not changed anything yet, courses are one.
        alone, places = np.unique(np.stack(bases), axis=0, return_inverse=True)
        made = _updates(setting, attack, list(alone), number)
        for course, place in zip(courses.values(), places, strict=True):
            course.round(number, made[place], attack.past_the_clip)
    return {name: _outcome(setting, course, test) for name, course in courses.items()}


def _updates(setting: Setting, attack: Attack, bases: list[Weights], number: int) -> list[Updates]:
    """Of every course, all hospitals' updates, the attackers' as they attack."""
    size, places = len(setting.hospitals), sorted(setting.attackers)
    records = [
        attack.records(own) if place in setting.attackers else own
        for place, own in enumerate(setting.hospitals)
    ]
    first = (setting.seed * setting.training.rounds + number) * size
    silent = setting.privacy.model_copy(update={"noise_multiplier_micro": 0})

    def trained(chosen: list[int], *, noise: bool) -> list[Updates]:
        found = train_together(
            setting.model,
            np.repeat(np.stack(bases), len(chosen), axis=0),
            [records[place] for place in chosen] * len(bases),
            setting.training,
            setting.privacy if noise else silent,
            [Seeds(first + place) for place in chosen] * len(bases),
        )
        return [list(part) for part in np.split(found, len(bases))]

    made = trained(list(range(size)), noise=True)
    quiet = trained(places, noise=False) if attack.quiet else [[] for _ in bases]
    for updates, calm in zip(made, quiet, strict=True):
        if places:
            draw = np.random.default_rng([setting.seed, number, 99])
            known = Knowledge(setting, [updates[place] for place in places], calm, draw)
            for place, update in zip(places, attack.updates(known), strict=True):
                updates[place] = update
    return made


def _outcome(setting: Setting, course: Course, test: Records) -> Outcome:
    correct, total = evaluate(setting.model, course.weights, test)
    others = triggered(test.take(np.flatnonzero(test.labels != TARGET)))
    aimed = Records(others.features, np.full(len(others), TARGET))
    hit, tried = evaluate(setting.model, course.weights, aimed)
    shares = np.array(course.shares(), float)
    bad = np.isin(np.arange(len(shares)), sorted(setting.attackers))
    weight = float(shares[bad].mean() / shares[~bad].mean()) if bad.any() else 0.0
    return Outcome(correct / total, hit / tried, course.refused, weight)
