"""Arithmetic in Z_q[X]/(X^N + 1) for primes q below 2^48, vectorised over many polynomials.

Polynomials are ``int64[..., N]``; canonical residues lie in [0, q). The transform is the negacyclic
NTT in SEAL's order (powers of the smallest primitive 2N-th root, bit-reversed output), so that what
SEAL computes and what is computed here can be mixed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Residues = NDArray[np.int64]
Modulus = int | NDArray[np.int64]
"""One prime, or one for each row of residues."""


def multiply(a: Residues, b: Residues | int, q: Modulus) -> Residues:
    """``a * b mod q``, elementwise, canonical, for |a| and |b| below q.

    The quotient comes from double precision and is off by less than one; the product wraps around
    modulo 2^64 and the difference is exact.
    """
    ratio = np.asarray(b, dtype=np.float64) / q
    quotient = np.rint(a * ratio).astype(np.int64)
    return canonical(a * b - quotient * q, q)


def add(a: Residues, b: Residues, q: Modulus) -> Residues:
    """``a + b mod q`` of canonical residues."""
    return canonical(a + b - q, q)


def subtract(a: Residues, b: Residues, q: Modulus) -> Residues:
    """``a - b mod q`` of canonical residues."""
    return canonical(a - b, q)


def canonical(values: Residues, q: Modulus) -> Residues:
    """Values in (-q, q) brought to [0, q)."""
    return values + ((values >> 63) & q)


def lift(values: NDArray[np.int64], q: Modulus) -> Residues:
    """Residues of signed integers below 2^62 in size."""
    quotient = values * (1.0 / q)
    np.rint(quotient, out=quotient)
    return canonical(values - quotient.astype(np.int64) * q, q)


class Transform:
    """The NTT of several primes at once, and its inverse; numpy's cost per call is shared.

    Butterflies are lazy: products are reduced to less than 2 q in size, sums are left to grow, to
    less than 2^53, so that double-precision quotients stay off by less than 2.

    Args:
        degree: N, a power of two, at least 16 and at most 32768.
        primes: each congruent to 1 modulo 2N and below 2^48. With one of them, any number of
            polynomials is transformed at once; else one for each.
    """

    def __init__(self, degree: int, primes: tuple[int, ...]) -> None:
        self._degree, self._primes = degree, primes
        self._column = np.array(primes, dtype=np.int64)[:, None]
        self._moduli = self._column[:, :, None]
        # Blocks of at most this many coefficients are worked on side by side.
        self._inner = 1 << (degree.bit_length() // 2)
        roots = [_smallest_root(degree, prime) for prime in primes]
        inverses = [pow(root, -1, prime) for root, prime in zip(roots, primes, strict=True)]
        self._roots = self._by_level(roots)
        self._inverses = self._by_level(inverses)
        scale = [[pow(degree, -1, prime)] for prime in primes]
        self._scale = np.array(scale, dtype=np.int64)

    def forward(self, coefficients: Residues) -> Residues:
        """Coefficients in (-q, q) to canonical values: ``int64[P, N]``."""
        values = coefficients.copy()
        levels = iter(self._roots)
        for blocks in self._outer_levels():
            low, high = _halves(values.reshape(len(values), blocks, 2, -1))
            self._butterfly(low, high, *next(levels))
        outer = self._degree // self._inner
        columns = _turned(values, outer)
        for inner in self._inner_levels():
            low, high = _halves(columns.reshape(len(columns), inner, 2, -1, outer))
            self._butterfly(low, high, *next(levels))
        return _reduced(_turned(columns, self._inner), self._column)

    def inverse(self, values: Residues) -> Residues:
        """Canonical values to canonical coefficients: ``int64[P, N]``."""
        levels = list(self._inverses)
        outer = self._degree // self._inner
        columns = _turned(values, outer)
        for inner in reversed(self._inner_levels()):
            low, high = _halves(columns.reshape(len(columns), inner, 2, -1, outer))
            self._butterfly_back(low, high, *levels.pop(), reduce=len(levels) % 3 == 0)
        result = _turned(columns, self._inner)
        for blocks in reversed(self._outer_levels()):
            low, high = _halves(result.reshape(len(result), blocks, 2, -1))
            self._butterfly_back(low, high, *levels.pop(), reduce=len(levels) % 3 == 0)
        return multiply(_reduced(result, self._column), self._scale, self._column)

    def _outer_levels(self) -> list[int]:
        return [1 << level for level in range((self._degree // self._inner).bit_length() - 1)]

    def _inner_levels(self) -> list[int]:
        return [1 << level for level in range(self._inner.bit_length() - 1)]

    def _by_level(self, roots: list[int]) -> list[tuple[Residues, NDArray[np.float64]]]:
        """Powers for each level, shaped for its butterflies, and their quotients by q."""
        order, outer = _bit_reversed(self._degree), self._degree // self._inner
        powers = np.stack(
            [
                _powers(root, self._degree, prime)[order]
                for root, prime in zip(roots, self._primes, strict=True)
            ]
        )
        flat = [powers[:, b : 2 * b, None] for b in self._outer_levels()]
        turned = []
        for inner in self._inner_levels():
            blocks = inner * outer
            of_block = powers[:, blocks : 2 * blocks].reshape(-1, outer, inner)
            turned.append(np.ascontiguousarray(of_block.transpose(0, 2, 1))[:, :, None, :])
        return [(level, level / self._moduli) for level in flat] + [
            (level, level / self._moduli[..., None]) for level in turned
        ]

    def _butterfly(
        self, low: Residues, high: Residues, roots: Residues, ratios: NDArray[np.float64]
    ) -> None:
        product = self._product(high, roots, ratios)
        np.subtract(low, product, out=high)
        low += product

    def _butterfly_back(
        self,
        low: Residues,
        high: Residues,
        roots: Residues,
        ratios: NDArray[np.float64],
        *,
        reduce: bool,
    ) -> None:
        difference = low - high
        low += high
        if reduce:
            modulus = self._modulus_of(low)
            low -= np.rint(low * (1.0 / modulus)).astype(np.int64) * modulus
        high[...] = self._product(difference, roots, ratios)

    def _product(self, values: Residues, roots: Residues, ratios: NDArray[np.float64]) -> Residues:
        quotient = values * ratios
        np.rint(quotient, out=quotient)
        product = values * roots
        product -= quotient.astype(np.int64) * self._modulus_of(values)
        return product

    def _modulus_of(self, values: Residues) -> Residues:
        return self._moduli if values.ndim == 3 else self._moduli[..., None]


@lru_cache(maxsize=16)
def transform(degree: int, primes: tuple[int, ...]) -> Transform:
    """The transform of these primes, its tables made once."""
    return Transform(degree, primes)


def _halves(view: Residues) -> tuple[Residues, Residues]:
    return view[:, :, 0], view[:, :, 1]


def _turned(values: Residues, blocks: int) -> Residues:
    """``[polynomial, blocks, rest]`` as ``[polynomial, rest, blocks]``, in one piece."""
    shaped = values.reshape(len(values), blocks, -1)
    return np.ascontiguousarray(shaped.transpose(0, 2, 1)).reshape(len(values), -1)


def _reduced(values: Residues, q: Modulus) -> Residues:
    """Values below 2^53 in size, canonical."""
    quotient = np.rint(values * (1.0 / q)).astype(np.int64)
    return canonical(values - quotient * q, q)


def _smallest_root(degree: int, prime: int) -> int:
    exponent = (prime - 1) // (2 * degree)
    root = next(
        r for r in (pow(g, exponent, prime) for g in range(2, prime)) if pow(r, degree, prime) != 1
    )
    square, power, smallest = root * root % prime, root, root
    for _ in range(degree):
        smallest = min(smallest, power)
        power = power * square % prime
    return smallest


def _powers(base: int, number: int, prime: int) -> Residues:
    powers = [1]
    for _ in range(number - 1):
        powers.append(powers[-1] * base % prime)
    return np.array(powers, dtype=np.int64)


def _bit_reversed(number: int) -> NDArray[np.int64]:
    order = np.zeros(1, dtype=np.int64)
    while order.size < number:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order
