"""Masks whose keys add up as what they hide does: key-additive homomorphic encryption.

In Z_p[X]/(X^N + 1), chunk j of an update x under its own key k is y_j = a_j k + e_j + x_j, the a_j
everybody's (Bell-Clark et al. 2024, "Willow: Secure Aggregation with One-Shot Clients"). A weighted
sum of updates comes out of the sum of the y_j with the weighted sum of keys, and that is all that
is ever decrypted: one polynomial, however large the model is.

What the sum of keys tells of each of them is why keys and noise are wide; see
:func:`chaincode.schema.encryption.mask_deviation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import encryption
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.tied import Tie
from trainer.privacy import ring
from trainer.privacy.quantised import check_sums, mean, outside, whole
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import Stream, derived


class Masks:
    """One plan's masks.

    Args:
        primes: of p, congruent to 1 modulo 2N.
        context: SHA-256 of the plan's parameters; the a_j follow from it.
    """

    def __init__(self, terms: EncryptionTerms, primes: tuple[int, ...], context: bytes) -> None:
        self._terms = terms
        self.rns = Rns(terms.poly_modulus_degree, primes)
        self._context = context
        self._clip = terms.clip_micro / 1e6
        self._deviation = encryption.mask_deviation(terms.weight_bits)
        self.primes = self.rns.primes

    def key(self, stream: Stream) -> NDArray[np.int64]:
        """A key, for one update: ``int64[N]``, discrete Gaussian."""
        return self._gaussian(stream)

    def transformed(self, key: NDArray[np.int64]) -> Residues:
        """A key, or a sum of keys, as chunks are masked and opened with: ``int64[P, N]``."""
        return self.rns.small(key)

    def mask(
        self, values: NDArray[np.floating], key: Residues, chunk: int, stream: Stream
    ) -> Residues:
        """At most N values, as whole numbers under a mask: ``int64[P, N]``.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``.
        """
        return self.rns.add(self._mask(key, chunk), self.rns.lift(self.message(values, stream)))

    def message(self, values: NDArray[np.floating], stream: Stream) -> NDArray[np.int64]:
        """What is masked, ``int64[N]``: at most N values as whole numbers, and noise.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``.
        """
        message = self._gaussian(stream)
        message[: values.size] += whole(values, self._clip, self._terms.levels)
        return message

    def add(self, chunks: list[Residues], weights: list[int]) -> Residues:
        """The weighted sum: ``int64[P, N]``."""
        return weighted_sum(chunks, weights, self.rns.column)

    def open(
        self, total: Residues, key: Residues, chunk: int, number: int, total_weight: int
    ) -> NDArray[np.float64]:
        """The weighted mean of a chunk's values, the same bytes everywhere.

        Args:
            key: the weighted sum of keys, transformed.
            number: values in this chunk.

        Returns:
            ``float64[number]``.

        Raises:
            MedFabricError: ``DECODE_RANGE`` where the sum is not where an honest one is.
        """
        (sums,) = self.rns.subtract(total, self._mask(key, chunk))
        (prime,) = self.primes
        sums = np.where(sums > prime // 2, sums - prime, sums)
        noise = total_weight * encryption.mask_tail(self._terms.weight_bits)
        check_sums(sums[:number], total_weight * self._terms.levels + noise)
        check_sums(sums[number:], noise)
        return mean(sums[:number], self._terms.levels, total_weight, self._clip)

    def _mask(self, key: Residues, chunk: int) -> Residues:
        return self.rns.inverse(self.rns.multiply(self._public(chunk), key))

    def _public(self, chunk: int) -> Residues:
        """a_j, transformed."""
        # Uniform in the transform's image is uniform: there is no need to transform a_j.
        return self._uniform(chunk)

    def _uniform(self, chunk: int) -> Residues:
        stream = derived(self._context, b"mask" + chunk.to_bytes(8, "little"))
        return stream.uniform(self.rns.degree, self.primes)

    def _gaussian(self, stream: Stream) -> NDArray[np.int64]:
        return stream.gaussian(self.rns.degree, self._deviation)


class TiedMasks(Masks):
    """Masks of updates whose proofs tie them to their keys; see :mod:`trainer.privacy.tied`.

    What is proven is about multiples, so sums open fourfold: under twice the sum of keys.
    """

    def __init__(
        self, terms: EncryptionTerms, primes: tuple[int, ...], context: bytes, tie: Tie
    ) -> None:
        super().__init__(terms, primes, context)
        self.tie = tie

    def public(self, chunk: int) -> Residues:
        """a_j, not transformed: ``int64[P, N]``. Proofs add these up, as they are."""
        return self._uniform(chunk)

    def open(
        self, total: Residues, key: Residues, chunk: int, number: int, total_weight: int
    ) -> NDArray[np.float64]:
        """As :meth:`Masks.open`, with twice the sum of keys.

        What no honest updates add up to, though proven ones may, counts as nothing: a member that
        sends it stops no round. What no proven ones do is refused.
        """
        mask = self._mask(key, chunk)
        four, two = self.rns.residues(4), self.rns.residues(2)
        opened = self.rns.subtract(self.rns.multiply(total, four), self.rns.multiply(mask, two))
        proven = total_weight * self.tie.largest_value
        sums = self.rns.signed(opened, proven.bit_length())
        if sums is None:
            raise outside()
        honest = 4 * total_weight * (self._terms.levels + self.tie.tail)
        sums = np.where(np.abs(sums) <= honest, sums, 0)[:number]
        return mean(sums, 4 * self._terms.levels, total_weight, self._clip)

    def _public(self, chunk: int) -> Residues:
        return self.rns.forward(self._uniform(chunk))


def weighted_sum(chunks: list[Residues], weights: list[int], q: ring.Modulus) -> Residues:
    """The sum of residues times weights, canonical."""
    # Weights sum to at most 2^14 and residues are below 2^48: nothing overflows before the end.
    total = chunks[0] * weights[0]
    weighted = np.empty_like(total)
    for chunk, weight in zip(chunks[1:], weights[1:], strict=True):
        np.multiply(chunk, weight, out=weighted)
        total += weighted
    return ring.lift(total, q)
