"""Records as models see them, and how a hospital splits its own."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    def commitment(self, salt: bytes) -> str:
        """Hex SHA-256 over salt and records: shows later that these were trained on."""
        shape = self.features.shape
        digest = hashlib.sha256(salt + struct.pack(f"<{1 + len(shape)}Q", len(shape), *shape))
        digest.update(self.features.astype("<f4").tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        if self.patients is not None:
            digest.update(self.patients.astype("<i8").tobytes())
        return digest.hexdigest()


def split(records: Records, validation_fraction: float, seed: int) -> tuple[Records, Records]:
    """Training and validation records, by a seeded permutation of the patients.

    No patient is in both: the validation part is the last that does not exceed its fraction.

    Args:
        validation_fraction: in [0, 1).
        seed: at least 0.
    """
    whose = np.arange(len(records)) if records.patients is None else records.patients
    patients, counts = np.unique(whose, return_counts=True)
    order = np.random.default_rng(seed).permutation(patients.size)
    wanted = round(len(records) * validation_fraction)
    held_out = int((np.cumsum(counts[order]) <= wanted).sum())
    validates = np.isin(whose, patients[order[:held_out]])
    return records.take(np.flatnonzero(~validates)), records.take(np.flatnonzero(validates))
