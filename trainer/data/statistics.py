"""What a dataset's records look like as a whole: exact, without noise, for the hospital alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.plans import DataTerms
from chaincode.schema.private import ClassCount, FeatureStatistics, Statistics
from trainer.data.files import load

_MICRO = 1_000_000


def statistics(file: Path, terms: DataTerms) -> Statistics:
    """Samples, classes and, of records of features, each feature's range, mean and standard
    deviation (of the population), in the file's own units.

    Raises:
        MedFabricError: as :func:`trainer.data.files.read`.
    """
    raw = load(file, terms)
    counts = np.bincount(raw.labels, minlength=len(terms.classes))
    columns = raw.values.T if terms.features else ()
    return Statistics(
        samples=int(raw.labels.size),
        classes=tuple(
            ClassCount(name=name, samples=int(count))
            for name, count in zip(terms.classes, counts, strict=True)
        ),
        features=tuple(
            _feature(feature.name, column.astype(np.float64))
            for feature, column in zip(terms.features, columns, strict=True)
        ),
    )


def _feature(name: str, values: NDArray[np.float64]) -> FeatureStatistics:
    return FeatureStatistics(
        name=name,
        missing=0,  # a file with missing values is refused
        low_micro=_micro(values.min()),
        high_micro=_micro(values.max()),
        mean_micro=_micro(values.mean()),
        deviation_micro=_micro(values.std()),
    )


def _micro(value: float) -> int:
    return round(float(value) * _MICRO)
