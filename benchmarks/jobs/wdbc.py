"""The peers' job, in plain PyTorch: 4 sites, WDBC, an MLP 30-1800-1908-1, SGD 0.1, batches of 32.

It runs in a peer's own environment, beside a copy of this file; nothing of MedFabric is there.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

SITES, ROUNDS, BATCH, RATE = 4, 5, 32, 0.1
SMALL = "small"


class Network(nn.Module):
    """3.5 million parameters; with ``small`` a line."""

    def __init__(self, small: bool = False) -> None:
        super().__init__()
        wide = [nn.Linear(30, 1800), nn.Tanh(), nn.Linear(1800, 1908), nn.Tanh()]
        self.layers = nn.Linear(30, 1) if small else nn.Sequential(*wide, nn.Linear(1908, 1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Logits [n, 1] of values float32[n, 30]."""
        return self.layers(values)


def records(site: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Training records of a site in [0, SITES): every fifth record is left for testing."""
    values, labels = _scaled()
    kept = np.flatnonzero(np.arange(labels.size) % 5 != 0)[site::SITES]
    return torch.from_numpy(values[kept]), torch.from_numpy(labels[kept])


def held_out() -> tuple[torch.Tensor, torch.Tensor]:
    """Test records."""
    values, labels = _scaled()
    return torch.from_numpy(values[::5]), torch.from_numpy(labels[::5])


def _scaled() -> tuple[np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(data.target.size)
    low, high = data.data.min(axis=0), data.data.max(axis=0)
    values = (2 * (data.data - low) / (high - low) - 1).astype(np.float32)
    return values[order], data.target[order].astype(np.float32)[:, None]


def epoch(network: nn.Module, site: int) -> int:
    """One local epoch; the number of records."""
    values, labels = records(site)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    loss_of = nn.BCEWithLogitsLoss()
    for batch in torch.randperm(len(values)).split(BATCH):
        optimizer.zero_grad()
        loss_of(network(values[batch]), labels[batch]).backward()
        optimizer.step()
    return len(values)


def accuracy(network: nn.Module) -> float:
    """On the test records."""
    values, labels = held_out()
    with torch.no_grad():
        return float(((network(values) > 0).float() == labels).float().mean())
