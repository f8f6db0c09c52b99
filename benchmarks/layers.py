"""Plans that train the head alone beside plans that train all layers, from the same base model.

Simulated lesions in colour at four hospitals. The base model was trained, without privacy, on grey
pictures of lesions that no hospital has. Both plans have the same rounds, steps and epsilon; each
takes the learning rate that does best, over the seeds, on the hospitals' validation records at that
epsilon. Test records are judged once, by the last model.

Bytes and processor seconds are of one update as those plans hide it, of the model that is trained
and of a wide one, at the plan's own clip; the sides alternate, the fastest run counts. The error is
the largest in a decrypted mean of two such updates.
"""

from __future__ import annotations

import dataclasses
import io
import os
import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks._federation import HOSPITALS, Federation, mean, row, spread, value_clip
from chaincode.schema.encryption import Workload
from chaincode.schema.masking import round_context
from chaincode.schema.plans import LayerTerms
from client import drafting
from trainer import presets
from trainer.models import registry
from trainer.models.layers import Layers
from trainer.models.values import set_parameters
from trainer.privacy import KeySecret, Scheme
from trainer.privacy.masking import Masker
from trainer.simulation import centralised, federated

APPLICATION, HEAD = "skin", "6"
FILTERS, WIDE = 16, 256
SEEDS, ROUNDS = (1, 2, 3), 4
EPSILONS = (0.3, 1.0, 3.0)
RATES = (0.02, 0.1)
RUNS = 5
_GREY = 1000
"""Added to a seed: of the records that the base model comes from."""
_SENDER = b"a node, in a round"
_ALL = "all layers"


def rows() -> list[dict[str, Any]]:
    """Accuracy at the same epsilon, then what an update takes."""
    courses = [_Course(seed) for seed in SEEDS]
    base = [course.federation.accuracy(course.base) for course in courses]
    found = [_accuracy_row("the base model, test accuracy", base, None)]
    for epsilon in EPSILONS:
        head, whole = (_best(courses, epsilon, layers) for layers in ((HEAD,), ()))
        what = f"the head alone at epsilon {epsilon:g}, test accuracy"
        found.append(_accuracy_row(what, head, whole))
        lost = mean([w - h for w, h in zip(whole, head, strict=True)])
        what = f"what the frozen layers cost at epsilon {epsilon:g}"
        found.append(row(what, round(lost, 6), None, None, len(SEEDS), "lower"))
    return [*found, *_sent_rows(FILTERS), *_sent_rows(WIDE)]


class _Course:
    """One seed: the hospitals, and the model that they begin from."""

    def __init__(self, seed: int) -> None:
        self.federation = _wide(Federation.of(APPLICATION, seed), FILTERS)
        other = Federation.of(APPLICATION, _GREY + seed)
        grey = [
            dataclasses.replace(
                records, features=records.features.mean(axis=1, keepdims=True).repeat(3, axis=1)
            )
            for records in other.hospitals
        ]
        model, plain = self.federation.model, self.federation.plain_training
        self.base = centralised(model, grey, plain.model_copy(update={"rounds": ROUNDS}), seed)
        set_parameters(model, self.base)

    def trained(self, epsilon: float, rate: float, chosen: tuple[str, ...]) -> tuple[float, float]:
        """Accuracy on the validation and on the test records."""
        own = self.federation
        layers = Layers.of(registry.layout(own.model), chosen).terms
        training, privacy = _terms(own, epsilon, rate, layers)
        clip = value_clip(training, privacy, own.model)
        *_, (weights, _) = federated(own.model, own.hospitals, training, privacy, own.seed, clip)
        return own.accuracy(weights, own.validation), own.accuracy(weights)


def _wide(federation: Federation, filters: int) -> Federation:
    own = federation.application
    config = {**own.config, "filters": filters}
    return dataclasses.replace(federation, application=dataclasses.replace(own, config=config))


def _terms(own: Federation, epsilon: float, rate: float, layers: LayerTerms | None) -> Any:
    tuned = own.application.tuned
    training = presets.training(tuned, own.samples, ROUNDS).model_copy(
        update={"learning_rate_micro": round(rate * 1e6), "layers": layers}
    )
    return training, presets.privacy(tuned, training, own.samples, round(epsilon * 1e6))


def _best(courses: list[_Course], epsilon: float, chosen: tuple[str, ...]) -> list[float]:
    """Test accuracies by seed, at the rate that validation records choose."""
    tried = [[course.trained(epsilon, rate, chosen) for course in courses] for rate in RATES]
    best = max(tried, key=lambda found: mean([validation for validation, _ in found]))
    return [test for _, test in best]


def _accuracy_row(what: str, ours: list[float], peer: list[float] | None) -> dict[str, Any]:
    deviation = f", deviation {spread(ours):.3f}"
    name = None if peer is None else f"{_ALL}, deviation {spread(peer):.3f}"
    there = None if peer is None else mean(peer)
    return row(what + deviation, mean(ours), there, name, len(SEEDS))


def _sent_rows(filters: int) -> Iterator[dict[str, Any]]:
    own = _wide(Federation.of(APPLICATION, SEEDS[0]), filters)
    shapes = registry.layout(own.model)
    training, privacy = _terms(own, 1.0, RATES[0], None)
    clip_micro = round(1e6 * value_clip(training, privacy, own.model))
    head, whole = (_Sent(Layers.of(shapes, chosen).size, clip_micro) for chosen in ((HEAD,), ()))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for side, taken in zip((head, whole), seconds, strict=True):
            started = time.process_time()
            side.encrypted(0)
            taken.append(time.process_time() - started)
    named = f"{filters} filters"
    figures: list[tuple[str, str, float, float]] = [
        ("parameters trained", "parameters", head.size, whole.size),
        ("an encrypted update", "bytes", head.bytes, whole.bytes),
        ("an update by secret sharing", "bytes", head.masked_bytes, whole.masked_bytes),
        ("encrypt an update", "processor s", min(seconds[0]), min(seconds[1])),
        ("largest error of a decrypted mean", "absolute", head.error(), whole.error()),
    ]
    for what, unit, ours, peer in figures:
        yield row(f"{named}: {what}", ours, peer, _ALL, RUNS, "lower", unit)


class _Sent:
    """Updates of so many values under a plan's terms; two of the hospitals hold the key."""

    def __init__(self, size: int, clip_micro: int) -> None:
        self.size = size
        work = Workload(HOSPITALS, HOSPITALS, size, ROUNDS)
        two = Workload(2, 2, size, ROUNDS)
        terms = drafting.encryption(work, clip_micro).model_copy(update={"threshold": None})
        self._scheme = Scheme(terms, two, b"b" * 32)
        self._secrets = [KeySecret(os.urandom(32)) for _ in range(2)]
        shares = [self._scheme.dealing.make(s, i) for i, s in enumerate(self._secrets, 1)]
        self._key = self._scheme.collective_key(shares)
        noise = clip_micro / 1.5e6
        self._values = np.clip(
            np.random.default_rng(1).normal(0, noise, (2, size)), -1.5 * noise, 1.5 * noise
        )
        context = round_context("b" * 64, 1)
        masker = Masker(drafting.masked(work, clip_micro), size, context, [])
        self.masked_bytes = masker.update.length

    def encrypted(self, number: int) -> bytes:
        return b"".join(self._scheme.encrypt(self._values[number], self._key, _SENDER))

    @cached_property
    def _updates(self) -> list[bytes]:
        return [self.encrypted(number) for number in range(2)]

    @property
    def bytes(self) -> int:
        return len(self._updates[0])

    def error(self) -> float:
        scheme = self._scheme
        updates = [(io.BytesIO(update), _SENDER, 16) for update in self._updates]
        total = b"".join(scheme.weighted_sum(updates, self._key))
        keys = [scheme.own_share_key(secret, i) for i, secret in enumerate(self._secrets, 1)]
        shares = [scheme.decryption_share(key, io.BytesIO(total), (1, 2)) for key in keys]
        decoded = np.concatenate(list(scheme.decode_mean(io.BytesIO(total), shares, 32)))
        return float(np.abs(decoded - self._values.mean(axis=0)).max())
