"""A synthetic table of a dataset's training records, under differential privacy.

Of every column and class, how many records are in each of a few bins that the plan's public bounds
make, counted with discrete Gaussian noise; then records are drawn, class by class and column by
column, from those counts alone. What columns have to do with each other within a class is lost: the
mechanism is small enough to be checked by reading; others keep more (McKenna, Miklau, Sheldon
2021, "Winning the NIST Contest").

A record is in one cell of each table, so that adding or removing one changes all tables together by
the square root of their number in L2 norm; the noise is exact (:mod:`.discrete_gaussian`).
"""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import accounting
from chaincode.schema.data import Category, Column, DataTerms, Feature
from chaincode.schema.errors import Code, MedFabricError
from trainer.data.raw import Raw
from trainer.privacy.discrete_gaussian import sample
from trainer.privacy.sampling import Stream

MECHANISM = "class-marginals-v1"
BINS = 8
"""Of a column of numbers: equal parts of the plan's range."""

Counts = NDArray[np.int64]


def least_noise(terms: DataTerms, epsilon_micro: int, delta_nano: int) -> int:
    """The least noise of a cell at which a release costs no more than epsilon.

    Raises:
        MedFabricError: ``DATA_MISMATCH`` where the records have no columns.
        ValueError: no noise is enough.
    """
    milli = accounting.calibrate(1, 1, len(_columns(terms)), epsilon_micro, delta_nano) // 1000
    return max(1, -(-milli // 1000))


def tables(raw: Raw, terms: DataTerms) -> list[Counts]:
    """Of each column ``int64[classes, bins]``; the last bin is of missing values where the plan
    lets the column lack some."""
    return [
        _counts(column, values, raw.labels, len(terms.classes))
        for column, values in zip(_columns(terms), raw.values.T, strict=True)
    ]


def noised(counts: list[Counts], noise: int, stream: Stream) -> list[Counts]:
    """With independent noise in every cell."""
    return [table + sample(noise, table.size, stream).reshape(table.shape) for table in counts]


def drawn(counts: list[Counts], terms: DataTerms, records: int, stream: Stream) -> bytes:
    """A CSV file of so many records, as `medfabric node data` reads them.

    Args:
        counts: noised; nothing else of the records is looked at.
    """
    draw = np.random.default_rng(int.from_bytes(stream.bytes(32), "big"))
    positive = [np.maximum(table, 0) for table in counts]
    sizes = np.maximum(sum(table.sum(axis=1) for table in counts), 1)
    labels = draw.choice(len(terms.classes), records, p=sizes / sizes.sum())
    columns = [
        _values(column, table, labels, draw)
        for column, table in zip(_columns(terms), positive, strict=True)
    ]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow([*(column.name for column in _columns(terms)), terms.label])
    classes = [terms.classes[label] for label in labels]
    writer.writerows(zip(*columns, classes, strict=True))
    return file.getvalue().encode()


def _columns(terms: DataTerms) -> tuple[Column, ...]:
    if not terms.features:
        raise MedFabricError(
            Code.DATA_MISMATCH, "a synthetic table is made of columns; these records have none"
        )
    return terms.features


def _counts(
    column: Column, values: NDArray[np.floating], labels: NDArray[np.int64], classes: int
) -> Counts:
    known = bins(column) - column.may_lack
    if isinstance(column, Feature):
        low, high = column.low_micro / 1e6, column.high_micro / 1e6
        part = np.floor((np.nan_to_num(values, nan=low) - low) / (high - low) * known)
        at = np.clip(part, 0, known - 1).astype(np.int64)
    else:
        at = np.nan_to_num(values, nan=0).astype(np.int64)
    at = np.where(np.isnan(values), known, at)
    table = np.zeros((classes, bins(column)), dtype=np.int64)
    np.add.at(table, (labels, at), 1)
    return table


def bins(column: Column) -> int:
    """Of a column, with one for missing values where there may be some."""
    known = len(column.codes) if isinstance(column, Category) else BINS
    return known + column.may_lack


def _values(
    column: Column, table: Counts, labels: NDArray[np.int64], draw: np.random.Generator
) -> list[str]:
    """One value for each label; uniform where the noise left a class nothing."""
    at = np.empty(labels.size, dtype=np.int64)
    for label, row in enumerate(table):
        share = row / row.sum() if row.sum() else np.full(row.size, 1 / row.size)
        mine = np.flatnonzero(labels == label)
        at[mine] = draw.choice(row.size, mine.size, p=share)
    known = bins(column) - column.may_lack
    if isinstance(column, Category):
        return [column.codes[bin_] if bin_ < known else "" for bin_ in at]
    low, high = column.low_micro / 1e6, column.high_micro / 1e6
    values = low + (at + draw.random(at.size)) / known * (high - low)
    return [f"{value:.6g}" if bin_ < known else "" for bin_, value in zip(at, values, strict=True)]
