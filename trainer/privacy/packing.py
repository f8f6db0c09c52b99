"""How an update's values stand in a ciphertext's coefficients, and come out of a weighted sum.

Without packing, a coefficient carries one value as a multiple of 2^-36. With it, values are rounded
to levels of the clip and several stand in one coefficient, side by side in lanes (the idea of Zhang
et al. 2020, "BatchCrypt", for signed integers in CKKS's coefficients): each lane has room for the
largest weighted sum, its sign and a bit that stays free. The decryption's noise stays below the
first lane, so that sums are decoded exactly; all that is lost is the rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.encryption import FRACTION_BITS, EncryptionTerms, lane_bits
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns


def whole(values: NDArray[np.floating], clip: float, per_unit: float) -> NDArray[np.int64]:
    """Values clipped to [-clip, clip], times ``per_unit``, rounded.

    Raises:
        MedFabricError: ``VALUE_NOT_FINITE``.
    """
    if not np.isfinite(values).all():
        raise MedFabricError(
            Code.VALUE_NOT_FINITE,
            "the update does not hold finite values only; lower the learning rate",
        )
    clipped = np.clip(values.astype(np.float64), -clip, clip)
    return np.rint(clipped * per_unit).astype(np.int64)


class Packing:
    """The layout of one plan's values. A chunk is what one ciphertext carries."""

    def __init__(self, terms: EncryptionTerms, rns: Rns) -> None:
        self._terms = terms
        self._rns = rns
        self._clip = terms.clip_micro / 1e6
        self._number = terms.per_coefficient
        self.values = self._number * rns.degree
        """Values in a chunk."""
        if terms.packing is not None:
            self._unit = terms.packing.levels / self._clip
            self._width = lane_bits(terms.packing.levels, terms.weight_bits)
            self._scale = rns.residues(1 << terms.scale_bits)
        else:
            self._unit = 2.0**FRACTION_BITS
            self._width = 0
            self._scale = rns.residues(1 << (terms.scale_bits - FRACTION_BITS))

    def encode(self, values: NDArray[np.floating]) -> Residues:
        """At most a chunk of values, as a polynomial's coefficients: ``int64[P, N]``.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``.
        """
        lanes = np.zeros((self._number, self._rns.degree), dtype=np.int64)
        lanes.reshape(-1)[: values.size] = whole(values, self._clip, self._unit)
        step = self._rns.residues(1 << self._width)
        total = self._rns.lift(lanes[-1])
        for lane in lanes[-2::-1]:
            total = self._rns.add(self._rns.multiply(total, step), self._rns.lift(lane))
        return self._rns.multiply(total, self._scale)

    def decode(
        self, total: Residues, number: int, total_weight: int, noise: int
    ) -> NDArray[np.float64]:
        """The mean of each value, from a chunk of the weighted sum, the same bytes everywhere.

        Args:
            total: ``int64[P, N]``, transformed.
            number: values in this chunk.
            noise: the largest that the decryption can have left.

        Returns:
            ``float64[number]``.

        Raises:
            MedFabricError: ``DECODE_RANGE`` where the sum is not where an honest one is.
        """
        if self._terms.packing is not None:
            return self._unpack(total, number, total_weight)
        shift = self._terms.scale_bits - FRACTION_BITS
        largest = (total_weight * self._terms.clip_micro << self._terms.scale_bits) // 10**6 + noise
        sums = self._rns.rounded(total, shift, max(largest.bit_length(), shift + 1))
        check_sums(sums[:number], (largest >> shift) + 1)
        check_sums(sums[number:], (noise >> shift) + 1)
        # Both are whole numbers that double precision holds: the quotient is rounded once,
        # correctly, on any machine.
        return sums[:number] / np.float64(total_weight << FRACTION_BITS)

    def _unpack(self, total: Residues, number: int, total_weight: int) -> NDArray[np.float64]:
        assert self._terms.packing is not None
        levels = self._terms.packing.levels
        lanes = self._rns.lanes(total, self._terms.scale_bits, self._width, self._number)
        sums = lanes.reshape(-1)
        check_sums(sums[:number], levels * total_weight)
        check_sums(sums[number:], 0)
        return mean(sums[:number], levels, total_weight, self._clip)


def mean(
    sums: NDArray[np.int64], levels: int, total_weight: int, clip: float
) -> NDArray[np.float64]:
    """The weighted mean of quantised values, from their exact sum.

    Each operation is rounded correctly, and so gives the same bytes on any machine.
    """
    return sums / np.float64(levels * total_weight) * clip


def check_sums(sums: NDArray[np.int64], largest: int) -> None:
    """Refuse sums that no honest updates give.

    Raises:
        MedFabricError: ``DECODE_RANGE``.
    """
    if sums.size and np.abs(sums).max() > largest:
        raise MedFabricError(
            Code.DECODE_RANGE,
            "the shares do not open this aggregate: one is missing, or not what it claims",
        )
