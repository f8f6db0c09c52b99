"""Values as models take them: filled in, scaled, coded, by the plan's terms alone.

Nothing is fitted on the records, so a record's inputs depend on no other record, and nothing of the
records leaks by them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import Category, Column, DataTerms, Feature
from trainer.data.raw import Raw

Values = NDArray[np.float64] | NDArray[np.float32]


def inputs(raw: Raw, terms: DataTerms) -> NDArray[np.float32]:
    """float32[n, *terms.shape]: numbers scaled by their bounds into [-1, 1] and clipped there; a
    code as 1 among 0; texts as they were hashed."""
    if terms.text is not None:
        return raw.values.astype(np.float32)
    if terms.tensor is not None:
        return _scaled(raw.values, terms.tensor.low_micro, terms.tensor.high_micro)
    columns = zip(terms.features, raw.values.T, strict=True)
    return np.column_stack([_column(column, values) for column, values in columns])


def filled(column: Column, values: Values) -> Values:
    """A column's values with what stands for those that are missing."""
    if isinstance(column, Category):
        stands = float("nan") if column.missing is None else column.codes.index(column.missing)
    else:
        stands = float("nan") if column.missing_micro is None else column.missing_micro / 1e6
    return np.where(np.isnan(values), stands, values)


def _column(column: Column, values: Values) -> NDArray[np.float32]:
    whole = filled(column, values)
    if isinstance(column, Feature):
        return _scaled(whole, column.low_micro, column.high_micro)
    among: NDArray[np.float32] = (whole[:, None] == np.arange(len(column.codes))).astype(np.float32)
    return among


def _scaled(values: Values, low_micro: int, high_micro: int) -> NDArray[np.float32]:
    low, high = low_micro / 1e6, high_micro / 1e6
    return np.clip(2 * (values - low) / (high - low) - 1, -1, 1).astype(np.float32)
