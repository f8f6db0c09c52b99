"""Federated averaging and federated SGD (McMahan et al. 2017): the model moves by the mean update.

Federated SGD is the same with a single local step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.strategies.strategy import Settings, State, Strategy, moved


def step(
    weights: NDArray[np.float32], state: State, mean: NDArray[np.float64], _: Settings
) -> tuple[NDArray[np.float32], State]:
    """Add the mean update."""
    return moved(weights, mean), state


FEDAVG = Strategy(step)
FEDSGD = Strategy(step)
