"""Privacy accounting on the ledger: the numbers of Opacus, in integers."""

from __future__ import annotations

import decimal
import hashlib
import json
import math
import sys
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.accounting import (
    LEAST_NOISE_MICRO,
    MOST_SUMMED_NOISE,
    ORDERS,
    add,
    calibrate,
    calibrate_summed,
    epsilon_micro,
    rdp_pico,
    shown,
    summed_rdp_pico,
)

CASES = [(20, 100, 1_762_000, 20), (32, 114, 1_100_000, 150), (1, 10_000, 600_000, 1000)]
CASES += [(100, 100, 5_000_000, 10), (455, 456, 900_000, 3), (1, 2**30, 50_000_000, 100_000)]


@pytest.mark.parametrize("case", CASES)
def test_divergences_and_epsilon_are_those_of_opacus(case):
    from opacus.accountants.analysis import rdp

    batch, samples, noise, steps = case

    ours = rdp_pico(*case)
    theirs = rdp.compute_rdp(
        q=batch / samples, noise_multiplier=noise / 1e6, steps=steps, orders=list(ORDERS)
    )
    epsilon, _ = rdp.get_privacy_spent(orders=list(ORDERS), rdp=theirs, delta=1e-5)

    for one, other in zip(ours, theirs, strict=True):
        assert one / 1e12 == pytest.approx(other, rel=1e-6, abs=2e-11)
    assert epsilon_micro(ours, 10_000) / 1e6 == pytest.approx(max(0, epsilon), rel=1e-6, abs=2e-6)


def test_the_accountant_of_a_training_run_agrees():
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for _ in range(150):
        accountant.step(noise_multiplier=1.1, sample_rate=0.28)

    ours = epsilon_micro(rdp_pico(28, 100, 1_100_000, 150), 10_000)

    assert ours / 1e6 == pytest.approx(
        accountant.get_epsilon(1e-5, alphas=[float(order) for order in ORDERS]), rel=1e-6
    )


def test_the_loss_is_rounded_up_and_never_down():
    batch, samples, noise, steps = 100, 100, 3_000_000, 7

    with decimal.localcontext(decimal.Context(prec=80)):
        for order, ours in zip(ORDERS, rdp_pico(batch, samples, noise, steps), strict=True):
            exact = Decimal(steps * order) / 18 * 10**12  # the plain Gaussian: order / (2 sigma^2)
            assert 0 <= ours - exact < 1


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 60), st.integers(60, 500), st.integers(400_000, 20_000_000), st.integers(1, 40)
)
def test_losses_compose(batch, samples, noise, steps):
    whole = rdp_pico(batch, samples, noise, 2 * steps)
    half = rdp_pico(batch, samples, noise, steps)

    for together, apart in zip(whole, add(half, half), strict=True):
        assert 0 <= apart - together <= 1  # each part is rounded up by itself


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 59), st.integers(60, 500), st.integers(400_000, 9_000_000))
def test_more_noise_fewer_records_of_a_batch_and_fewer_steps_lose_less(batch, samples, noise):
    base = epsilon_micro(rdp_pico(batch, samples, noise, 10), 10_000)

    assert epsilon_micro(rdp_pico(batch, samples, noise + 500_000, 10), 10_000) <= base
    assert epsilon_micro(rdp_pico(batch + 1, samples, noise, 10), 10_000) >= base
    assert epsilon_micro(rdp_pico(batch, samples, noise, 11), 10_000) >= base
    assert epsilon_micro(rdp_pico(batch, samples, noise, 10), 20_000) <= base


def test_nothing_spent_is_nothing_lost():
    loss = rdp_pico(10, 100, 1_000_000, 3)

    assert rdp_pico(10, 100, 1_000_000, 0) == (0,) * len(ORDERS)
    assert epsilon_micro((0,) * len(ORDERS), 10_000) == 0
    assert add((), loss) == add(loss, ()) == loss
    assert add((), ()) == ()


@pytest.mark.parametrize("target", [500_000, 3_000_000, 20_000_000])
def test_the_calibrated_noise_is_the_least_that_keeps_the_budget(target):
    noise = calibrate(20, 100, 100, target, 10_000)

    assert noise % 1000 == 0
    assert epsilon_micro(rdp_pico(20, 100, noise, 100), 10_000) <= target
    assert epsilon_micro(rdp_pico(20, 100, noise - 1000, 100), 10_000) > target


def test_a_budget_that_no_noise_keeps_is_refused():
    with pytest.raises(ValueError, match="no noise multiplier"):
        calibrate(100, 100, 10_000_000, 1, 1)


@pytest.mark.parametrize(
    "case",
    [
        (0, 100, 1_000_000, 1),
        (101, 100, 1_000_000, 1),
        (10, 100, LEAST_NOISE_MICRO - 1, 1),
        (10, 100, 1_000_000, -1),
    ],
)
def test_what_has_no_meaning_is_refused(case):
    with pytest.raises(ValueError, match=r"need|protects"):
        rdp_pico(*case)


@pytest.mark.parametrize("delta", [0, 10**9])
def test_a_delta_outside_its_range_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        epsilon_micro((1,) * len(ORDERS), delta)


@pytest.mark.parametrize(
    "case", [(1, 2**40, 10**9, 100_000), (1, 2, LEAST_NOISE_MICRO, 1), (2**30, 2**30, 10**9, 1)]
)
def test_the_ends_of_every_range_are_answered(case):
    loss = rdp_pico(*case)

    assert all(value >= 0 for value in loss)
    assert epsilon_micro(loss, 1) >= epsilon_micro(loss, 10**9 - 1) >= 0


def test_the_callers_decimal_context_changes_nothing():
    expected = rdp_pico(17, 100, 1_234_567, 5), epsilon_micro(rdp_pico(17, 100, 1_234_567, 5), 9)
    rdp_pico.cache_clear()

    with decimal.localcontext(decimal.Context(prec=3, rounding=decimal.ROUND_DOWN)):
        loss = rdp_pico(17, 100, 1_234_567, 5)
        assert (loss, epsilon_micro(loss, 9)) == expected


GRID = [
    (batch, samples, noise, steps)
    for batch, samples in ((1, 1000), (20, 100), (96, 400), (400, 400))
    for noise in (700_000, 1_300_000, 5_000_000, 40_000_000)
    for steps in (1, 60)
]


def test_the_ledger_is_within_a_billionth_of_opacus_over_a_grid():
    from opacus.accountants.analysis import rdp

    worst = 0.0
    for batch, samples, noise, steps in GRID:
        ours = rdp_pico(batch, samples, noise, steps)
        theirs = rdp.compute_rdp(
            q=batch / samples, noise_multiplier=noise / 1e6, steps=steps, orders=list(ORDERS)
        )
        for one, other in zip(ours, theirs, strict=True):
            worst = max(worst, abs(one / 1e12 - other) / max(1.0, other))

    assert worst <= 1e-9


def test_the_digits_are_those_of_another_decimal_arithmetic(monkeypatch):
    """The interpreter's own (libmpdec, in C) and the one written in Python agree to the last."""
    import _pydecimal
    import importlib.util

    spec = importlib.util.find_spec("chaincode.schema.accounting")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "decimal", _pydecimal)
        other = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(other)
    case = (7, 50, 900_000, 12)

    assert other.Decimal is not decimal.Decimal
    assert other.rdp_pico(*case) == rdp_pico(*case)
    assert other.epsilon_micro(other.rdp_pico(*case), 10_000) == epsilon_micro(
        rdp_pico(*case), 10_000
    )


def test_the_digits_are_the_same_on_every_machine():
    losses = [rdp_pico(*case) for case in GRID]

    digest = hashlib.sha256(json.dumps(losses).encode()).hexdigest()
    assert digest == "263d4247cf3235b6dac62db1dc7783a8246202468eedbda36c42de5c10f7943e"


# Sums of discrete Gaussians.


def _summed(noise, summands):
    """Probabilities of a sum of discrete Gaussians, each by convolution, and their first value."""
    reach = 60 * noise
    support = range(-reach, reach + 1)
    with decimal.localcontext(decimal.Context(prec=60)):
        weights = [(-Decimal(z * z) / (2 * noise * noise)).exp() for z in support]
        one = [weight / sum(weights) for weight in weights]
        total = one
        for _ in range(summands - 1):
            grown = [Decimal(0)] * (len(total) + len(one) - 1)
            for i, left in enumerate(total):
                for j, right in enumerate(one):
                    grown[i + j] += left * right
            total = grown
    return total


@pytest.mark.parametrize(("noise", "summands", "shift"), [(1, 1, 1), (1, 2, 1), (1, 3, 2)])
def test_the_bound_holds_for_the_divergence_of_the_sum_itself(noise, summands, shift):
    """Against the sum's own distribution, where the correction is largest."""
    total = _summed(noise, summands)
    bound = summed_rdp_pico(shift, noise, summands, 1)

    for order, bounded in zip(ORDERS[:20], bound, strict=False):
        with decimal.localcontext(decimal.Context(prec=60)):
            moment = sum(
                (p / q) ** order * q
                for p, q in zip(total[shift:-1], total[: -1 - shift], strict=True)
                if p and q
            )
            exact = moment.ln() / (order - 1)
        assert exact * 10**12 <= bounded
        assert float(exact) == pytest.approx(bounded / 1e12, rel=0.02)


def test_far_above_the_unit_the_sum_is_the_gaussian_of_all_its_noise():
    loss = summed_rdp_pico(1000, 1500, 4, 3_500_000)

    for order, value in zip(ORDERS, loss, strict=True):
        assert value == math.ceil(Decimal(order * 1000**2) / (2 * 4 * 1500**2) * 10**12)


def test_near_the_unit_the_correction_grows_with_values_and_summands():
    one = summed_rdp_pico(1, 1, 1, 1000)
    two = summed_rdp_pico(1, 1, 2, 1000)
    more = summed_rdp_pico(1, 1, 2, 2000)

    assert one[0] == 10**12  # a single one is exact: order / 2 at order 2
    grown = [b - a for a, b in zip(two, more, strict=True)]
    # 5 exp(-pi^2) (2 a - 1) / (a - 1) for each of a thousand values
    assert grown[0] / 1e12 == pytest.approx(1000 * 5 * math.exp(-(math.pi**2)) * 3, rel=1e-6)


@pytest.mark.parametrize(
    "case",
    [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (1, MOST_SUMMED_NOISE + 1, 1, 1)],
)
def test_a_sum_that_has_no_meaning_is_refused(case):
    with pytest.raises(ValueError, match="whole numbers"):
        summed_rdp_pico(*case)


def test_the_calibrated_noise_of_a_sum_is_the_least():
    noise = calibrate_summed(1000, 3, 62, 5, 2_000_000, 10_000)

    def epsilon(noise):
        return epsilon_micro([5 * a for a in summed_rdp_pico(1000, noise, 3, 62)], 10_000)

    assert epsilon(noise) <= 2_000_000 < epsilon(noise - 1)
    with pytest.raises(ValueError, match="coarser"):
        calibrate_summed(2**30, 1, 62, 5, 1000, 10)


# Beside the paper's own bound.


def _kairouz_liu_steinke(norm, noise, summands, values):
    """Kairouz, Liu, Steinke 2021, proposition 14, without the form that takes the L1 norm: the
    divergence of a sum of discrete Gaussians, by tau = 10 sum_k exp(-2 pi^2 sigma^2 k / (k + 1)).

    Returns:
        For each order its first form, and the lesser of its first and third.
    """
    tau = 10 * sum(math.exp(-2 * math.pi**2 * noise**2 * k / (k + 1)) for k in range(1, summands))
    apart = norm / (math.sqrt(summands) * noise)
    firsts = [order / 2 * apart**2 + tau * values for order in ORDERS]
    thirds = [order / 2 * (apart + tau * math.sqrt(values)) ** 2 for order in ORDERS]
    return firsts, [min(pair) for pair in zip(firsts, thirds, strict=True)]


SUMS = [(1, 2, 2, 10**6), (2, 2, 8, 1000), (100, 3, 16, 10**6), (1000, 1500, 4, 3_500_000)]


@pytest.mark.parametrize("case", [*SUMS, (1, 1, 2, 10), (3, 1, 4, 62), (10, 1, 64, 10_000)])
def test_the_correction_is_the_papers_and_never_less(case):
    """Ours takes half of tau (2 a - 1) / (a - 1) times, the paper twice: at order 2 that is half as
    much again, at order 256 a five-hundredth."""
    firsts, _ = _kairouz_liu_steinke(*case)
    norm, noise, summands, _ = case

    for order, ours, theirs in zip(ORDERS, summed_rdp_pico(*case), firsts, strict=True):
        correction = theirs - order * norm**2 / (2 * summands * noise**2)
        assert ours / 1e12 >= theirs * (1 - 1e-12)
        assert ours / 1e12 <= theirs + correction / (2 * (order - 1)) + 1e-9 * theirs


@pytest.mark.parametrize("case", SUMS)
def test_from_a_deviation_of_two_on_no_form_of_the_paper_says_less(case):
    _, least = _kairouz_liu_steinke(*case)
    ours = summed_rdp_pico(*case)

    assert max(a / 1e12 / b for a, b in zip(ours, least, strict=True)) < 1 + 1e-8
    papers = [math.ceil(value * 1e12) for value in least]
    assert epsilon_micro(ours, 10_000) == pytest.approx(epsilon_micro(papers, 10_000), abs=1)


def test_millionths_are_shown_as_people_write_them():
    assert [shown(n) for n in (2_500_000, 3_000_000, 1, 0)] == ["2.5", "3", "0.000001", "0"]
