"""Polynomials over a modulus that is a product of primes, as residues by prime: ``int64[P, N]``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import NDArray

from trainer.privacy import ring
from trainer.privacy.ring import Residues

_LIMB = 24
_MASK = (1 << _LIMB) - 1
_SIGNED_BITS = 61


class Rns:
    """The ring of one set of parameters. Residues are canonical and, unless said, transformed.

    Args:
        degree: N.
        primes: distinct, each below 2^48 and congruent to 1 modulo 2N.
    """

    def __init__(self, degree: int, primes: tuple[int, ...]) -> None:
        self.degree = degree
        self.primes = primes
        self.modulus = prod(primes)
        self._transform = ring.transform(degree, primes)
        # numpy then works through all primes in one call.
        self.column = np.array(primes, dtype=np.int64)[:, None]

    def residues(self, number: int) -> Residues:
        """An integer of any size, as ``int64[P, 1]``: a constant, transformed or not."""
        return np.array([[number % prime] for prime in self.primes], dtype=np.int64)

    def lift(self, values: NDArray[np.int64]) -> Residues:
        """Residues of signed integers below 2^62 in size, not transformed."""
        return ring.lift(values, self.column)

    def forward(self, coefficients: Residues) -> Residues:
        """The transform."""
        return self._transform.forward(coefficients)

    def inverse(self, values: Residues) -> Residues:
        """Back to coefficients."""
        return self._transform.inverse(values)

    def small(self, values: NDArray[np.int64]) -> Residues:
        """The transform of signed integers below 2^62 in size."""
        return self.forward(self.lift(values))

    def joined(self, digits: Sequence[NDArray[np.int64]], bits: int) -> Residues:
        """Residues of numbers in digits of so many bits, the lowest first; not transformed."""
        step = self.residues(1 << bits)
        *lower, total = map(self.lift, digits)
        for digit in reversed(lower):
            total = self.add(self.multiply(total, step), digit)
        return total

    def multiply(self, a: Residues, b: Residues) -> Residues:
        """The product."""
        return ring.multiply(a, b, self.column)

    def add(self, a: Residues, b: Residues) -> Residues:
        """The sum."""
        return ring.add(a, b, self.column)

    def subtract(self, a: Residues, b: Residues) -> Residues:
        """The difference."""
        return ring.subtract(a, b, self.column)

    def within(self, values: Residues, bound: int) -> bool:
        """Whether every coefficient, as a signed integer, is at most ``bound`` in size.

        Args:
            bound: below half of the smallest prime.
        """
        coefficients = self.inverse(values)
        first = self.primes[0]
        signed = coefficients[0] - np.where(coefficients[0] > first // 2, first, 0)
        same = self.lift(signed) == coefficients
        return bool(same.all() and np.abs(signed).max() <= bound)

    def bounded(self, coefficients: Residues, bound: int) -> bool:
        """Whether every coefficient, as a signed integer, is at most ``bound`` in size.

        Args:
            coefficients: ``int64[P, M]``, not transformed.
            bound: at least three bits less than the modulus.
        """
        # Of a sum and a difference that add up to twice the bound, the one is negative, and so
        # nearly as large as the modulus, where the other is too large.
        bits = (2 * bound).bit_length()
        negated = self.subtract(np.zeros_like(coefficients), coefficients)
        return not any(
            _beyond(self._offset(values, bound), bits).any() for values in (coefficients, negated)
        )

    def rounded(self, values: Residues, shift: int, bits: int) -> NDArray[np.int64]:
        """Coefficients divided by ``2^shift`` and rounded, where they are below ``2^bits`` in size.

        Args:
            bits: at least shift, and at most shift + 61.

        Returns:
            ``int64[N]``; where a coefficient is larger, the largest 64-bit integer.
        """
        limbs = self._shifted(values, (1 << bits) + (1 << (shift - 1)))
        whole = _field(limbs, shift, bits + 2 - shift)
        outside = _beyond(limbs, bits + 2) | (whole > 1 << (bits + 1 - shift))
        return np.where(outside, np.iinfo(np.int64).max, whole - (1 << (bits - shift)))

    def high(self, coefficients: Residues, bits: int) -> NDArray[np.int32]:
        """What is left of coefficients without their low bits: one form for each value.

        Args:
            coefficients: ``int64[P, M]``, not transformed.
            bits: at least 1.
        """
        limbs = self._limbs(self._digits(coefficients))
        place, rest = divmod(bits, _LIMB)
        limbs[place] &= -1 << rest
        return np.stack(limbs[place:]).astype(np.int32)

    def signed(self, coefficients: Residues, bits: int) -> NDArray[np.int64] | None:
        """Coefficients as signed integers; where one is larger than 2^61 in size, the largest
        64-bit integer. None if any is not below ``2^bits`` in size.

        Args:
            coefficients: ``int64[P, M]``, not transformed.
            bits: at most two less than the modulus has.
        """
        if _beyond(self._offset(coefficients, 1 << bits), bits + 1).any():
            return None
        limbs = self._offset(coefficients, 1 << _SIGNED_BITS)
        values = _field(limbs, 0, _SIGNED_BITS + 1) - (1 << _SIGNED_BITS)
        return np.where(_beyond(limbs, _SIGNED_BITS + 1), np.iinfo(np.int64).max, values)

    def _shifted(self, values: Residues, offset: int) -> list[NDArray[np.int64]]:
        """Limbs of the coefficients, made positive by an offset."""
        return self._offset(self.inverse(values), offset)

    def _offset(self, coefficients: Residues, offset: int) -> list[NDArray[np.int64]]:
        moved = ring.add(coefficients, self.residues(offset), self.column)
        return self._limbs(self._digits(moved))

    def _digits(self, coefficients: Residues) -> list[NDArray[np.int64]]:
        """Mixed-radix digits (Garner): x = d0 + q0 (d1 + q1 (d2 + ...))."""
        digits: list[NDArray[np.int64]] = []
        for prime, rest in zip(self.primes, coefficients, strict=True):
            for digit, before in zip(digits, self.primes, strict=False):
                difference = ring.subtract(rest, ring.lift(digit, prime), prime)
                rest = ring.multiply(difference, pow(before, -1, prime), prime)
            digits.append(rest)
        return digits

    def _limbs(self, digits: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """The integers that mixed-radix digits stand for, in limbs of 24 bits."""
        count = self.modulus.bit_length() // _LIMB + 2
        limbs = [np.zeros_like(digits[0]) for _ in range(count)]
        for digit, prime in zip(reversed(digits), reversed(self.primes), strict=True):
            parts = (prime & _MASK, prime >> _LIMB)
            product = [np.zeros_like(digits[0]) for _ in range(count)]
            for index, limb in enumerate(limbs[:-1]):
                product[index] += limb * parts[0]
                product[index + 1] += limb * parts[1]
            product[0] += digit
            limbs = _carry(product)
        return limbs


def _field(limbs: list[NDArray[np.int64]], first: int, width: int) -> NDArray[np.int64]:
    """``width`` bits, at most 63, from bit ``first`` on."""
    value = np.zeros_like(limbs[0])
    for index, limb in enumerate(limbs):
        place = index * _LIMB - first
        if -_LIMB < place < 0:
            value |= limb >> -place
        elif 0 <= place < width:
            value |= (limb & ((1 << min(_LIMB, width - place)) - 1)) << place
    return value & ((1 << width) - 1)


def _beyond(limbs: list[NDArray[np.int64]], first: int) -> NDArray[np.bool_]:
    """Whether any bit is set from ``first`` on."""
    found = np.zeros_like(limbs[0])
    for index, limb in enumerate(limbs):
        found |= limb >> min(max(first - index * _LIMB, 0), _LIMB)
    return np.asarray(found != 0)


def _carry(limbs: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    for low, high in pairwise(limbs):
        high += low >> _LIMB
        low &= _MASK
    return limbs
