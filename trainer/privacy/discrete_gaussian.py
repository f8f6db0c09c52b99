"""Discrete Gaussian noise, sampled exactly, and the integers that a node adds it to.

Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy", algorithms 1 to 3,
on arrays: every decision is a comparison of whole numbers drawn uniformly. No exponential is ever
computed in floating point, and so no rounding of the noise tells what it was added to (Mironov
2012, "On Significance of the Least Significant Bits for Differential Privacy").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.accounting import MOST_SUMMED_NOISE
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.sampling import Stream

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_PIECE = 1 << 15
_FARTHEST = 40
"""Deviations beyond which nothing is drawn. The probability of all that is below e^-700."""


def sample(deviation: int, number: int, stream: Stream) -> Integers:
    """Independent draws with probability proportional to exp(-z^2 / (2 deviation^2)).

    Args:
        deviation: a whole number in [1, MOST_SUMMED_NOISE]; the standard deviation is below it by
            less than a millionth.

    Returns:
        ``int64[number]``.

    Raises:
        ValueError: the deviation is outside its range.
    """
    if not 1 <= deviation <= MOST_SUMMED_NOISE:
        raise ValueError(f"the noise is a whole number from 1 to {MOST_SUMMED_NOISE}")
    drawn = np.empty(number, dtype=np.int64)
    for first in range(0, number, _PIECE):
        piece = drawn[first : first + _PIECE]
        piece[:] = _enough(piece.size, 1.4, lambda size: _candidates(deviation, size, stream))
    return drawn


def noised(
    values: NDArray[np.float64], unit: float, norm: int, noise: int, stream: Stream
) -> NDArray[np.float64]:
    """An update clipped to a norm, in whole units, with one contributor's noise.

    Values are rounded towards zero, so that rounding never adds to the norm.

    Args:
        values: ``float64[parameters]``.
        unit: what the encryption rounds to; every value returned is a whole multiple.
        norm: largest L2 norm, in units.
        noise: deviation, in units.

    Returns:
        ``float64[parameters]``.

    Raises:
        MedFabricError: ``VALUE_NOT_FINITE``.
    """
    whole = clipped(values / unit, norm)
    return np.asarray((whole + sample(noise, whole.size, stream)) * unit)


def clipped(values: NDArray[np.float64], norm: int) -> Integers:
    """Whole numbers nearest to zero of the values, scaled so that their L2 norm is at most this.

    Raises:
        MedFabricError: ``VALUE_NOT_FINITE``.
    """
    length = float(np.linalg.norm(values))
    if not np.isfinite(length):
        raise MedFabricError(
            Code.VALUE_NOT_FINITE,
            "the update does not hold finite values only; lower the learning rate",
        )
    # A hair less than the quotient: the norm is held against the bound in whole numbers.
    scale = min(1.0, norm / length * (1 - 1e-9)) if length else 1.0
    whole = np.trunc(values * scale).astype(np.int64)
    assert squares(whole) <= norm * norm
    return whole


def squares(whole: Integers) -> int:
    """The sum of squares, exactly: of numbers below 2^31 in size."""
    square = whole * whole
    return (int((square >> 31).sum()) << 31) + int((square & (2**31 - 1)).sum())


def _candidates(deviation: int, size: int, stream: Stream) -> Integers:
    """Those of some draws of the discrete Laplace distribution of the same scale that stay."""
    laplace = _enough(size, 1.7, lambda number: _laplace(deviation, number, stream))
    laplace = laplace[np.abs(laplace) < _FARTHEST * deviation]
    off = np.abs(laplace) - deviation
    return laplace[_fall(off * off, 2 * deviation * deviation, stream)]


def _laplace(scale: int, size: int, stream: Stream) -> Integers:
    """Draws with probability proportional to exp(-|z| / scale); fewer than ``size``."""
    low = stream.below(size, scale)
    low = low[_fall(low, scale, stream)]
    high = np.zeros_like(low)
    going = np.arange(low.size)
    while going.size:
        going = going[_fall(np.full(going.size, 1), 1, stream)]
        high[going] += 1
    size_of = low + scale * high
    negative = stream.below(low.size, 2) == 1
    kept = ~(negative & (size_of == 0))
    return np.asarray(np.where(negative, -size_of, size_of)[kept])


def _fall(numerator: Integers, denominator: int, stream: Stream) -> Flags:
    """True with probability exp(-numerator / denominator), for each numerator by itself."""
    whole, rest = np.divmod(numerator, denominator)
    stands = _fall_within(rest, denominator, stream)
    going = np.flatnonzero(stands & (whole > 0))
    while going.size:
        passed = _fall_within(np.full(going.size, denominator), denominator, stream)
        stands[going[~passed]] = False
        whole[going] -= 1
        going = going[passed & (whole[going] > 0)]
    return stands


def _fall_within(numerator: Integers, denominator: int, stream: Stream) -> Flags:
    """The same where no quotient is above 1: the first of the events of probabilities q, q / 2,
    q / 3, ... that does not happen has an odd number with probability exp(-q)."""
    odd = np.ones(numerator.size, dtype=bool)
    going = np.arange(numerator.size)
    count = 1
    while going.size:
        happens = stream.below(going.size, denominator) < numerator[going]
        if count > 1:
            happens &= stream.below(going.size, count) == 0
        going = going[happens]
        odd[going] = ~odd[going]
        count += 1
    return odd


def _enough(number: int, times: float, draw: Callable[[int], Integers]) -> Integers:
    """So many of what ``draw`` gives, which is fewer than it is asked for by about ``times``."""
    parts: list[Integers] = []
    have = 0
    while have < number:
        parts.append(draw(int((number - have) * times) + 64))
        have += parts[-1].size
    return np.concatenate(parts)[:number]
