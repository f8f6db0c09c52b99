"""FedAdam (Reddi et al. 2021, algorithm 2): Adam with the mean update as its gradient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.strategies.strategy import Settings, State, Strategy, moved

FIRST, SECOND = "first", "second"


def step(
    weights: NDArray[np.float32], state: State, mean: NDArray[np.float64], settings: Settings
) -> tuple[NDArray[np.float32], State]:
    """first and second moments; weights += server_rate * first / (sqrt(second) + tau)."""
    rate, beta1, beta2, tau = (
        settings[name] / 1e6 for name in ("server_rate", "beta1", "beta2", "tau")
    )
    first = _mixed(beta1, state[FIRST], mean)
    second = _mixed(beta2, state[SECOND], mean * mean)
    scale = np.sqrt(second.astype(np.float64)) + tau
    return moved(weights, rate * first.astype(np.float64) / scale), {FIRST: first, SECOND: second}


def _mixed(beta: float, old: NDArray[np.float32], new: NDArray[np.float64]) -> NDArray[np.float32]:
    return (beta * old.astype(np.float64) + (1 - beta) * new).astype(np.float32)


FEDADAM = Strategy(step, (FIRST, SECOND))
