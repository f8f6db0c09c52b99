"""Records as models see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import TRAINING, VALIDATION, Split

VALIDATION_FRACTION = 0.2
"""Share of a hospital's records that validates candidates, where its node says nothing else."""


@dataclass(frozen=True)
class Records:
    """``features``: float32[n, *shape] in [-1, 1]. ``labels``: int64[n], indices of the classes.
    ``patients``: int64[n], equal where records are one patient's; None where each has one record.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return int(self.labels.size)

    def take(self, rows: NDArray[np.int64]) -> Records:
        """Some of the records."""
        patients = None if self.patients is None else self.patients[rows]
        return Records(self.features[rows], self.labels[rows], patients)


def split(records: Records, validation_fraction: float, seed: int) -> tuple[Records, Records]:
    """Training and validation records, as a node draws them; for experiments.

    Args:
        validation_fraction: in [0, 1).
        seed: at least 0.
    """
    drawn = Split.drawn(len(records), records.patients, seed, validation_fraction)
    return records.take(drawn.rows(TRAINING)), records.take(drawn.rows(VALIDATION))
