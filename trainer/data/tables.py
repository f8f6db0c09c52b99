"""Records in a CSV file: one row each; numbers and codes or a text, the class by its name."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import Category, Column, DataTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.data import text
from trainer.data.raw import Raw, whose, wrong_value
from trainer.data.sealed import Readable
from trainer.data.split import part_named

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""What tables write, in any case, where there is no value."""

_OTHER_SIGNS = {";": "semicolons", "\t": "tabs", "|": "bars"}

Values = NDArray[np.float64] | NDArray[np.float32]
Row = dict[str, str]


@dataclass(frozen=True)
class _Record:
    place: str
    values: Values
    label: int
    patient: str
    part: int


def read(path: Readable, terms: DataTerms, split_column: str | None = None) -> Raw:
    """Read the plan's columns of a CSV file with a header; others are passed over."""
    if terms.tensor is not None:
        raise MedFabricError(
            Code.DATA_MISMATCH, f"{path}: the plan's records are arrays; name an NPZ file or folder"
        )
    named = [column.name for column in terms.features] or [terms.text.column if terms.text else ""]
    others = [name for name in (terms.patient, split_column) if name is not None]
    records = [
        _record(path, place, row, terms, split_column)
        for place, row in rows(path, [*named, terms.label, *others])
    ]
    if not records:
        raise MedFabricError(Code.DATA_MISMATCH, f"{path} has no records")
    return Raw(
        np.array([record.values for record in records]),
        np.array([record.label for record in records], dtype=np.int64),
        [record.place for record in records],
        whose([record.patient for record in records]) if terms.patient else None,
        np.array([record.part for record in records], dtype=np.int8) if split_column else None,
    )


def rows(path: Readable, columns: list[str]) -> Iterator[tuple[str, Row]]:
    """Rows of a CSV file that has each of these columns once, with their lines.

    Raises:
        MedFabricError: ``DATA_MISMATCH`` of the header, ``DATA_VALUE`` of a row.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        for sign, called in _OTHER_SIGNS.items():
            if sign in first and set(columns) <= set(next(csv.reader([first], delimiter=sign))):
                raise MedFabricError(
                    Code.DATA_MISMATCH,
                    f"{path} seems to have {called} between its fields; write it with commas, and "
                    "numbers with points (a spreadsheet's 'CSV UTF-8, comma separated')",
                )
        reader = csv.DictReader(itertools.chain([first], file), strict=True)
        header = list(reader.fieldnames or [])
        for name in columns:
            if header.count(name) != 1:
                how_many = "more than one" if name in header else "no"
                raise MedFabricError(
                    Code.DATA_MISMATCH, f"{path} has {how_many} column {name!r}; the plan needs one"
                )
        for row in reader:
            place = f"line {reader.line_num}"
            if None in row:
                raise wrong_value(path, place, "more fields than the header names")
            if None in row.values():
                raise wrong_value(path, place, "fewer fields than the header names")
            yield place, row


def label_of(path: Readable, place: str, row: Row, terms: DataTerms) -> int:
    """The index of a row's class.

    Raises:
        MedFabricError: ``DATA_VALUE`` where it is none of the plan's.
    """
    if row[terms.label] not in terms.classes:
        raise wrong_value(path, place, f"column {terms.label!r} is none of the plan's classes")
    return terms.classes.index(row[terms.label])


def patient_of(path: Readable, place: str, row: Row, terms: DataTerms) -> str:
    """Whose a row is; nobody's where the plan names no such column.

    Raises:
        MedFabricError: ``DATA_VALUE`` where it is missing.
    """
    if terms.patient is None:
        return ""
    if not row[terms.patient]:
        raise wrong_value(path, place, f"column {terms.patient!r} is missing")
    return row[terms.patient]


def _record(
    path: Readable, place: str, row: Row, terms: DataTerms, split_column: str | None
) -> _Record:
    if terms.text is not None:
        values: Values = text.hashed(row[terms.text.column], terms.text.buckets)
    else:
        values = np.array([_value(path, place, column, row) for column in terms.features])
    return _Record(
        place,
        values,
        label_of(path, place, row, terms),
        patient_of(path, place, row, terms),
        part_named(path, place, row[split_column]) if split_column else 0,
    )


def _value(path: Readable, place: str, column: Column, row: Row) -> float:
    """NaN where there is none."""
    written = row[column.name].strip()
    if isinstance(column, Category) and written in column.codes:
        return column.codes.index(written)
    if written.lower() in MISSING:
        return math.nan
    if isinstance(column, Category):
        if column.other is not None:
            return column.codes.index(column.other)
        raise wrong_value(path, place, f"column {column.name!r} is none of the plan's codes")
    try:
        return float(written)
    except ValueError:
        raise wrong_value(path, place, f"column {column.name!r} is not a number") from None
