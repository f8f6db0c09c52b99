"""Arithmetic in Z_q[X]/(X^N + 1) for 64-bit primes q, vectorised.

Polynomials are ``uint64[N]`` residues. The transform is the negacyclic NTT in SEAL's order (Harvey
butterflies, powers of the smallest primitive 2N-th root, bit-reversed output), so that what SEAL
computes and what is computed here can be mixed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Residues = NDArray[np.uint64]


def multiply(a: Residues, b: Residues | np.uint64, q: int) -> Residues:
    """``a * b mod q``, elementwise, for q below 2^62.

    The quotient comes from extended precision (64-bit mantissa or more) and is off by one at most;
    the product wraps around modulo 2^64 and the difference is exact.
    """
    quotient = (a.astype(np.longdouble) * b / np.longdouble(q)).astype(np.uint64)
    rest = (a * b - quotient * np.uint64(q)).view(np.int64)
    rest = np.where(rest < 0, rest + q, rest)
    return np.where(rest >= q, rest - q, rest).view(np.uint64)


def add(a: Residues, b: Residues, q: int) -> Residues:
    """``a + b mod q``."""
    total = a + b
    return np.where(total >= q, total - np.uint64(q), total)


def negate(a: Residues, q: int) -> Residues:
    """``-a mod q``."""
    return np.where(a == 0, a, np.uint64(q) - a)


def lift(values: NDArray[np.int64], q: int) -> Residues:
    """Residues of signed integers."""
    return np.mod(values, np.int64(q)).astype(np.uint64)


class Transform:
    """The NTT of one prime and its inverse.

    Args:
        degree: N, a power of two.
        prime: q, congruent to 1 modulo 2N, below 2^62.
    """

    def __init__(self, degree: int, prime: int) -> None:
        self._degree = degree
        self._prime = prime
        root = _smallest_root(degree, prime)
        order = _bit_reversed(degree)
        self._roots = _powers(root, degree, prime)[order]
        self._inverses = _powers(pow(root, -1, prime), degree, prime)[order]
        self._scale = np.uint64(pow(degree, -1, prime))

    def forward(self, coefficients: Residues) -> Residues:
        """Coefficients to values."""
        values, q = coefficients.copy(), self._prime
        blocks = 1
        while blocks < self._degree:
            view = values.reshape(blocks, 2, -1)
            low = view[:, 0].copy()
            high = multiply(view[:, 1], self._roots[blocks : 2 * blocks, None], q)
            view[:, 0] = add(low, high, q)
            view[:, 1] = add(low, negate(high, q), q)
            blocks *= 2
        return values

    def inverse(self, values: Residues) -> Residues:
        """Values to coefficients."""
        coefficients, q = values.copy(), self._prime
        blocks = self._degree // 2
        while blocks:
            view = coefficients.reshape(blocks, 2, -1)
            low, high = view[:, 0].copy(), view[:, 1].copy()
            view[:, 0] = add(low, high, q)
            difference = add(low, negate(high, q), q)
            view[:, 1] = multiply(difference, self._inverses[blocks : 2 * blocks, None], q)
            blocks //= 2
        return multiply(coefficients, self._scale, q)


@lru_cache(maxsize=16)
def transform(degree: int, prime: int) -> Transform:
    """The transform of a prime, its tables made once."""
    return Transform(degree, prime)


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
    return np.array(powers, dtype=np.uint64)


def _bit_reversed(number: int) -> NDArray[np.int64]:
    order = np.zeros(1, dtype=np.int64)
    while order.size < number:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order
