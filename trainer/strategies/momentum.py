"""FedAvgM (Hsu et al. 2019): the model moves by a running sum of mean updates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.strategies.strategy import Settings, State, Strategy, moved

VELOCITY = "velocity"


def step(
    weights: NDArray[np.float32], state: State, mean: NDArray[np.float64], settings: Settings
) -> tuple[NDArray[np.float32], State]:
    """velocity = momentum * velocity + mean; weights += server_rate * velocity."""
    kept = settings["momentum"] / 1e6 * state[VELOCITY].astype(np.float64)
    velocity = (kept + mean).astype(np.float32)
    by = settings["server_rate"] / 1e6 * velocity.astype(np.float64)
    return moved(weights, by), {VELOCITY: velocity}


FEDAVGM = Strategy(step, (VELOCITY,))
