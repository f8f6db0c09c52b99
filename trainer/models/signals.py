"""Architectures for windowed signals: convolutional and recurrent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.models.architecture import LARGEST, Architecture, start

if TYPE_CHECKING:
    from torch import nn

_BANDS, _STEPS = 8, 32
"""Bands of the fixed filter bank, and steps that the recurrent layer sees at least."""


def _hybrid(*, channels: int, length: int, classes: int, filters: int, hidden: int) -> nn.Module:
    import torch
    from opacus.layers import DPLSTM
    from torch import nn

    stride = max(1, length // _STEPS)
    # Twice as long as the stride, so that neighbouring windows overlap.
    width = min(length, 4 * stride)

    class Hybrid(nn.Module):  # type: ignore[misc]
        """Energy in fixed bands over time, convolution, recurrence, the mean over time."""

        def __init__(self) -> None:
            super().__init__()
            # Fixed, so no privacy is spent on it: persistent in no file, the same everywhere.
            self.register_buffer("bank", _gabor(width), persistent=False)
            self.convolution = nn.Conv1d(channels * (_BANDS + 1), filters, 3, padding=1)
            self.recurrent = DPLSTM(filters, hidden, batch_first=True)
            self.output = nn.Linear(2 * hidden, classes)

        def forward(self, signals: torch.Tensor) -> torch.Tensor:
            batch = signals.shape[0]
            rows = signals.reshape(batch * channels, 1, length)
            answer = nn.functional.conv1d(rows, self.bank, stride=stride)
            even, odd, mean = answer[:, :_BANDS], answer[:, _BANDS:-1], answer[:, -1:]
            energy = torch.log1p(10 * torch.sqrt(even**2 + odd**2 + 1e-6))
            bands = torch.cat([energy, mean], dim=1).reshape(batch, channels * (_BANDS + 1), -1)
            seen = torch.tanh(self.convolution(bands)).transpose(1, 2)
            states, _ = self.recurrent(seen)
            # The spread over time tells regular from irregular.
            spread = (states - states.mean(1, keepdim=True)).abs().mean(1)
            return self.output(torch.cat([states.mean(1), spread], dim=1))

    return start(Hybrid())


def _gabor(width: int) -> Any:
    """float32[2 * _BANDS + 1, 1, width]: cosines and sines under a Hann window at frequencies
    spaced geometrically up to half the sampling rate, and the window's mean."""
    import torch

    time = torch.arange(width, dtype=torch.float64)
    window = torch.hann_window(width, periodic=False, dtype=torch.float64) + 1e-3
    window = window / window.sum()
    cycles = torch.logspace(math.log10(1 / width), math.log10(0.45), _BANDS, dtype=torch.float64)
    phase = 2 * math.pi * cycles[:, None] * (time - (width - 1) / 2)
    bank = torch.cat([torch.cos(phase) * window, torch.sin(phase) * window, window[None]])
    return bank[:, None].float()


def _shape(config: Mapping[str, int]) -> tuple[int, ...]:
    return config["channels"], config["length"]


HYBRID = Architecture(
    1,
    _hybrid,
    {
        "channels": LARGEST["channels"],
        "length": LARGEST["length"],
        "classes": LARGEST["classes"],
        "filters": 1024,
        "hidden": 1024,
    },
    _shape,
)
"""A fixed filter bank, one convolution and an LSTM whose per-sample gradients exist (Opacus)."""
