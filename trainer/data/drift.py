"""How far records are from what the plan expects of them.

- PSI, the population stability index: ``sum((o - e) * ln(o / e))`` over the bins' observed and
  expected shares (Siddiqi 2006, "Credit Risk Scorecards", who calls less than 0.1 no change and
  more than 0.25 a large one); it is the symmetric divergence of Jeffreys 1946. Where nothing has
  drifted, n times it has about a chi-squared distribution with one degree of freedom less than bins
  (Yurdakul 2018, "Statistical Properties of Population Stability Index"): what chance gives.
- KS, the Kolmogorov-Smirnov distance: the largest difference of the distribution functions, here at
  the bins' edges, where alone the expected one is known; so it is a lower bound. By chance it stays
  below 1.358 / sqrt(n) in 95 % of cases (Smirnov 1948), at the edges of few bins in more.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
SHIFTED, DRIFTED = 0.1, 0.25
"""PSI from which a column counts as shifted, and as drifted."""
_KS_95 = 1.358


def psi(observed: Counts, expected: Shares) -> float:
    """Of counts per bin, int64[bins], and expected shares, float[bins] of sum 1.

    Half a record is added to every bin, and as much to what is expected of it: empty bins have a
    logarithm too.
    """
    bins, number = observed.size, int(observed.sum())
    seen = (observed + 0.5) / (number + 0.5 * bins)
    wanted = (expected * number + 0.5) / (number + 0.5 * bins)
    return float(((seen - wanted) * np.log(seen / wanted)).sum())


def psi_by_chance(bins: int, number: int) -> float:
    """What PSI stays below in 95 % of cases where nothing has drifted.

    Args:
        number: of independent records.
    """
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, bins - 1)) / max(number, 1)


def ks(observed: Counts, expected: Shares) -> float:
    """Of counts per bin, int64[bins] in order, and expected shares, float[bins]: in [0, 1]."""
    seen = np.cumsum(observed) / max(int(observed.sum()), 1)
    return float(np.abs(seen - np.cumsum(expected)).max())


def ks_by_chance(number: int) -> float:
    """What KS stays below in 95 % of cases where nothing has drifted."""
    return _KS_95 / math.sqrt(max(number, 1))


def verdict(index: float, chance: float) -> str:
    """What a PSI says of a column."""
    if index < SHIFTED or index <= chance:
        return "as expected"
    return "shifted" if index < DRIFTED else "drifted"
