"""What a dataset's records look like as a whole: exact, without noise, for the hospital alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.private import ClassCount, FeatureStatistics, Statistics
from trainer.data.files import load
from trainer.data.sealed import Readable

_MICRO = 1_000_000


def statistics(file: Readable, terms: DataTerms) -> Statistics:
    """Samples, classes and, of each column of numbers, how many are missing, and the range, mean
    and standard deviation (of the population) of the others, in the file's own units. A column
    without any number is left out.

    Raises:
        MedFabricError: as :func:`trainer.data.files.read`.
    """
    raw = load(file, terms)
    counts = np.bincount(raw.labels, minlength=len(terms.classes))
    columns = zip(terms.features, raw.values.T, strict=True) if terms.features else ()
    return Statistics(
        samples=int(raw.labels.size),
        classes=tuple(
            ClassCount(name=name, samples=int(count))
            for name, count in zip(terms.classes, counts, strict=True)
        ),
        features=tuple(
            _feature(column.name, values.astype(np.float64))
            for column, values in columns
            if isinstance(column, Feature) and not np.isnan(values).all()
        ),
    )


def _feature(name: str, values: NDArray[np.float64]) -> FeatureStatistics:
    missing = np.isnan(values)
    values = values[~missing]
    return FeatureStatistics(
        name=name,
        missing=int(missing.sum()),
        low_micro=_micro(values.min()),
        high_micro=_micro(values.max()),
        mean_micro=_micro(values.mean()),
        deviation_micro=_micro(values.std()),
    )


def _micro(value: float) -> int:
    return round(float(value) * _MICRO)
