"""What records look like, column by column: of arrays and texts, columns that sum a record up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import WHOLE, Category, DataTerms, Distribution, Expectation, Feature
from trainer.data.raw import Raw

BINS = 10


@dataclass(frozen=True)
class Series:
    """One column. ``values``: float64[n], NaN where missing; of codes their indices in ``codes``.
    ``low`` and ``high``: the plan's bounds of numbers, where it has some."""

    name: str
    values: NDArray[np.float64]
    codes: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> NDArray[np.float64]:
        """Without those that are missing."""
        return self.values[~np.isnan(self.values)]

    def counts(self, edges: NDArray[np.float64]) -> NDArray[np.int64]:
        """Values in each bin; of codes, one bin each. ``edges``: inner ones, each of the bin below
        it."""
        if self.codes:
            return np.bincount(self.known.astype(np.int64), minlength=len(self.codes))
        at = np.searchsorted(edges, self.known, side="left")
        return np.bincount(at, minlength=edges.size + 1)


def series(raw: Raw, terms: DataTerms) -> Iterator[Series]:
    """The columns that an expectation may name."""
    if terms.features:
        for column, values in zip(terms.features, raw.values.T, strict=True):
            whole = values.astype(np.float64)
            if isinstance(column, Category):
                yield Series(column.name, whole, column.codes)
            else:
                yield Series(column.name, whole, (), *_bounds(column))
        return
    flat = raw.values.reshape(len(raw.labels), -1).astype(np.float64)
    if terms.text is not None:
        yield Series("words", np.count_nonzero(flat, axis=1).astype(np.float64))
    else:
        yield Series("mean", flat.mean(axis=1))
        yield Series("deviation", flat.std(axis=1))


def expectation(raw: Raw, terms: DataTerms) -> Expectation:
    """What other records should look like, if like these: shares of the classes, and of each column
    in at most BINS bins of about as many records each."""
    labels = np.bincount(raw.labels, minlength=len(terms.classes))
    columns = (_distribution(one) for one in series(raw, terms))
    return Expectation(
        classes_micro=_shares(labels), columns=tuple(one for one in columns if one is not None)
    )


def _distribution(one: Series) -> Distribution | None:
    """None where all values are the same, or missing: there is nothing to compare."""
    edges: tuple[int, ...] = ()
    if not one.codes:
        if not one.known.size:
            return None
        inner = np.quantile(one.known, np.linspace(0, 1, BINS + 1)[1:-1])
        edges = tuple(sorted({round(edge * 1e6) for edge in inner if edge < one.known.max()}))
        if not edges:
            return None
    return Distribution(
        name=one.name,
        edges_micro=edges,
        shares_micro=_shares(one.counts(np.array(edges) / 1e6)),
        missing_micro=round(WHOLE * float(np.isnan(one.values).mean())),
    )


def _shares(counts: NDArray[np.int64]) -> tuple[int, ...]:
    """In 1e-6, of sum WHOLE: what rounding down leaves goes to the largest."""
    total = max(int(counts.sum()), 1)
    shares = [int(count) * WHOLE // total for count in counts]
    shares[int(np.argmax(counts))] += WHOLE - sum(shares)
    return tuple(shares)


def _bounds(column: Feature) -> tuple[float, float]:
    return column.low_micro / 1e6, column.high_micro / 1e6
