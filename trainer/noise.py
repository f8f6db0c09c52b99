"""Normal noise from random bytes, in torch's vector arithmetic."""

from __future__ import annotations

import math

import numpy as np
import torch

from trainer.randomness import Draw

_AT_ONCE = 1 << 13
"""Numbers made together: what they need stays in a core's cache."""


def add_normal(values: torch.Tensor, deviation: float, draw: Draw) -> None:
    """Add a normal number of the deviation to every value, in place.

    Added in float64 and rounded once to the values' type: the noise alone decides the last bits.

    Args:
        values: contiguous, on the processor.
    """
    for part in values.view(-1).split(_AT_ONCE):
        part.copy_(normal(draw, len(part)).mul_(deviation).add_(part))


def normal(draw: Draw, number: int) -> torch.Tensor:
    """Standard normal numbers: ``float64[number]``.

    Each is half the sum of four by Box and Muller, so that the last bits of one cannot be traced
    back to the uniform numbers behind it (Holohan and Braghin 2021, "Secure Random Sampling in
    Differential Privacy", section 5). The four come in pairs of one radius, a cosine and a sine,
    whose sum is one cosine: of the angle less an eighth of a turn, times the root of two. The angle
    is uniform with the eighth or without it; the four uniform numbers behind each are its own.
    """
    words = np.frombuffer(draw(8 * 4 * number), dtype="<u8") >> np.uint64(11)
    # 53 random bits each; the radius's in (0, 1], so that its logarithm exists.
    uniform = words.astype(np.float64).reshape(2, 2, number)
    radius, angle = torch.from_numpy(uniform)
    radius.add_(1).mul_(2.0**-53).log_().neg_().sqrt_()
    angle.mul_(2.0**-53 * 2 * math.pi).cos_().mul_(radius)
    return angle[0] + angle[1]
