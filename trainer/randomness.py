"""Where training's random choices come from: the operating system, or a seed in tests alone.

Differential privacy holds against whoever cannot guess the noise and the sampled records. A seeded
generator with a short state can be guessed; the operating system's cannot.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Draw = Callable[[int], bytes]
"""So many random bytes."""


@dataclass(frozen=True)
class Seeds:
    """Fixes sampling and noise: for tests and experiments alone."""

    value: int


def source(seeds: Seeds | None, purpose: str) -> Draw:
    """The operating system's generator; with seeds, a reproducible stream of its own per purpose.

    Args:
        seeds: value at least 0.
    """
    if seeds is None:
        return os.urandom
    return np.random.default_rng([seeds.value, *purpose.encode()]).bytes


def normal(draw: Draw, number: int) -> NDArray[np.float64]:
    """Standard normal numbers: ``float64[number]``.

    Each is half the sum of four by Box and Muller, so that the last bits of one cannot be traced
    back to the uniform numbers behind it (Holohan and Braghin 2021, "Secure Random Sampling in
    Differential Privacy", section 5).
    """
    words = np.frombuffer(draw(8 * 4 * number), dtype="<u8").reshape(2, 2, number)
    # 53 random bits each; the radius's in (0, 1], so that its logarithm exists.
    first = ((words[0] >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    angle = (words[1] >> np.uint64(11)).astype(np.float64) * (2.0**-53 * 2 * np.pi)
    radius = np.sqrt(-2.0 * np.log(first))
    return np.asarray((radius * (np.cos(angle) + np.sin(angle))).sum(axis=0) / 2)


def chosen(draw: Draw, number: int, expected: int) -> NDArray[np.int64]:
    """Row numbers below ``number``, each taken independently with probability expected/number.

    The probability is rounded down to a multiple of 2^-63, never up.
    """
    words = np.frombuffer(draw(8 * number), dtype="<u8") >> np.uint64(1)
    return np.flatnonzero(words < np.uint64((expected << 63) // number))
