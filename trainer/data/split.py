"""Which records train, which validate candidates, which are kept for a test: patient by patient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.data.raw import Raw
from trainer.data.sealed import Readable

TRAINING, VALIDATION, TEST = range(3)
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Split:
    """``part``: int8[n], which of PARTS each record is in. No patient is in two of them."""

    part: NDArray[np.int8]

    @classmethod
    def drawn(
        cls,
        number: int,
        patients: NDArray[np.int64] | None,
        seed: int,
        validation_fraction: float,
        test_fraction: float = 0.0,
    ) -> Split:
        """By a seeded permutation of the patients; no part exceeds its fraction of the records.

        Args:
            number: of records.
            seed: at least 0.
            validation_fraction, test_fraction: in [0, 1), in all below 1.
        """
        owners = np.arange(number) if patients is None else patients
        names, counts = np.unique(owners, return_counts=True)
        order = np.random.default_rng(seed).permutation(names.size)
        part = np.full(number, TRAINING, np.int8)
        taken = 0
        for which, fraction in ((VALIDATION, validation_fraction), (TEST, test_fraction)):
            rest = order[taken:]
            some = int((np.cumsum(counts[rest]) <= round(number * fraction)).sum())
            part[np.isin(owners, names[rest[:some]])] = which
            taken += some
        return cls(part)

    @classmethod
    def told(cls, path: Readable, raw: Raw) -> Split:
        """As the file itself says.

        Raises:
            MedFabricError: ``PATIENT_SPLIT`` where one patient's records are in two parts, naming
                two of them.
        """
        assert raw.parts is not None
        if raw.patients is not None:
            _, first, at = np.unique(raw.patients, return_index=True, return_inverse=True)
            elsewhere = np.flatnonzero(raw.parts[first][at] != raw.parts)
            if elsewhere.size:
                one, two = int(first[at[elsewhere[0]]]), int(elsewhere[0])
                raise MedFabricError(
                    Code.PATIENT_SPLIT,
                    f"{path}: {raw.places[one]} ({PARTS[raw.parts[one]]}) and {raw.places[two]} "
                    f"({PARTS[raw.parts[two]]}) are one patient's; give them one part",
                )
        return cls(raw.parts)

    def rows(self, part: int) -> NDArray[np.int64]:
        """Of the records of one part, ascending."""
        return np.flatnonzero(self.part == part)

    def sha256(self, salt: bytes) -> str:
        """Hex SHA-256 over salt and parts in the order of the records."""
        return hashlib.sha256(salt + self.part.astype(np.int8).tobytes()).hexdigest()


def part_named(path: Readable, place: str, name: str) -> int:
    """The index of a part that a file names.

    Raises:
        MedFabricError: ``DATA_VALUE``.
    """
    if name not in PARTS:
        raise MedFabricError(
            Code.DATA_VALUE, f"{path}, {place}: the part is none of {', '.join(PARTS)}"
        )
    return PARTS.index(name)
