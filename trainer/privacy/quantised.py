"""Values as whole numbers, before they are encrypted or masked, and means of them afterwards.

Each operation is rounded correctly, and so gives the same bytes on any machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError


def whole(values: NDArray[np.floating], clip: float, levels: int) -> NDArray[np.int64]:
    """Values clipped to [-clip, clip], as the nearest multiples of clip / ``levels``.

    Raises:
        MedFabricError: ``VALUE_NOT_FINITE``.
    """
    if not np.isfinite(values).all():
        raise MedFabricError(
            Code.VALUE_NOT_FINITE,
            "the update does not hold finite values only; lower the learning rate",
        )
    clipped = np.clip(values.astype(np.float64), -clip, clip)
    return np.rint(clipped * (levels / clip)).astype(np.int64)


def mean(
    sums: NDArray[np.int64], levels: int, total_weight: int, clip: float
) -> NDArray[np.float64]:
    """The weighted mean of values, from the sum of their weighted whole numbers."""
    return sums / np.float64(levels * total_weight) * clip


def check_sums(sums: NDArray[np.int64], largest: int) -> None:
    """Refuse sums that no honest updates give.

    Raises:
        MedFabricError: ``DECODE_RANGE``.
    """
    if sums.size and np.abs(sums).max() > largest:
        raise outside()


def outside() -> MedFabricError:
    """What a sum is refused with that no updates give."""
    return MedFabricError(
        Code.DECODE_RANGE,
        "the shares do not open this aggregate: one is missing, or not what it claims",
    )
