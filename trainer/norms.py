"""Whether a mean update is longer than the plan lets it be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import norms
from chaincode.schema.norms import NormTerms


def beyond(terms: NormTerms | None, mean: NDArray[np.float64], weights: Sequence[int]) -> bool:
    """The same on every machine: squares are rounded once each and their sum once at the end.

    Args:
        terms: None: nothing is.
        mean: float64[n], in [-1000, 1000].
        weights: of the updates, each at least 1.
    """
    if terms is None:
        return False
    squared = math.fsum((mean * mean).tolist()) * 1e18
    return squared > norms.bound_nano(terms, mean.size, weights) ** 2
