"""Records as models see them, read from a hospital's own files.

Features are scaled by the plan's public bounds into [-1, 1] and clipped there: nothing is fitted
on the records, so nothing of them leaks by the scaling.
"""

from __future__ import annotations

import csv
import hashlib
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import DataTerms

VALIDATION_FRACTION = 0.2
"""Share of a hospital's records that validates candidates, where its node says nothing else."""
FILE_LIMIT = 4 * 1024**3
"""Bytes of a records file."""
_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, NotImplementedError)
_SHAPE = struct.Struct("<QQ")


@dataclass(frozen=True)
class Records:
    """``features``: float32[n, d] in [-1, 1]. ``labels``: int64[n], indices of the classes."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.labels.size)

    def take(self, rows: NDArray[np.int64]) -> Records:
        """Some of the records."""
        return Records(self.features[rows], self.labels[rows])

    def commitment(self, salt: bytes) -> str:
        """Hex SHA-256 over salt and records: shows later that these were trained on."""
        digest = hashlib.sha256(salt + _SHAPE.pack(*self.features.shape))
        digest.update(self.features.astype("<f4").tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def read(path: Path, terms: DataTerms) -> Records:
    """Records of a ``.csv`` or ``.npz`` file.

    Raises:
        MedFabricError: ``DATA_FILE``, ``DATA_MISMATCH`` or ``DATA_VALUE``, naming row and column.
    """
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise MedFabricError(Code.DATA_FILE, f"{path} is larger than {FILE_LIMIT} bytes")
        raw, labels = _read_npz(path) if path.suffix == ".npz" else _read_csv(path, terms)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"cannot read {path}: {error}; name a readable CSV or NPZ file"
        ) from None
    return _checked(path, raw, labels, terms)


def split(records: Records, validation_fraction: float, seed: int) -> tuple[Records, Records]:
    """Training and validation records, by a seeded permutation.

    Args:
        validation_fraction: in [0, 1).
        seed: at least 0.
    """
    order = np.random.default_rng(seed).permutation(len(records))
    held_out = round(len(records) * validation_fraction)
    return records.take(np.sort(order[held_out:])), records.take(np.sort(order[:held_out]))


def _read_csv(path: Path, terms: DataTerms) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        names = [feature.name for feature in terms.features]
        columns = list(reader.fieldnames or [])
        for name in (*names, terms.label):
            if columns.count(name) != 1:
                how_many = "more than one" if name in columns else "no"
                raise MedFabricError(
                    Code.DATA_MISMATCH, f"{path} has {how_many} column {name!r}; the plan needs one"
                )
        rows = list(_rows(path, reader, names, terms))
    if not rows:
        raise MedFabricError(Code.DATA_MISMATCH, f"{path} has no records")
    values = np.array([features for features, _ in rows], dtype=np.float64)
    return values, np.array([label for _, label in rows], dtype=np.int64)


def _rows(
    path: Path, reader: csv.DictReader[str], names: list[str], terms: DataTerms
) -> Iterator[tuple[list[float], int]]:
    classes = {name: index for index, name in enumerate(terms.classes)}
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row:
            raise MedFabricError(Code.DATA_VALUE, f"{place}: more fields than the header names")
        label = classes.get(row[terms.label] or "")
        if label is None:
            raise MedFabricError(
                Code.DATA_VALUE, f"{place}: column {terms.label!r} is none of the plan's classes"
            )
        yield [_number(row[name], place, name) for name in names], label


def _number(text: str | None, place: str, column: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        # The value itself is a patient's: it is not repeated.
        raise MedFabricError(
            Code.DATA_VALUE, f"{place}: column {column!r} is missing or not a finite number"
        )
    return value


def _read_npz(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features, labels = arrays["features"], arrays["labels"]
    except (ValueError, TypeError, KeyError, EOFError, *_BAD_ARCHIVE) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"{path} needs arrays 'features' and 'labels': {error}"
        ) from None
    if features.dtype.kind not in "fiu" or labels.dtype.kind not in "iu":
        raise MedFabricError(Code.DATA_VALUE, f"{path}: features are numbers, labels integers")
    return features.astype(np.float64), labels.astype(np.int64)


def _checked(
    path: Path, raw: NDArray[np.float64], labels: NDArray[np.int64], terms: DataTerms
) -> Records:
    if raw.ndim != 2 or raw.shape != (labels.size, len(terms.features)) or labels.ndim != 1:
        raise MedFabricError(Code.DATA_MISMATCH, f"{path}: not the plan's columns for every record")
    if not np.isfinite(raw).all():
        raise MedFabricError(Code.DATA_VALUE, f"{path}: a feature is not finite")
    if labels.size and not (labels.min() >= 0 and labels.max() < len(terms.classes)):
        raise MedFabricError(Code.DATA_VALUE, f"{path}: a label is none of the plan's classes")
    low = np.array([feature.low_micro for feature in terms.features]) / 1e6
    high = np.array([feature.high_micro for feature in terms.features]) / 1e6
    if not (low < high).all():
        raise MedFabricError(
            Code.DATA_MISMATCH, "a feature's upper bound is not above its lower one; amend the plan"
        )
    scaled = 2 * (raw - low) / (high - low) - 1
    return Records(np.clip(scaled, -1, 1).astype(np.float32), labels)
