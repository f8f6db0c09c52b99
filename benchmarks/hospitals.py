"""Accuracy against what a plan tells of whole hospitals, with 4, 16 and 64 of them.

Every hospital brings 400 simulated ward patients of its own and adds its discrete Gaussian noise as
a node does; one hospital colludes, so the noise of all but one counts. Local training is without
the noise against single patients that a plan adds: what is measured is the price of hiding
hospitals alone. Norm of an update and number of rounds were chosen, for each epsilon and number of
hospitals, on hospitals' validation records of other seeds; test records are of patients that no
hospital has. Delta is 1e-5.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import _federation as f

if TYPE_CHECKING:
    from torch import nn

    from chaincode.schema.plans import TrainingTerms
    from trainer.applications.application import Application, Sample
    from trainer.data.records import Records

APPLICATION = "deterioration"
MODELS = {
    "logistic": {"features": 14, "classes": 2},
    "mlp": {"features": 14, "classes": 2, "hidden": 16},
}
HOSPITALS = (4, 16, 64)
EACH, TESTED = 400, 2000
TRAINED = EACH * 4 // 5
"""Patients of each hospital, of whom TRAINED are trained on; and of none of them."""
EPSILONS = (1.0, 2.0, 4.0, 8.0, 16.0)
NORMS, ROUNDS = (0.25, 0.5, 1.0, 2.0), (1, 2, 4)
NORM_LEVELS = 2**16
RUNS = 5
TUNING = (100, 101)
COLLUDING = 1
Vector = NDArray[np.float64]
Reached = dict[float | None, list[float]]
"""Accuracies by epsilon, None where nothing hides a hospital."""


@dataclass(frozen=True)
class Consortium:
    """Hospitals' records. ``validation``: of all of them together, to choose by."""

    hospitals: tuple[Records, ...]
    validation: Records
    test: Records


def rows() -> list[dict[str, Any]]:
    """For each model and number of hospitals, accuracy at every epsilon beside none."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        places = list(product(MODELS, HOSPITALS))
        measured = list(pool.map(_measured, places))
    return [
        row for place, found in zip(places, measured, strict=True) for row in _rows(place, found)
    ]


def _rows(
    place: tuple[str, int], found: dict[float | None, list[float]]
) -> Iterator[dict[str, Any]]:
    architecture, number = place
    plain, size = f.mean(found[None]), _model(architecture)[1].size
    what = (
        f"{architecture}, {size} parameters, {number} hospitals (simulated records): test accuracy"
    )
    for epsilon in EPSILONS:
        reached = f.mean(found[epsilon])
        yield f.row(f"{what} at epsilon {epsilon:g}", reached, plain, "no hospital hidden", RUNS)


def _measured(place: tuple[str, int]) -> Reached:
    """Test accuracies of every seed."""
    architecture, number = place
    found: Reached = {}
    for epsilon in (None, *EPSILONS):
        norm, rounds = _chosen(architecture, number, epsilon)
        run = partial(_accuracy, architecture, number, norm, rounds, epsilon)
        found[epsilon] = [run(seed, "test") for seed in range(RUNS)]
    return found


def _chosen(architecture: str, number: int, epsilon: float | None) -> tuple[float, int]:
    """Norm and rounds that are best on the validation records of TUNING."""

    def reached(candidate: tuple[float, int]) -> float:
        run = partial(_accuracy, architecture, number, *candidate, epsilon)
        return f.mean([run(seed, "validation") for seed in TUNING])

    norms = NORMS if epsilon is not None else (float("inf"),)
    return max(product(norms, ROUNDS), key=reached)


def _accuracy(
    architecture: str,
    number: int,
    norm: float,
    rounds: int,
    epsilon: float | None,
    seed: int,
    part: str,
) -> float:
    from trainer.randomness import Seeds
    from trainer.together import train_together
    from trainer.training import evaluate

    consortium = _consortium(number, seed)
    model, weights = _model(architecture)
    noise = 0 if epsilon is None else _noise(number, weights.size, rounds, epsilon)
    for round_ in range(rounds):
        seeds = [Seeds((seed * rounds + round_) * number + place) for place in range(number)]
        bases = np.tile(weights.astype(np.float32), (number, 1))
        updates = train_together(model, bases, consortium.hospitals, _training(), None, seeds)
        weights = weights + (_hidden(updates, norm, noise) if noise else updates).mean(axis=0)
    correct, total = evaluate(model, weights.astype(np.float32), getattr(consortium, part))
    return correct / total


def _training() -> TrainingTerms:
    """The application's own, without noise against single patients."""
    from trainer import applications, presets

    tuned = applications.find(APPLICATION).tuned
    return presets.unprotected(tuned, presets.training(tuned, TRAINED))


def _noise(number: int, parameters: int, rounds: int, epsilon: float) -> int:
    """Of each hospital, in levels."""
    from chaincode.schema import accounting

    return accounting.calibrate_summed(
        NORM_LEVELS, number - COLLUDING, parameters, rounds, round(epsilon * 1e6), 10_000
    )


def _hidden(updates: Vector, norm: float, noise: int) -> Vector:
    """As nodes clip, round and noise them."""
    from trainer.privacy.discrete_gaussian import clipped, sample
    from trainer.privacy.sampling import fresh

    unit = norm / NORM_LEVELS
    whole = np.stack([clipped(update / unit, NORM_LEVELS) for update in updates])
    return (whole + sample(noise, whole.size, fresh()).reshape(whole.shape)) * unit


def _model(architecture: str) -> tuple[nn.Module, Vector]:
    import torch

    from trainer.models import registry
    from trainer.models.values import parameters

    torch.set_num_threads(1)
    model = registry.build(architecture, MODELS[architecture])
    return model, parameters(model).astype(np.float64)


@cache
def _consortium(number: int, seed: int) -> Consortium:
    """Patients of as many hospitals, and TESTED others, all drawn alike."""
    from trainer import applications
    from trainer.applications.files import load, write
    from trainer.data.records import VALIDATION_FRACTION, split
    from trainer.simulation import pooled

    found = applications.find(APPLICATION)
    # A fifth of all patients is held out.
    patients = max(number * EACH * 5 // 4, 5 * TESTED)
    drawn = replace(found, sample=lambda _: _drawn(found, patients, seed))
    with tempfile.TemporaryDirectory() as folder:
        hospitals, test = load(drawn, write(drawn, Path(folder), number, seed))
    parts = [split(_first(records, EACH), VALIDATION_FRACTION, seed) for records in hospitals]
    training, validation = zip(*parts, strict=True)
    return Consortium(training, pooled(validation), _first(test, TESTED))


def _first(records: Records, number: int) -> Records:
    return type(records)(records.features[:number], records.labels[:number])


def _drawn(application: Application, patients: int, seed: int) -> Sample:
    """So many patients, of as many samples as that takes."""
    size = application.sample(0).labels.size
    samples = [application.sample(1000 * seed + n) for n in range(-(-patients // size))]
    values = np.concatenate([sample.values for sample in samples])[:patients]
    labels = np.concatenate([sample.labels for sample in samples])[:patients]
    return type(samples[0])(values, labels, np.arange(patients))
