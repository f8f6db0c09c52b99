"""What an architecture is to the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

LARGEST = {"classes": 256, "channels": 64, "features": 2**16, "length": 2**20, "side": 4096}
"""Bounds of settings that several architectures have."""


@dataclass(frozen=True)
class Architecture:
    """A way to make a model from whole-number settings.

    ``version`` rises with every change of what is computed. ``make`` takes the settings by name
    and gives a module with the same initial weights on every machine. ``most`` bounds each
    setting; the least is 1. ``shape`` gives that of one record, without the batch.
    """

    version: int
    make: Callable[..., nn.Module]
    most: Mapping[str, int]
    shape: Callable[[Mapping[str, int]], tuple[int, ...]]


def start(module: nn.Module) -> nn.Module:
    """Give a module its first weights: uniform in the inverse square root of the inputs (biases
    0, scales 1), drawn in the order of names from a fixed stream, the same on every node."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            if parameter.dim() > 1:
                bound = parameter[0].numel() ** -0.5
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return module
