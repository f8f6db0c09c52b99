"""The bound on the norm of a round's mean update: integers only.

Nobody sees a single update, and a dishonest encoder may leave the clip out. What all hospitals see
is the decrypted mean, and how long an honest one can be follows from the plan's terms. An honest
update is a drift d, by which records moved the model, and noise z of a known deviation in every
value. Its clip, value by value, is a projection that keeps 0 in its place: it makes neither the
drift's part longer nor the noise's. The mean of n updates with weights w then has a drift no longer
than the longest, and noise of deviation s = sigma sqrt(sum w^2) / sum w, whose norm exceeds
s (sqrt(n) + t) with a probability below exp(-t^2 / 2) (concentration of Lipschitz functions of
normal numbers), as it exceeds t s in any one direction. Hence the square of the bound:
d^2 + 2 t d s + s^2 (sqrt(n) + t)^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Annotated

from pydantic import Field

from chaincode.schema.base import Language

TAIL = 6
"""t: the noise of an honest round exceeds the bound with a probability below 2^-25."""


class NormTerms(Language):
    """Of one update, in 1e-6: ``drift_micro``, the norm by which records may move the model in a
    round, and ``noise_micro``, the standard deviation of the noise in each value."""

    drift_micro: Annotated[int, Field(ge=0, le=10**12)]
    noise_micro: Annotated[int, Field(ge=1, le=10**12)]


def bound_nano(terms: NormTerms, parameters: int, weights: Sequence[int]) -> int:
    """The largest L2 norm of the mean update of these weights, in 1e-9.

    Args:
        parameters: at least 1.
        weights: of the updates, each at least 1.
    """
    squares = isqrt(sum(weight * weight for weight in weights) << 40) + 1
    noise = 1000 * terms.noise_micro * squares // (sum(weights) << 20) + 1
    drift = 1000 * terms.drift_micro
    length = noise * (isqrt(parameters << 40) + (TAIL << 20)) >> 20
    return isqrt(drift * drift + 2 * TAIL * drift * noise + length * length) + 1
