"""What an application is: a health use with its data, its model and the terms that suit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms
from trainer.applications.provenance import Provenance


@dataclass(frozen=True)
class Sample:
    """Records as a hospital has them, before any scaling.

    ``values``: numbers [n, *shape], for texts ``str[n]``; of columns [n, columns], a code as its
    index among the terms', a missing value as NaN. ``labels``: int64[n]. ``patients``: int64[n].
    """

    values: NDArray[np.float64] | NDArray[np.float32] | NDArray[np.str_]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Sample:
        """Some of the records."""
        return Sample(self.values[rows], self.labels[rows], self.patients[rows])


@dataclass(frozen=True)
class Tuned:
    """Training terms found on hospitals' validation records; see benchmarks/learning.

    ``learning_rate``, ``momentum`` and ``clip`` (norm of a per-sample gradient) are decimal
    fractions.
    """

    rounds: int
    steps: int
    batch: int
    learning_rate: float
    clip: float
    momentum: float = 0.0
    plain_rate: float | None = None
    """Learning rate without privacy, where that of clipped gradients does not suit."""


@dataclass(frozen=True)
class Application:
    """One application.

    ``simulated``: no patient is behind its records. ``sample(seed)`` gives them; a real data set
    is the same for every seed."""

    id: str
    title: str
    simulated: bool
    about: str
    terms: Callable[[], DataTerms]
    sample: Callable[[int], Sample]
    provenance: Provenance
    architecture: str
    config: Mapping[str, int]
    tuned: Tuned

    def with_empty_classes(self) -> Application:
        """The same where a hospital may lack a class, as in experiments with skewed labels."""
        terms = self.terms().model_copy(update={"least_per_class": 0})
        return replace(self, terms=lambda: terms)
