"""Architectures by id. A plan pins an id, a configuration and the hash of both with the layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chaincode.schema import canonical
from chaincode.schema.errors import Code, MedFabricError

if TYPE_CHECKING:
    from torch import nn

Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the parameters, in the order in which they are flattened."""


def build(architecture: str, config: Mapping[str, int]) -> nn.Module:
    """A module of this architecture with its fixed initial weights.

    Raises:
        MedFabricError: ``ARCHITECTURE_UNKNOWN`` or ``ARCHITECTURE_CONFIG``.
    """
    maker = _MAKERS.get(architecture)
    if maker is None:
        raise MedFabricError(
            Code.ARCHITECTURE_UNKNOWN,
            f"no architecture {architecture}; there are {', '.join(sorted(_MAKERS))}",
        )
    try:
        return maker(**config)
    except (TypeError, RuntimeError) as error:
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG, f"{architecture} cannot be made from its config: {error}"
        ) from None


def layout(module: nn.Module) -> Layout:
    """The module's parameters, sorted by name."""
    named = sorted(module.named_parameters())
    return tuple((name, tuple(parameter.shape)) for name, parameter in named)


def sha256(architecture: str, config: Mapping[str, int], shapes: Layout) -> str:
    """The hash that a plan pins."""
    return canonical.sha256(
        {
            "architecture": architecture,
            "config": dict(config),
            "layout": [[name, list(shape)] for name, shape in shapes],
        }
    )


def size(shapes: Layout) -> int:
    """Number of parameters."""
    total = 0
    for _, shape in shapes:
        count = 1
        for extent in shape:
            count *= extent
        total += count
    return total


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


_MAKERS: dict[str, Callable[..., nn.Module]] = {"logistic": _logistic, "mlp": _mlp}
