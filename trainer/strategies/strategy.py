"""What a federated strategy is: how the mean update moves the global model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Settings = Mapping[str, int]
"""The plan's settings of the strategy, in 1e-6."""
State = Mapping[str, NDArray[np.float32]]
"""What the strategy carries from round to round, each float32[n]."""
Step = Callable[
    [NDArray[np.float32], State, NDArray[np.float64], Settings],
    tuple[NDArray[np.float32], State],
]


@dataclass(frozen=True)
class Strategy:
    """A federated strategy.

    ``step`` takes the base model's weights float32[n], the state, the mean update float64[n] and
    the settings, and gives the new weights and state. It must use elementwise IEEE operations
    alone (additions, products, square roots): every hospital computes it, and all must get the
    same bytes. ``slots`` names the state's arrays, all zero before the first round; they travel in
    the model's file, under its hash. ``mu`` gives the weight of a proximal term in local training.
    """

    step: Step
    slots: tuple[str, ...] = ()
    mu: Callable[[Settings], float] = lambda _: 0.0


def moved(weights: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """The weights moved, rounded once."""
    return (weights.astype(np.float64) + by).astype(np.float32)
