"""What an application's plan reaches at several epsilons: measured, in one process, on its records.

Trained as nodes train, updates clipped and rounded as the encryption does; test records are held
out from training and evaluated once, on the last model.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chaincode.schema import clipping
from chaincode.schema.plans import PrivacyTerms
from client.budget_page import Accuracy, Measured
from trainer import applications, presets
from trainer.applications.application import Application
from trainer.applications.files import load, write
from trainer.data.records import VALIDATION_FRACTION, Records, split
from trainer.models import registry
from trainer.models.layers import Layers
from trainer.simulation import federated
from trainer.training import evaluate


def measure(
    name: str,
    epsilons: Sequence[float],
    seeds: int,
    hospitals: int = 4,
    rounds: int | None = None,
) -> Measured:
    """Mean test accuracy over seeds of split, sampling and noise, at each epsilon.

    Args:
        rounds: others than the application was tuned for.

    Raises:
        MedFabricError: ``APPLICATION_UNKNOWN``.
    """
    found = applications.find(name)
    runs = [_Run(found, seed, hospitals, rounds) for seed in range(seeds)]
    points = []
    for epsilon in epsilons:
        reached = [run.accuracy(round(epsilon * 1e6)) for run in runs]
        points.append(
            Accuracy(
                epsilon=epsilon,
                noise_multiplier=runs[0].noise_micro(round(epsilon * 1e6)) / 1e6,
                accuracy=statistics.fmean(reached),
                spread=statistics.pstdev(reached),
            )
        )
    terms = runs[0].training
    return Measured(
        application=name,
        simulated=found.simulated,
        hospitals=hospitals,
        rounds=terms.rounds,
        steps=terms.steps,
        batch_size=terms.batch_size,
        seeds=seeds,
        unprotected=statistics.fmean(run.accuracy(None) for run in runs),
        points=tuple(points),
    )


class _Run:
    """One seed's hospitals."""

    def __init__(
        self, application: Application, seed: int, hospitals: int, rounds: int | None
    ) -> None:
        with tempfile.TemporaryDirectory() as folder:
            files = write(application, Path(folder), hospitals, seed, "identical", sample_seed=seed)
            parts, self._test = load(application, files)
        self._hospitals: list[Records] = [split(p, VALIDATION_FRACTION, seed)[0] for p in parts]
        self._samples = min(len(records) for records in self._hospitals)
        self._tuned, self._seed = application.tuned, seed
        self._model = registry.build(application.architecture, application.config)
        self.training = presets.training(application.tuned, self._samples, rounds)

    def noise_micro(self, epsilon_micro: int) -> int:
        """The noise multiplier that all rounds need."""
        terms = presets.privacy(self._tuned, self.training, self._samples, epsilon_micro)
        return terms.noise_multiplier_micro

    def accuracy(self, epsilon_micro: int | None) -> float:
        """On the test records; None trains without protection."""
        privacy: PrivacyTerms | None = None
        if epsilon_micro is None:
            terms, clip = presets.unprotected(self._tuned, self.training), np.inf
        else:
            terms = self.training
            privacy = presets.privacy(self._tuned, terms, self._samples, epsilon_micro)
            size = Layers.planned(registry.layout(self._model), terms).size
            clip = clipping.clip_micro(terms, privacy, size) / 1e6
        rounds = federated(self._model, self._hospitals, terms, privacy, self._seed, clip)
        weights = [weights for weights, _ in rounds][-1]
        correct, total = evaluate(self._model, weights, self._test)
        return correct / total
