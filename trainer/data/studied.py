"""Records as a study sums them: whole numbers, their products, and who falls into which bin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import studies
from chaincode.schema.data import Column, Feature
from chaincode.schema.studies import StudyTerms, Term
from trainer.data.inputs import Values, filled
from trainer.data.raw import Raw


def values(raw: Raw, study: StudyTerms) -> NDArray[np.int64]:
    """int64[n, L]: of each record what :func:`chaincode.schema.studies.terms_of` lists."""
    columns = {c.name: c for c in study.data.features}
    read = {name: filled(columns[name], raw.values[:, i]) for i, name in enumerate(columns)}
    numbers = [_whole(c, read[c.name], study.levels) for c in study.numbers]
    labels = raw.labels.astype(np.int64)
    bins = {
        h.name: _places(read[h.name], columns[h.name], h.bins) if h.name in columns else labels
        for h in study.histograms
    }
    listed = studies.terms_of(study)
    return np.column_stack([_of(term, numbers, bins, labels) for term in listed])


def _of(
    term: Term,
    numbers: list[NDArray[np.int64]],
    bins: dict[str, NDArray[np.int64]],
    labels: NDArray[np.int64],
) -> NDArray[np.int64]:
    if term.name:
        inside: NDArray[np.int64] = (bins[term.name] == term.bin).astype(np.int64)
        return inside
    first = 2 * labels - 1 if term.labelled else np.ones(labels.shape, dtype=np.int64)
    factors = [first, *(numbers[factor] for factor in term.factors)]
    product: NDArray[np.int64] = np.prod(np.stack(factors), axis=0)
    return product


def _whole(column: Feature, read: Values, levels: int) -> NDArray[np.int64]:
    """Steps from the middle of the bounds, clipped to them."""
    return np.rint((2 * _fraction(column, read) - 1) * levels).astype(np.int64)


def _places(read: Values, column: Column, bins: int) -> NDArray[np.int64]:
    """Which bin each value is in; a value on an edge is in the upper one, but for the last."""
    if not isinstance(column, Feature):
        return read.astype(np.int64)
    places = np.floor(_fraction(column, read) * bins).astype(np.int64)
    return np.minimum(places, bins - 1)


def _fraction(column: Feature, read: Values) -> NDArray[np.float64]:
    low, high = column.low_micro / 1e6, column.high_micro / 1e6
    return np.clip((read.astype(np.float64) - low) / (high - low), 0, 1)
