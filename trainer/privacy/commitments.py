"""Commitments to polynomials of any size, so that what was dealt can be proven about later.

Of a value m with short r_0, r_1, r_2: t_1 = r_0 + a_1 r_1 + a_2 r_2 and t_2 = r_1 + a_3 r_2 + m
(Baum et al. 2018, "More Efficient Commitments from Structured Lattice Assumptions"). They hide m as
ring learning with errors hides, for (t_1 - a_1 t_2, t_2) are two samples of the secret r_2; two
openings of one commitment would be a short solution to t_1 = 0, of which there is none or none that
can be found. Sums of commitments are commitments to sums.

The r of what is dealt follow from it by hash: it is uniform, so nobody else knows them.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, derived
from trainer.privacy.shareproof import Part
from trainer.privacy.wellformed import Short

SHORTS = 3


class Commitments:
    """Commits under references that everybody knows.

    Args:
        seed: what the references follow from.
    """

    def __init__(self, rns: Rns, seed: bytes) -> None:
        self._rns = rns
        stream = derived(seed, b"commitment references")
        self._references = [stream.uniform(rns.degree, rns.primes) for _ in range(SHORTS)]

    def opening(self, context: bytes, dealer: int, recipient: int, value: Residues) -> Short:
        """The r of what ``dealer`` deals to ``recipient``: ``int64[3, N]``."""
        raw = context + struct.pack("<II", dealer, recipient) + value.astype("<i8").tobytes()
        stream = derived(hashlib.sha256(raw).digest(), b"commitment opening")
        return np.stack([stream.error(self._rns.degree) for _ in range(SHORTS)])

    def image(self, value: Residues, shorts: list[Residues]) -> Residues:
        """(t_1, t_2), transformed: ``int64[2, P, N]``.

        Args:
            shorts: r_0, r_1 and r_2, transformed.
        """
        first, second, third = shorts
        products = [
            self._rns.multiply(reference, short)
            for reference, short in zip(self._references, (second, third, third), strict=True)
        ]
        head = self._rns.add(first, self._rns.add(products[0], products[1]))
        return np.stack([head, self._rns.add(value, self._rns.add(second, products[2]))])

    def commit(self, value: Residues, opening: Short) -> Residues:
        """The commitment to a value: ``int64[2, P, N]``."""
        return self.image(value, [self._rns.small(short) for short in opening])

    def part(self, commitment: Residues, dealers: int) -> Part:
        """What so many dealers' commitments, added up, tell of the value that they bind:
        t_1 = a_1 r_1 + a_2 r_2 + r_0, and the value is t_2 - r_1 - a_3 r_2."""
        first, second, third = self._references
        one = np.broadcast_to(self._rns.residues(1), third.shape)
        ties = [self._rns.subtract(np.zeros_like(third), tie) for tie in (one, third)]
        factors = np.stack([first, second])
        return Part(commitment[0], factors, commitment[1], np.stack(ties), largest(dealers))


def largest(dealers: int) -> int:
    """Bound on the coefficients of the sum of so many openings."""
    return dealers * LARGEST_ERROR


def digest(commitment: Residues) -> str:
    """Hex SHA-256, as it stands on the ledger."""
    return hashlib.sha256(b"MFR2 commitment" + commitment.astype("<i8").tobytes()).hexdigest()
