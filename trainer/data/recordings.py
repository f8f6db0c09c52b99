"""Windows cut from recordings: a folder of CSV files, one per recording, and ``index.csv``.

The index has a row for each recording: ``recording`` (the file's name), ``rate_hz``, the plan's
label and, where it names one, the patient. A recording has one column per channel and one row per
sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, RecordingTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.data import tables
from trainer.data.raw import Raw, whose, wrong_value
from trainer.data.sealed import Readable
from trainer.data.split import part_named

INDEX = "index.csv"
_NAME, _RATE = "recording", "rate_hz"


@dataclass(frozen=True)
class _Recording:
    """``windows``: float32[n, channels, length]."""

    name: str
    label: int
    patient: str
    part: int
    windows: NDArray[np.float32]


def read(folder: Readable, terms: DataTerms, split_column: str | None = None) -> Raw:
    """Read every recording that the index names, in its order.

    Windows of one recording are one patient's, whether or not the plan names a patient's column.

    Raises:
        MedFabricError: ``DATA_MISMATCH`` where a recording has other columns or another rate, or is
            shorter than a window; ``DATA_VALUE`` where a value is no finite number.
    """
    others = [name for name in (terms.patient, split_column) if name is not None]
    index = folder / INDEX
    found = [
        _recording(folder, place, row, terms, split_column)
        for place, row in tables.rows(index, [_NAME, _RATE, terms.label, *others])
    ]
    names = [one.name for one in found]
    if len(set(names)) < len(names) or not names:
        what = "a recording twice" if names else "no recording"
        raise MedFabricError(Code.DATA_MISMATCH, f"{index} names {what}; name each once")
    each = [len(one.windows) for one in found]
    return Raw(
        np.concatenate([one.windows for one in found]),
        np.repeat(np.array([one.label for one in found], dtype=np.int64), each),
        [f"{one.name}, window {number}" for one in found for number in range(len(one.windows))],
        np.repeat(whose([one.patient for one in found]), each),
        np.repeat(np.array([one.part for one in found], dtype=np.int8), each)
        if split_column
        else None,
    )


def _recording(
    folder: Readable, place: str, row: tables.Row, terms: DataTerms, split_column: str | None
) -> _Recording:
    assert terms.tensor is not None
    assert terms.tensor.recording is not None
    index, name = folder / INDEX, row[_NAME]
    if Path(name).name != name or name in ("", INDEX):
        raise wrong_value(index, place, f"column {_NAME!r} names no file of this folder")
    _check_rate(index, place, row[_RATE], terms.tensor.recording)
    samples = _samples(folder / name, terms.tensor.recording)
    length, stride = terms.tensor.shape[1], terms.tensor.recording.stride
    if len(samples) < length:
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{folder / name} has {len(samples)} samples, a window of the plan's {length}",
        )
    windows = np.lib.stride_tricks.sliding_window_view(samples, length, axis=0)[::stride]
    return _Recording(
        name,
        tables.label_of(index, place, row, terms),
        tables.patient_of(index, place, row, terms) or name,
        part_named(index, place, row[split_column]) if split_column else 0,
        np.ascontiguousarray(windows),
    )


def _check_rate(index: Readable, place: str, written: str, terms: RecordingTerms) -> None:
    try:
        millihertz = 1000 * Decimal(written.strip())
    except InvalidOperation:
        raise wrong_value(index, place, f"column {_RATE!r} is not a number") from None
    if millihertz != terms.rate_millihertz:
        raise wrong_value(
            index,
            place,
            f"column {_RATE!r} is not the plan's {terms.rate_millihertz / 1000:g}; resample it",
        )


def _samples(path: Readable, terms: RecordingTerms) -> NDArray[np.float32]:
    """float32[samples, channels]."""
    found = [
        [_number(path, place, row, channel) for channel in terms.channels]
        for place, row in tables.rows(path, list(terms.channels))
    ]
    return np.array(found, dtype=np.float32).reshape(-1, len(terms.channels))


def _number(path: Readable, place: str, row: tables.Row, channel: str) -> float:
    try:
        value = float(row[channel])
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise wrong_value(path, place, f"column {channel!r} is missing or not a finite number")
    return value
