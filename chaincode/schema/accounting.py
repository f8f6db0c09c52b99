"""Privacy loss of Gaussian mechanisms, the same on node and ledger: the subsampled one of training,
and the sum of discrete Gaussians that hospitals add to their updates.

Rényi differential privacy at integer orders (Mironov, Talwar, Zhang 2019, "Rényi Differential
Privacy of the Sampled Gaussian Mechanism", section 3.3; Kairouz, Liu, Steinke 2021, "The
Distributed Discrete Gaussian Mechanism for Federated Learning with Secure Aggregation"), converted
by Balle et al. 2020, "Hypothesis Testing Interpretations and Rényi Differential Privacy", theorem
21. Computed in
``decimal`` with a fixed context, whose exp and ln are correctly rounded, and rounded upwards into
integers: every peer gets the same digits, and never less than the true loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from math import comb

ORDERS: tuple[int, ...] = (*range(2, 65), 80, 96, 128, 192, 256)
"""Rényi orders at which every account is kept."""

LEAST_NOISE_MICRO = 50_000
"""The least noise multiplier accounted for, in 1e-6; below it the exponentials leave any range."""

MOST_SUMMED_NOISE = 2**26
"""The largest deviation of one discrete Gaussian that is accounted for, and sampled."""

_TWO_PI_SQUARED = Decimal("19.739208802178717237")
"""Rounded down, so that what it makes small is not too small."""
_PICO = Decimal(10) ** 12
_MICRO = Decimal(10) ** 6
_CONTEXT = Context(prec=50, rounding=ROUND_HALF_EVEN, Emin=-(10**8), Emax=10**8)


@lru_cache(maxsize=64)
def rdp_pico(
    batch_size: int, samples: int, noise_multiplier_micro: int, steps: int
) -> tuple[int, ...]:
    """Rényi divergence bound of ``steps`` steps at each of ORDERS, in 1e-12, rounded up.

    Args:
        batch_size: expected size of a Poisson batch; the sampling rate is batch_size / samples.
        samples: number of training samples, at least ``batch_size``.
        noise_multiplier_micro: noise over sensitivity, in 1e-6, at least LEAST_NOISE_MICRO.
        steps: optimiser steps, at least 0.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not 1 <= batch_size <= samples or steps < 0:
        raise ValueError("need 1 <= batch_size <= samples and steps not negative")
    if noise_multiplier_micro < LEAST_NOISE_MICRO:
        raise ValueError(f"a noise multiplier below {LEAST_NOISE_MICRO} millionths protects nobody")
    with localcontext(_CONTEXT):
        sigma = Decimal(noise_multiplier_micro) / _MICRO
        rate = Fraction(batch_size, samples)
        if rate == 1:
            per_step = [Decimal(order) / (2 * sigma * sigma) for order in ORDERS]
        else:
            per_step = _subsampled(rate, sigma)
        return tuple(_up(steps * value * _PICO) for value in per_step)


@lru_cache(maxsize=64)
def summed_rdp_pico(norm: int, noise: int, summands: int, values: int) -> tuple[int, ...]:
    """Rényi divergence bound of one sum of integer vectors, each of whose contributors added
    discrete Gaussian noise to every value, at each of ORDERS, in 1e-12, rounded up.

    A sum of n discrete Gaussians of deviation s is nearly the discrete Gaussian of deviation
    sqrt(n) s, whose divergence at order a is at most a norm^2 / (2 n s^2) (Canonne, Kamath, Steinke
    2020, "The Discrete Gaussian for Differential Privacy", proposition 5). What it is off by: by
    Poisson's summation, adding the summand k + 1 changes the logarithm of a value's probability by
    at most t_k = 5 exp(-2 pi^2 s^2 k / (k + 1)) (Kairouz, Liu, Steinke 2021, section 4), so that
    the divergence, a mean of P^a Q^(1 - a), grows by at most (2 a - 1) / (a - 1) times their sum
    for each value. Further summands are processing afterwards and cost nothing.

    Args:
        norm: largest L2 norm of what one contributor adds, in whole units.
        noise: deviation of each contributor's noise, in the same units.
        summands: noises that are surely in the sum, and that nobody who sees it knows.
        values: of the vectors.

    Raises:
        ValueError: an argument is outside its range.
    """
    if min(norm, noise, summands, values) < 1 or noise > MOST_SUMMED_NOISE:
        raise ValueError(f"need whole numbers of at least 1, and noise up to {MOST_SUMMED_NOISE}")
    with localcontext(_CONTEXT):
        square = Decimal(noise * noise)
        exponents = [-_TWO_PI_SQUARED * square * k / (k + 1) for k in range(1, summands)]
        off = 5 * values * sum((exponent.exp() for exponent in exponents), Decimal(0))
        apart = Decimal(norm * norm) / (2 * summands * square)
        return tuple(
            _up((order * apart + off * (2 * order - 1) / (order - 1)) * _PICO) for order in ORDERS
        )


def epsilon_micro(rdp: Sequence[int], delta_nano: int) -> int:
    """The smallest epsilon that the divergences prove at delta, in 1e-6, rounded up.

    Args:
        rdp: sums of :func:`rdp_pico` over what was spent, one per order of ORDERS.
        delta_nano: delta in 1e-9, in (0, 1e9).

    Raises:
        ValueError: wrong number of orders, or delta outside its range.
    """
    if len(rdp) != len(ORDERS) or not 0 < delta_nano < 10**9:
        raise ValueError(f"need {len(ORDERS)} divergences and delta in (0, 1)")
    if not any(rdp):
        return 0
    with localcontext(_CONTEXT):
        delta = (Decimal(delta_nano) / Decimal(10**9)).ln()
        best = min(
            Decimal(divergence) / _PICO + shrinks - (delta + grows) / (order - 1)
            for order, divergence, (shrinks, grows) in zip(ORDERS, rdp, _logarithms(), strict=True)
        )
        return max(0, _up(best * _MICRO))


@lru_cache(maxsize=1)
def _logarithms() -> tuple[tuple[Decimal, Decimal], ...]:
    """Of every order a: ln((a - 1) / a) and ln(a), in the context."""
    with localcontext(_CONTEXT):
        return tuple(((Decimal(order - 1) / order).ln(), Decimal(order).ln()) for order in ORDERS)


def add(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Composition: divergences add, order by order. An empty sequence is nothing spent."""
    if not first or not second:
        return tuple(first or second)
    return tuple(a + b for a, b in zip(first, second, strict=True))


def calibrate(
    batch_size: int, samples: int, total_steps: int, epsilon_micro_target: int, delta_nano: int
) -> int:
    """The least noise multiplier, in 1e-6, that keeps ``total_steps`` within epsilon.

    Rounded up to three decimals of sigma.

    Raises:
        ValueError: no noise multiplier up to 1000 is enough.
    """

    def spent(sigma_milli: int) -> int:
        return epsilon_micro(
            rdp_pico(batch_size, samples, sigma_milli * 1000, total_steps), delta_nano
        )

    low, high = 100, 1_000_000
    if spent(high) > epsilon_micro_target:
        raise ValueError("no noise multiplier up to 1000 keeps this plan within its budget")
    while low < high:
        middle = (low + high) // 2
        if spent(middle) <= epsilon_micro_target:
            high = middle
        else:
            low = middle + 1
    return low * 1000


def calibrate_summed(
    norm: int, summands: int, values: int, sums: int, epsilon_micro_target: int, delta_nano: int
) -> int:
    """The least noise of each contributor that keeps ``sums`` sums within epsilon.

    Raises:
        ValueError: no noise up to MOST_SUMMED_NOISE is enough.
    """

    def within(noise: int) -> bool:
        once = summed_rdp_pico(norm, noise, summands, values)
        return epsilon_micro([sums * loss for loss in once], delta_nano) <= epsilon_micro_target

    low, high = 1, MOST_SUMMED_NOISE
    if not within(high):
        raise ValueError("no noise keeps these sums within their budget; take a coarser unit")
    while low < high:
        middle = (low + high) // 2
        if within(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _subsampled(rate: Fraction, sigma: Decimal) -> list[Decimal]:
    top = max(ORDERS)
    q = Decimal(rate.numerator) / rate.denominator
    keep = Decimal(rate.denominator - rate.numerator) / rate.denominator
    keeps, takes = _powers(keep, top), _powers(q, top)
    grows = [(Decimal(k * k - k) / (2 * sigma * sigma)).exp() for k in range(top + 1)]
    losses = []
    for order in ORDERS:
        moment = sum(
            (comb(order, k) * keeps[order - k] * takes[k] * grows[k] for k in range(order + 1)),
            Decimal(0),
        )
        losses.append(max(Decimal(0), moment.ln() / (order - 1)))
    return losses


def _powers(base: Decimal, top: int) -> list[Decimal]:
    powers = [Decimal(1)]
    for _ in range(top):
        powers.append(powers[-1] * base)
    return powers


def _up(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))


def shown(micro: int) -> str:
    """A number of millionths as people write it: 2.5 of 2500000."""
    whole, rest = divmod(micro, 10**6)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")
