"""Records in a CSV file: one row each, numbers or a text, the class by its name."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import DataTerms
from trainer.data import text
from trainer.data.files import Raw

Values = NDArray[np.float64] | NDArray[np.float32]
Row = dict[str, str]


def read(path: Path, terms: DataTerms) -> Raw:
    """Read the plan's columns of a CSV file with a header; others are passed over."""
    if terms.tensor is not None:
        raise MedFabricError(
            Code.DATA_MISMATCH, f"{path}: the plan's records are arrays; name an NPZ file or folder"
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True)
        _check_header(path, list(reader.fieldnames or []), terms)
        rows = list(_rows(path, reader, terms))
    if not rows:
        raise MedFabricError(Code.DATA_MISMATCH, f"{path} has no records")
    values = np.array([row for row, _, _ in rows])
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    if terms.patient is None:
        return Raw(values, labels)
    _, patients = np.unique([patient for _, _, patient in rows], return_inverse=True)
    return Raw(values, labels, patients.astype(np.int64))


def _check_header(path: Path, columns: list[str], terms: DataTerms) -> None:
    named = [feature.name for feature in terms.features] or [
        terms.text.column if terms.text else ""
    ]
    for name in (*named, terms.label, *([terms.patient] if terms.patient else [])):
        if columns.count(name) != 1:
            how_many = "more than one" if name in columns else "no"
            raise MedFabricError(
                Code.DATA_MISMATCH, f"{path} has {how_many} column {name!r}; the plan needs one"
            )


def _rows(
    path: Path, reader: csv.DictReader[str], terms: DataTerms
) -> Iterator[tuple[Values, int, str]]:
    classes = {name: index for index, name in enumerate(terms.classes)}
    values = _reader(terms)
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row:
            raise MedFabricError(Code.DATA_VALUE, f"{place}: more fields than the header names")
        label = classes.get(row[terms.label] or "")
        if label is None:
            raise MedFabricError(
                Code.DATA_VALUE, f"{place}: column {terms.label!r} is none of the plan's classes"
            )
        patient = (row[terms.patient] or "") if terms.patient else ""
        if terms.patient and not patient:
            raise MedFabricError(Code.DATA_VALUE, f"{place}: column {terms.patient!r} is missing")
        yield values(row, place), label, patient


def _reader(terms: DataTerms) -> Callable[[Row, str], Values]:
    names = [feature.name for feature in terms.features]
    if terms.text is not None:
        column, buckets = terms.text.column, terms.text.buckets
        return lambda row, _: text.hashed(row[column] or "", buckets)
    return lambda row, place: np.array([_number(row[name], place, name) for name in names])


def _number(value: str | None, place: str, column: str) -> float:
    try:
        number = float(value or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        # The value itself is a patient's: it is not repeated.
        raise MedFabricError(
            Code.DATA_VALUE, f"{place}: column {column!r} is missing or not a finite number"
        )
    return number
