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
from trainer.privacy import ring
from trainer.privacy.quantised import check_sums, mean, whole
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import Stream, derived


class Masks:
    """One plan's masks.

    Args:
        prime: p, congruent to 1 modulo 2N.
        context: SHA-256 of the plan's parameters; the a_j follow from it.
    """

    def __init__(self, terms: EncryptionTerms, prime: int, context: bytes) -> None:
        self._terms = terms
        self._rns = Rns(terms.poly_modulus_degree, (prime,))
        self._context = context
        self._clip = terms.clip_micro / 1e6
        self._deviation = encryption.mask_deviation(terms.weight_bits)
        self.primes = self._rns.primes

    def key(self, stream: Stream) -> NDArray[np.int64]:
        """A key, for one update: ``int64[N]``, discrete Gaussian."""
        return self._gaussian(stream)

    def transformed(self, key: NDArray[np.int64]) -> Residues:
        """A key, or a sum of keys, as chunks are masked and opened with: ``int64[1, N]``."""
        return self._rns.small(key)

    def mask(
        self, values: NDArray[np.floating], key: Residues, chunk: int, stream: Stream
    ) -> Residues:
        """At most N values, as whole numbers under a mask: ``int64[1, N]``.

        Raises:
            MedFabricError: ``VALUE_NOT_FINITE``.
        """
        message = self._gaussian(stream)
        message[: values.size] += whole(values, self._clip, self._terms.levels)
        return self._rns.add(self._mask(key, chunk), self._rns.lift(message))

    def add(self, chunks: list[Residues], weights: list[int]) -> Residues:
        """The weighted sum: ``int64[1, N]``."""
        return weighted_sum(chunks, weights, self._rns.column)

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
        (sums,) = self._rns.subtract(total, self._mask(key, chunk))
        (prime,) = self.primes
        sums = np.where(sums > prime // 2, sums - prime, sums)
        noise = total_weight * encryption.mask_tail(self._terms.weight_bits)
        check_sums(sums[:number], total_weight * self._terms.levels + noise)
        check_sums(sums[number:], noise)
        return mean(sums[:number], self._terms.levels, total_weight, self._clip)

    def _mask(self, key: Residues, chunk: int) -> Residues:
        # Uniform in the transform's image is uniform: there is no need to transform a_j.
        stream = derived(self._context, b"mask" + chunk.to_bytes(8, "little"))
        uniform = stream.uniform(self._rns.degree, self.primes)
        return self._rns.inverse(self._rns.multiply(uniform, key))

    def _gaussian(self, stream: Stream) -> NDArray[np.int64]:
        return stream.gaussian(self._rns.degree, self._deviation)


def weighted_sum(chunks: list[Residues], weights: list[int], q: ring.Modulus) -> Residues:
    """The sum of residues times weights, canonical."""
    # Weights sum to at most 2^14 and residues are below 2^48: nothing overflows before the end.
    total = chunks[0] * weights[0]
    weighted = np.empty_like(total)
    for chunk, weight in zip(chunks[1:], weights[1:], strict=True):
        np.multiply(chunk, weight, out=weighted)
        total += weighted
    return ring.lift(total, q)
