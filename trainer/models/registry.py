"""Architectures by id. A plan pins an id, a configuration and the hash of both with the layout.

Other packages add theirs under the entry-point group :data:`GROUP`: a name and an
:class:`~trainer.models.architecture.Architecture`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from chaincode.schema import canonical
from chaincode.schema.errors import Code, MedFabricError
from trainer.models import images, records, signals
from trainer.models.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn

GROUP = "medfabric.architectures"
Layout = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of the parameters, in the order in which they are flattened."""


def build(architecture: str, config: Mapping[str, int]) -> nn.Module:
    """A module of this architecture with its fixed initial weights.

    Raises:
        MedFabricError: ``ARCHITECTURE_UNKNOWN`` or ``ARCHITECTURE_CONFIG``.
    """
    found = _find(architecture)
    if config.keys() != found.most.keys():
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG,
            f"{architecture} is configured by {', '.join(sorted(found.most))} and nothing else; "
            "give each a number",
        )
    for name, value in config.items():
        if not 1 <= value <= found.most[name]:
            raise MedFabricError(
                Code.ARCHITECTURE_CONFIG,
                f"{architecture} takes {name} from 1 to {found.most[name]}, not {value}",
            )
    return found.make(**config)


def shape(architecture: str, config: Mapping[str, int]) -> tuple[int, ...]:
    """Of one record that the architecture takes."""
    return _find(architecture).shape(config)


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


def is_ours(architecture: str) -> bool:
    """Whether it comes with MedFabric, and so needs no check on every node."""
    return architecture in _OURS


def _find(architecture: str) -> Architecture:
    if architecture in _OURS:
        return _OURS[architecture]
    others = entry_points(group=GROUP)
    if architecture not in others.names:
        known = ", ".join(sorted({*_OURS, *others.names}))
        raise MedFabricError(
            Code.ARCHITECTURE_UNKNOWN,
            f"no architecture {architecture}; there are {known}; install the package that brings "
            "it",
        )
    try:
        found = others[architecture].load()
    except (ImportError, AttributeError) as error:
        found, why = None, f" ({error})"
    else:
        why = ""
    if not isinstance(found, Architecture):
        raise MedFabricError(
            Code.ARCHITECTURE_UNKNOWN,
            f"{others[architecture].value} gives no Architecture{why}; correct the package that "
            f"brings {architecture}",
        )
    return found


_OURS = {
    "logistic": records.LOGISTIC,
    "mlp": records.MLP,
    "cnn": images.CNN,
    "square-cnn": images.SQUARE_CNN,
    "hybrid": signals.HYBRID,
}
