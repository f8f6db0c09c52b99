"""What is proven of an update whose proof ties masked values to the encrypted key.

An update's chunks y_j = a_j k + m_j modulo q are folded: fold r is the sum of the chunks, each
times a power of X that follows from the hash of them all. For every fold it is proven that what is
left of it without its mask is short (``trainer.privacy.tied``, where the reasons are). A model of
few chunks has none to fold: each is proven by itself.

What is proven is about multiples: k', twice the key, and four times a chunk's values. So where
updates are tied, twice the sum of keys is decrypted, and four times the sum of values is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

_SOUNDNESS_BITS = 128
FOLD_BITS = 8
"""Each fold lets long values pass with a probability of 2^-FOLD_BITS at most."""
FOLDS = _SOUNDNESS_BITS // FOLD_BITS
# A sum of C values of random sign is beyond ten times the root of C with a probability below 2^-71.
_TAIL = 10
# Of all that is drawn, a quarter at most is drawn again for each kind of answer.
_ROOM = 4

MASK_PRIMES: dict[int, tuple[int, ...]] = {
    64: (32, 32),
    72: (32, 40),
    80: (40, 40),
    88: (40, 48),
    96: (48, 48),
    104: (32, 32, 40),
    112: (32, 40, 40),
    120: (40, 40, 40),
}
"""The primes of moduli that have room for proofs."""
_MOST_LEVELS = 1 << 44


@dataclass(frozen=True)
class Tie:
    """What an update's proof says, by its shape.

    ``degree``: N. ``chunks``: of masked values. ``levels``: no honest value is larger. ``tail``: no
    coefficient of an honest key or of noise is. All bounds are of integers, in size.
    """

    degree: int
    chunks: int
    levels: int
    tail: int

    @property
    def rows(self) -> int:
        """Independent rounds of the proof, each with one of 2N challenges."""
        return -(-_SOUNDNESS_BITS // self.degree.bit_length())

    @property
    def folded(self) -> bool:
        """Whether there are more chunks than folds of them."""
        return self.chunks > FOLDS

    @property
    def folds(self) -> int:
        """What is proven short: folds, or the chunks themselves."""
        return min(self.chunks, FOLDS)

    @property
    def largest_fold(self) -> int:
        """Bound on an honest fold, without its mask."""
        summed = self.chunks
        if self.folded:
            summed = min(summed, _TAIL * (isqrt(self.chunks - 1) + 1))
        return summed * (self.levels + self.tail)

    @property
    def fold_bits(self) -> int:
        """Bits of a fold that its proof leaves open."""
        return (2 * self._spread * self.folds * self.largest_fold).bit_length()

    @property
    def key_bits(self) -> int:
        """Answers about the key are below 2^key_bits."""
        return (self._spread * self.tail).bit_length()

    @property
    def largest_key(self) -> int:
        """Bound on twice the key of an update that has a proof."""
        return 2 * self.degree << self.key_bits

    @property
    def largest_value(self) -> int:
        """Bound on four times the values of an update that has a proof."""
        return self._multiple * self.degree << self.fold_bits

    def finest(self, modulus_bits: int, weight_bits: int) -> int:
        """The finest resolution whose proven sums stay within a quarter of a modulus, or less
        than 1."""
        room = modulus_bits - 3 - weight_bits - (self._multiple * self.degree).bit_length() + 1
        if room < 0:
            return 0
        largest = Tie(self.degree, self.chunks, 1, 0).largest_fold
        each = ((1 << room) - 1) // (2 * self._spread * self.folds * largest)
        return min(each - self.tail, _MOST_LEVELS)

    @property
    def _spread(self) -> int:
        return _ROOM * self.rows * self.degree

    @property
    def _multiple(self) -> int:
        return 1 << FOLD_BITS if self.folded else 2


def primes_of(mask_bits: int) -> tuple[int, ...]:
    """Bits of the primes whose product is a modulus of masks."""
    return MASK_PRIMES.get(mask_bits, (mask_bits,))
