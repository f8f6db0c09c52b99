"""A model's parameters as one flat array, and back. Imports torch and nothing that trains."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trainer.models import registry, weights
from trainer.models.registry import layout, size


def base_model(architecture: str, config: dict[str, int]) -> tuple[bytes, str, int]:
    """An architecture's initial model file, the hash that a plan pins, and its size."""
    model = registry.build(architecture, config)
    shapes = layout(model)
    digest = registry.sha256(architecture, config, shapes)
    return weights.encode(parameters(model), shapes), digest, size(shapes)


def parameters(model: nn.Module) -> NDArray[np.float32]:
    """All parameters, flattened in the layout's order: float32[n]."""
    flat = [parameter.detach().reshape(-1).cpu() for _, parameter in named(model)]
    return np.asarray(torch.cat(flat).numpy().astype(np.float32))


def set_parameters(model: nn.Module, values: NDArray[np.float32]) -> None:
    """Write flattened parameters into the model."""
    model.load_state_dict(tensors(model, values), strict=False)


def tensors(model: nn.Module, values: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    """Flattened parameters by name, each in its shape."""
    shapes = layout(model)
    counts = [size(((name, shape),)) for name, shape in shapes]
    parts = np.split(values, np.cumsum(counts)[:-1])
    return {
        name: torch.from_numpy(part.reshape(shape).copy())
        for (name, shape), part in zip(shapes, parts, strict=True)
    }


def named(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Parameters in the layout's order."""
    known = dict(model.named_parameters())
    return [(name, known[name]) for name, _ in layout(model)]
