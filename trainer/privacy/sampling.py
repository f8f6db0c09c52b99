"""Random polynomials, from the operating system's randomness stretched by AES-256 in counter mode.

A stream that starts from a kept key gives the same polynomials again; :func:`fresh` never does.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from trainer.privacy.ring import Residues

LARGEST_ERROR = 21
LIMB_BITS = 40
_FIRST_BITS = 16


class Stream:
    """Random bytes that follow from a key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def bytes(self, number: int) -> bytes:
        """The next bytes."""
        return self._encryptor.update(bytes(number))

    def ternary(self, degree: int) -> NDArray[np.int64]:
        """Uniform in {-1, 0, 1}: ``int64[N]``."""
        kept = np.empty(0, dtype=np.uint8)
        while kept.size < degree:
            drawn = np.frombuffer(self.bytes(2 * degree), dtype=np.uint8)
            # 255 is the largest multiple of 3 in a byte: above it the rest would be biased.
            kept = np.concatenate([kept, drawn[drawn < 255]])
        return kept[:degree].astype(np.int64) % 3 - 1

    def error(self, degree: int) -> NDArray[np.int64]:
        """Centred binomial of 42 bits (deviation 3.24), at most 21 in size: ``int64[N]``."""
        drawn = np.frombuffer(self.bytes(6 * degree), dtype=np.uint8).reshape(degree, 6)
        bits = np.unpackbits(drawn, axis=1)[:, :42].astype(np.int64)
        return np.asarray(bits[:, :21].sum(axis=1) - bits[:, 21:].sum(axis=1))

    def gaussian(self, degree: int, deviation: int) -> NDArray[np.int64]:
        """Discrete Gaussian of this deviation, at most ten of them in size: ``int64[N]``.

        By inversion of the cumulative distribution; the statistical distance per number is below
        2^-40.
        """
        drawn = np.frombuffer(self.bytes(8 * degree), dtype="<u8")
        size = _inverted(drawn >> np.uint64(1), deviation)
        return np.where(drawn & np.uint64(1), -size, size)

    def short(self, degree: int, bits: int) -> NDArray[np.int64]:
        """Uniform in [-2^bits, 2^bits): ``int64[N]``, bits at most 61."""
        return self._words(degree, bits + 1) - (1 << bits)

    def uniform(self, degree: int, primes: tuple[int, ...]) -> Residues:
        """Uniform residues, by rejection: ``int64[primes, N]``."""
        return np.stack([self.below(degree, prime) for prime in primes])

    def flood(self, degree: int, bits: int) -> list[NDArray[np.int64]]:
        """The sum of four uniform integers in [-2^bits, 2^bits), in digits.

        Returns:
            ``int64[N]`` each; digit i counts ``2^(LIMB_BITS i)``, and only the last is signed.
        """
        left, limbs = bits + 1, []
        while left > 0:
            below = min(left, LIMB_BITS)
            limbs.append(np.asarray(sum(self._words(degree, below) for _ in range(4))))
            left -= below
        limbs[-1] -= 4 << (bits - LIMB_BITS * (len(limbs) - 1))
        return limbs

    def _words(self, number: int, bits: int) -> NDArray[np.int64]:
        drawn = np.frombuffer(self.bytes(8 * number), dtype="<u8") >> np.uint64(64 - bits)
        return drawn.astype(np.int64)

    def below(self, number: int, bound: int) -> NDArray[np.int64]:
        """Uniform in [0, bound), by rejection: ``int64[number]``, bound below 2^63."""
        kept = np.empty(0, dtype=np.int64)
        while kept.size < number:
            drawn = self._words(number + number // 16 + 64, bound.bit_length())
            kept = np.concatenate([kept, drawn[drawn < bound]])
        return kept[:number]


def _inverted(numbers: NDArray[np.uint64], deviation: int) -> NDArray[np.int64]:
    """How many of the cumulative probabilities each number reaches. Its first bits nearly always
    tell; the others are searched for."""
    lowest, highest = _reached(deviation)
    first = (numbers >> np.uint64(63 - _FIRST_BITS)).astype(np.int64)
    size = lowest[first]
    (untold,) = np.nonzero(size != highest[first])
    size[untold] = np.searchsorted(_cumulative(deviation), numbers[untold], side="right")
    return size


@lru_cache(maxsize=4)
def _reached(deviation: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """By a number's first bits: what the lowest and the highest number with these reach."""
    step = 1 << (63 - _FIRST_BITS)
    lowest = np.arange(1 << _FIRST_BITS, dtype=np.uint64) * np.uint64(step)
    cumulative = _cumulative(deviation)
    reached = (np.searchsorted(cumulative, n, side="right") for n in (lowest, lowest + (step - 1)))
    low, high = (found.astype(np.int64) for found in reached)
    return low, high


@lru_cache(maxsize=4)
def _cumulative(deviation: int) -> NDArray[np.uint64]:
    """Of a size below 1, 2, ...: probabilities in units of 2^-63."""
    sizes = np.arange(10 * deviation, dtype=np.float64)
    weights = np.exp(-((sizes / deviation) ** 2) / 2)
    weights[0] /= 2  # Zero has no two signs.
    total = np.cumsum(weights)
    return np.asarray(total / total[-1] * 2.0**63).astype(np.uint64)


def derived(key: bytes, label: bytes) -> Stream:
    """The stream of a purpose: independent of those of other labels."""
    return Stream(hashlib.sha256(b"MFR2 stream" + label + key).digest())


def fresh() -> Stream:
    """A stream that nobody can repeat."""
    return Stream(os.urandom(32))
