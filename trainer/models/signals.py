"""Architectures for windowed signals: convolutional and recurrent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.models.architecture import LARGEST, Architecture, start

if TYPE_CHECKING:
    import torch
    from torch import nn

_BANDS, _STEPS = 8, 64
"""Bands of the fixed filter bank, and steps that the recurrent layer sees at least."""


def _hybrid(*, channels: int, length: int, classes: int, filters: int, hidden: int) -> nn.Module:
    import torch
    from opacus.layers import DPLSTM
    from torch import nn

    stride = max(1, length // _STEPS)
    width = min(length, 3 * stride)
    steps = (length - width) // stride + 1
    rhythm = channels * 2 * 2 * (steps // 2)

    class Hybrid(nn.Module):  # type: ignore[misc]
        """Energy in fixed bands over time, then convolution and recurrence; beside them the
        spectrum of that energy, which tells its rhythm."""

        def __init__(self) -> None:
            super().__init__()
            # Fixed, so no privacy is spent on it: persistent in no file, the same everywhere.
            self.register_buffer("bank", _gabor(width), persistent=False)
            # Every second step: the recurrent layer is the slow part.
            self.convolution = nn.Conv1d(channels * (_BANDS + 1), filters, 4, stride=2)
            self.recurrent = DPLSTM(filters, hidden, batch_first=True)
            self.output = nn.Linear(2 * hidden + rhythm, classes)

        def forward(self, signals: torch.Tensor) -> torch.Tensor:
            batch = signals.shape[0]
            answer = nn.functional.conv1d(
                signals.reshape(batch * channels, 1, length), self.bank, stride=stride
            )
            even, odd, mean = answer[:, :_BANDS], answer[:, _BANDS:-1], answer[:, -1:]
            energy = torch.log1p(10 * torch.sqrt(even**2 + odd**2 + 1e-6))
            bands = torch.cat([energy, mean], dim=1).reshape(batch, channels * (_BANDS + 1), steps)
            states, _ = self.recurrent(torch.tanh(self.convolution(bands)).transpose(1, 2))
            centre = states.mean(1)
            spread = (states - centre[:, None]).abs().mean(1)
            seen = [centre, spread, _rhythm(energy, batch)]
            return self.output(torch.cat(seen, dim=1))

    return start(Hybrid())


def _rhythm(energy: torch.Tensor, batch: int) -> torch.Tensor:
    """Magnitudes of the Fourier transform over time of the lower and the upper bands' energy, in
    order of frequency and in order of size (regular rhythms have few large ones, whatever their
    rate): float32[batch, 2 * n], each record's of mean square 1."""
    import torch

    halves = torch.stack([part.mean(1) for part in energy.chunk(2, dim=1)], dim=1)
    halves = halves - halves.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(halves, dim=-1).abs()[..., 1 : halves.shape[-1] // 2 + 1]
    sizes = spectrum.sort(dim=-1, descending=True).values
    flat = torch.cat([spectrum, sizes], dim=-1).reshape(batch, -1)
    return flat / (flat.square().mean(1, keepdim=True).sqrt() + 1e-3)


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
