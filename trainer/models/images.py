"""Architectures for images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.models.architecture import LARGEST, Architecture, start

if TYPE_CHECKING:
    import torch
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


def _square_cnn(
    *, channels: int, height: int, width: int, classes: int, filters: int, stride: int, pool: int
) -> nn.Module:
    from torch import nn

    class Square(nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * x

    # Without padding of the pool: what is left over at the edge is not seen.
    high, wide = ((side - 1) // stride + 1 for side in (height, width))
    return start(
        nn.Sequential(
            nn.Conv2d(channels, filters, 3, stride=stride, padding=1),
            nn.AvgPool2d(pool),
            Square(),
            nn.Flatten(),
            nn.Linear(filters * (high // pool) * (wide // pool), classes),
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

SQUARE_CNN = Architecture(
    1, _square_cnn, {**CNN.most, "filters": 64, "stride": 8, "pool": 64}, _shape
)
"""A convolution, averages and squares: what a server computes of encrypted images, too."""
