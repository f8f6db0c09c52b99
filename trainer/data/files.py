"""Records read from a hospital's own files: CSV, NumPy, or a folder of images.

Values are scaled by the plan's public bounds into [-1, 1] and clipped there: nothing is fitted on
the records, so nothing of them leaks by the scaling.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import DataTerms
from trainer.data.records import Records

FILE_LIMIT = 4 * 1024**3
"""Bytes of a records file."""


@dataclass(frozen=True)
class Raw:
    """As read, unscaled: float[n, *shape], int64[n], and int64[n] or None. See :class:`Records`."""

    values: NDArray[np.float64] | NDArray[np.float32]
    labels: NDArray[np.int64]
    patients: NDArray[np.int64] | None = None


def read(path: Path, terms: DataTerms) -> Records:
    """Records of a ``.csv`` or ``.npz`` file, or of a folder with one folder of images per class.

    Raises:
        MedFabricError: as :func:`load`.
    """
    raw = load(path, terms)
    return Records(_scaled(raw.values, terms), raw.labels, raw.patients)


def load(path: Path, terms: DataTerms) -> Raw:
    """The same as they are in the file, neither scaled nor clipped.

    Raises:
        MedFabricError: ``DATA_FILE``, ``DATA_MISMATCH`` or ``DATA_VALUE``, naming file, row and
            column.
    """
    try:
        if path.is_file() and path.stat().st_size > FILE_LIMIT:
            raise MedFabricError(Code.DATA_FILE, f"{path} is larger than {FILE_LIMIT} bytes")
        raw = _raw(path, terms)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"cannot read {path}: {error}; name a readable file of the plan's kind"
        ) from None
    _check(path, raw, terms)
    return raw


def _raw(path: Path, terms: DataTerms) -> Raw:
    if path.is_dir():
        from trainer.data import images

        return images.read(path, terms)
    if path.suffix == ".npz":
        from trainer.data import arrays

        return arrays.read(path)
    from trainer.data import tables

    return tables.read(path, terms)


def _check(path: Path, raw: Raw, terms: DataTerms) -> None:
    number = raw.labels.size
    if not number:
        raise MedFabricError(Code.DATA_MISMATCH, f"{path} has no records")
    if raw.values.shape != (number, *terms.shape) or raw.labels.ndim != 1:
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{path}: records have the shape {raw.values.shape[1:]}, the plan's {terms.shape}",
        )
    if raw.patients is not None and raw.patients.shape != (number,):
        raise MedFabricError(Code.DATA_MISMATCH, f"{path}: not one patient for every record")
    if not np.isfinite(raw.values).all():
        row = int(np.argwhere(~np.isfinite(raw.values))[0][0])
        raise MedFabricError(Code.DATA_VALUE, f"{path}, record {row}: a value is not finite")
    if not (raw.labels.min() >= 0 and raw.labels.max() < len(terms.classes)):
        row = int(np.flatnonzero((raw.labels < 0) | (raw.labels >= len(terms.classes)))[0])
        raise MedFabricError(
            Code.DATA_VALUE, f"{path}, record {row}: a label is none of the plan's classes"
        )


def _scaled(
    values: NDArray[np.float64] | NDArray[np.float32], terms: DataTerms
) -> NDArray[np.float32]:
    if terms.text is not None:
        return values.astype(np.float32)
    bounded = terms.features or (terms.tensor,)
    low = np.array([part.low_micro for part in bounded if part]) / 1e6
    high = np.array([part.high_micro for part in bounded if part]) / 1e6
    if not (low < high).all():
        raise MedFabricError(
            Code.DATA_MISMATCH, "a feature's upper bound is not above its lower one; amend the plan"
        )
    return np.clip(2 * (values - low) / (high - low) - 1, -1, 1).astype(np.float32)
