"""Membership by likelihood ratio, LiRA: a stronger attacker than one who looks at losses alone.

For every record he trains shadow models with and without it, and asks how likely the target's
confidence in the record is under either (Carlini et al. 2022, "Membership Inference Attacks From
First Principles", online; offline he has only models without it). Shadows are of the architecture
``logistic``, trained all at once by the same mechanism as :func:`trainer.training.train`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer.applications import breast_cancer
from trainer.attacks import advantage
from trainer.data.inputs import inputs
from trainer.data.raw import Raw, numbered
from trainer.data.records import Records

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
_LEAST = 1e-12
"""Where a probability or a variance is nothing."""


@dataclass(frozen=True)
class Guess:
    """How sure the attacker is of members and of others: larger is surer, in no unit."""

    members: Floats
    others: Floats

    @property
    def advantage(self) -> float:
        """As :func:`trainer.attacks.advantage`."""
        return advantage(-self.members, -self.others)

    def found(self, mistaken: float) -> float:
        """Share of members found where this share of others is taken for some, in [0, 1]."""
        ordered = np.sort(self.others)[::-1]
        return float((self.members > ordered[int(mistaken * ordered.size)]).mean())


def most_found(epsilon: float, delta: float, mistaken: float) -> float:
    """What :meth:`Guess.found` never exceeds under (epsilon, delta)-differential privacy, but for
    chance (Kairouz, Oh, Viswanath 2015, theorem 2.1)."""
    first = math.exp(epsilon) * mistaken + delta
    return min(1.0, first, 1 - math.exp(-epsilon) * (1 - delta - mistaken))


def ward(count: int, seed: int) -> tuple[Records, Mask]:
    """Breast cancer records, every tenth of which has the wrong diagnosis, as a clerk may err.

    A model can only learn those by heart: they are whom an attacker finds first.

    Returns:
        The records, and which of them are wrong: ``bool[count]``.
    """
    terms, sample = breast_cancer.terms(), breast_cancer.sample(seed)
    rows = np.random.default_rng(seed).permutation(sample.labels.size)[:count]
    raw = Raw(sample.values[rows].astype(np.float64), sample.labels[rows], numbered(count))
    wrong = np.arange(count) % 10 == 0
    return Records(inputs(raw, terms), np.where(wrong, 1 - raw.labels, raw.labels)), wrong


def memberships(models: int, records: int, seed: int) -> Mask:
    """Which model is trained on which record, each with probability 1/2: ``bool[models, n]``."""
    return np.asarray(np.random.default_rng(seed).random((models, records)) < 0.5)


def confidences(
    records: Records,
    inside: Mask,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seed: int,
) -> Floats:
    """Train a model on each row's members, and take its confidence in every record.

    Batches are drawn at the rate of the batch size to half of the records, whoever is inside: so
    models with and without a record differ by that record alone, as the accounting assumes.

    Args:
        inside: ``bool[models, n]``.
        training: all its rounds' steps are taken in one go.

    Returns:
        ``float64[models, n]``: the logit of the probability of the record's class.
    """
    draw = np.random.default_rng(seed)
    count, classes = len(records), int(records.labels.max()) + 1
    rows = np.concatenate([records.features, np.ones((count, 1))], axis=1, dtype=np.float32)
    truth = np.eye(classes, dtype=np.float32)[records.labels]
    weights = np.zeros((len(inside), rows.shape[1], classes), np.float32)
    pace, rate = np.zeros_like(weights), training.batch_size / (count / 2)
    for _ in range(training.rounds * training.steps):
        taken = inside & (draw.random(inside.shape, dtype=np.float32) < rate)
        gradient = _gradient(rows, _softmax(rows @ weights) - truth, taken, privacy)
        if privacy is None:
            gradient /= np.maximum(taken.sum(axis=1), 1)[:, None, None]
        else:
            spread = privacy.noise_multiplier_micro * privacy.sample_clip_micro / 1e12
            gradient += draw.normal(0, spread, gradient.shape)
            gradient /= training.batch_size
        pace = pace * (training.momentum_micro / 1e6) + gradient
        weights -= (training.learning_rate_micro / 1e6 * pace).astype(np.float32)
    sure = (_softmax((rows @ weights).astype(np.float64)) * truth).sum(axis=2)
    return np.asarray(np.log(sure + _LEAST) - np.log1p(_LEAST - sure))


def attack(
    records: Records,
    attacked: Mask,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    *,
    models: int,
    targets: int,
    seed: int,
) -> tuple[Guess, Guess]:
    """Carry the attack out: train models on random halves of the records, and attack the first of
    them one after another, all others being the attacker's own.

    Args:
        attacked: ``bool[n]``, the records that he asks about.

    Returns:
        What he makes of them online, and offline.
    """
    inside = memberships(models, len(records), seed)
    found = confidences(records, inside, training, privacy, seed)
    values, known = found[:, attacked], inside[:, attacked]
    online: tuple[list[Floats], list[Floats]] = ([], [])
    offline: tuple[list[Floats], list[Floats]] = ([], [])
    for target in range(targets):
        shadows = np.arange(models) != target
        with_, without = (_normal(values[shadows], known[shadows] == is_in) for is_in in (1, 0))
        ratio = _likelihood(values[target], *with_) - _likelihood(values[target], *without)
        beyond = (values[target] - without[0]) / without[1]
        for place, side in enumerate((known[target], ~known[target])):
            online[place].append(ratio[side])
            offline[place].append(beyond[side])
    both = ([np.concatenate(one) for one in way] for way in (online, offline))
    first, second = (Guess(members, others) for members, others in both)
    return first, second


def _normal(values: Floats, counted: Mask) -> tuple[Floats, Floats]:
    """Mean and deviation of the values that count, record by record."""
    number = counted.sum(axis=0)
    middle = np.where(counted, values, 0).sum(axis=0) / number
    variance = np.where(counted, (values - middle) ** 2, 0).sum(axis=0) / number
    return np.asarray(middle), np.asarray(np.sqrt(variance + _LEAST))


def _likelihood(value: Floats, middle: Floats, deviation: Floats) -> Floats:
    return np.asarray(-((((value - middle) / deviation) ** 2) / 2) - np.log(deviation))


def _softmax(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    grown = np.exp(scores - scores.max(axis=2, keepdims=True))
    return np.asarray(grown / grown.sum(axis=2, keepdims=True))


def _gradient(
    rows: NDArray[np.float32],
    errors: NDArray[np.floating],
    taken: Mask,
    privacy: PrivacyTerms | None,
) -> NDArray[np.floating]:
    """Summed over the records taken, each clipped with privacy: ``[models, inputs, classes]``."""
    share = taken.astype(np.float32)
    if privacy is not None:
        # A record's gradient is the outer product of its input and its error.
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(errors, axis=2)
        share *= np.minimum(1, privacy.sample_clip_micro / 1e6 / np.maximum(norms, 1e-9))
    return np.asarray(rows.T @ (errors * share[:, :, None]))
