"""Architectures for records: one row of bounded values each, or a hashed text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.models.architecture import LARGEST, Architecture

if TYPE_CHECKING:
    from torch import nn


def _logistic(*, features: int, classes: int) -> nn.Module:
    from torch import nn

    linear = nn.Linear(features, classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _mlp(*, features: int, classes: int, hidden: int) -> nn.Module:
    import torch
    from torch import nn

    # Every node must start from the same weights: they come from a fixed stream.
    generator = torch.Generator().manual_seed(1)
    layers = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, classes))
    for parameter in layers.parameters():
        bound = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.0
        with torch.no_grad():
            parameter.uniform_(-bound, bound, generator=generator)
    return layers


def _shape(config: Mapping[str, int]) -> tuple[int, ...]:
    return (config["features"],)


_INPUTS = {"features": LARGEST["features"], "classes": LARGEST["classes"]}
LOGISTIC = Architecture(1, _logistic, _INPUTS, _shape)
"""Multinomial logistic regression, from zero."""
MLP = Architecture(1, _mlp, {**_INPUTS, "hidden": 16384}, _shape)
"""One hidden layer of tanh: bounded activations keep per-sample gradients small (Papernot et al.
2021)."""
