"""Architectures by id. A plan pins an id, a configuration and the hash of both with the layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaincode.schema import canonical
from chaincode.schema.errors import Code, MedFabricError

if TYPE_CHECKING:
    from torch import nn

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the parameters, in the order in which they are flattened."""


@dataclass(frozen=True)
class Architecture:
    """``version`` rises with every change of what is computed; ``most`` bounds each setting."""

    version: int
    make: Callable[..., nn.Module]
    most: Mapping[str, int]


def build(architecture: str, config: Mapping[str, int]) -> nn.Module:
    """A module of this architecture with its fixed initial weights.

    Raises:
        MedFabricError: ``ARCHITECTURE_UNKNOWN`` or ``ARCHITECTURE_CONFIG``.
    """
    found = _find(architecture)
    if config.keys() != found.most.keys():
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG,
            f"{architecture} is configured by {', '.join(sorted(found.most))} and nothing else",
        )
    for name, value in config.items():
        if not 1 <= value <= found.most[name]:
            raise MedFabricError(
                Code.ARCHITECTURE_CONFIG,
                f"{architecture} takes {name} from 1 to {found.most[name]}, not {value}",
            )
    return found.make(**config)


def layout(module: nn.Module) -> Layout:
    """The module's parameters, sorted by name."""
    named = sorted(module.named_parameters())
    return tuple((name, tuple(parameter.shape)) for name, parameter in named)


def sha256(architecture: str, config: Mapping[str, int], shapes: Layout) -> str:
    """The hash that a plan pins: of id, version, configuration and layout."""
    return canonical.sha256(
        {
            "architecture": architecture,
            "version": _find(architecture).version,
            "config": dict(config),
            "layout": [[name, list(shape)] for name, shape in shapes],
        }
    )


def size(shapes: Layout) -> int:
    """Number of parameters."""
    return sum(math.prod(shape) for _, shape in shapes)


def _find(architecture: str) -> Architecture:
    found = _ARCHITECTURES.get(architecture)
    if found is None:
        raise MedFabricError(
            Code.ARCHITECTURE_UNKNOWN,
            f"no architecture {architecture}; there are {', '.join(sorted(_ARCHITECTURES))}",
        )
    return found


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


_INPUTS = {"features": 4096, "classes": 256}
_ARCHITECTURES = {
    "logistic": Architecture(1, _logistic, _INPUTS),
    "mlp": Architecture(1, _mlp, {**_INPUTS, "hidden": 16384}),
}
