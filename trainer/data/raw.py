"""Records as they are in a hospital's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.data.sealed import Readable


@dataclass(frozen=True)
class Raw:
    """As read, neither scaled nor filled in.

    ``values``: float[n, *shape]; of features float[n, columns], a code as its index among the
    plan's, a missing value as NaN. ``labels``: int64[n]. ``places``: where each record is, for
    people. ``patients``: int64[n], equal where records are one patient's; None where each has one.
    ``parts``: int8[n], indices of :data:`trainer.data.split.PARTS`, where the file tells them.
    """

    values: NDArray[np.float64] | NDArray[np.float32]
    labels: NDArray[np.int64]
    places: Sequence[str]
    patients: NDArray[np.int64] | None = None
    parts: NDArray[np.int8] | None = None


def numbered(number: int) -> list[str]:
    """Places of records that have nothing but a number, counted from 0."""
    return [f"record {row}" for row in range(number)]


def whose(names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
    """A number for each record, equal where the patient's name is; of the names' shape."""
    named = np.asarray(names)
    _, patients = np.unique(named, return_inverse=True)
    # Whether NumPy flattens the inverse depends on its version.
    return patients.reshape(named.shape).astype(np.int64)


def wrong_value(path: Readable, place: str, why: str) -> MedFabricError:
    """A refusal that names file and row. The value itself is a patient's: it is not repeated."""
    return MedFabricError(Code.DATA_VALUE, f"{path}, {place}: {why}")
