"""Architectures for images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.models.architecture import LARGEST, Architecture, start

if TYPE_CHECKING:
    from torch import nn


def _cnn(*, channels: int, height: int, width: int, classes: int, filters: int) -> nn.Module:
    from torch import nn

    # Pooled to 4 x 4 whatever the size: the number of parameters does not grow with the image.
    return start(
        nn.Sequential(
            nn.Conv2d(channels, filters, 5, stride=2, padding=2),
            nn.Tanh(),
            nn.Conv2d(filters, 2 * filters, 3, padding=1),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(2 * filters * 16, classes),
        )
    )


def _shape(config: Mapping[str, int]) -> tuple[int, ...]:
    return config["channels"], config["height"], config["width"]


CNN = Architecture(
    1,
    _cnn,
    {
        "channels": LARGEST["channels"],
        "height": LARGEST["side"],
        "width": LARGEST["side"],
        "classes": LARGEST["classes"],
        "filters": 512,
    },
    _shape,
)
"""Two convolutions with tanh, pooled: no batch statistics, so per-sample gradients exist."""
