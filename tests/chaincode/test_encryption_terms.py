"""Encryption terms: what is refused and why, and what is chosen for a plan's work."""

from __future__ import annotations

from math import gcd, log2, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema import encryption
from chaincode.schema.encryption import (
    EncryptionTerms,
    Workload,
    choose,
    refusal,
)
from chaincode.schema.errors import MedFabricError

WORK = Workload(hospitals=4, updates=4, parameters=62, rounds=6)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"security_bits": 256}, "256-bit secure"),
        ({"modulus_bits": (40,) * 6}, "standard allows 218"),
        ({"scale_bits": 118}, "does not fit into the modulus"),
        ({"scale_bits": 107}, "noise reaches the masks' keys"),
        ({"levels": 2**36}, "masked values does not fit"),
        ({"mask_bits": 40}, "masked values does not fit"),
        ({"flood_bits": 95}, "flooding noise"),
        ({"statistical_bits": 60}, "the plan claims 2^-60"),
        ({"weight_bits": 2}, "weights' resolution"),
        ({"threshold": 2}, "more than half"),
        ({"threshold": 4}, "fewer than all"),
        ({"tied": True}, "more than 48 bits"),
        ({"mask_bits": 96}, "more than 48 bits"),
    ],
)
def test_terms_that_do_not_do_are_refused_with_the_reason(
    changes: dict[str, object], why: str
) -> None:
    assert refusal(EncryptionTerms(), WORK) is None
    refused = refusal(EncryptionTerms().model_copy(update=changes), WORK)

    assert refused is not None
    assert why in refused


@settings(max_examples=60, deadline=None)
@given(
    hospitals=st.integers(2, 64),
    parameters=st.integers(1, 10**8),
    rounds=st.integers(1, 100),
    clip=st.integers(100_000, 8_000_000),
    error=st.integers(10_000, 1_000_000),
    security=st.sampled_from([128, 192, 256]),
    threshold=st.booleans(),
)
def test_what_is_chosen_keeps_every_rule_and_the_error(
    hospitals: int,
    parameters: int,
    rounds: int,
    clip: int,
    error: int,
    security: int,
    threshold: bool,
) -> None:
    work = Workload(hospitals, hospitals, parameters, rounds)
    least = hospitals // 2 + 1
    terms = choose(
        work,
        clip_micro=clip,
        error_nano=error,
        security_bits=security,
        statistical_bits=30,
        threshold=least if threshold and least < hospitals else None,
    )

    assert refusal(terms, work) is None
    assert encryption.error_nano(terms) <= error
    assert terms.statistical_bits >= 30


@pytest.mark.parametrize(("error", "bits"), [(1e-5, 48), (1e-3, 40), (0.1, 32)])
def test_a_coarser_resolution_makes_updates_smaller(error: float, bits: int) -> None:
    work = Workload(64, 64, 3_500_000, 10)
    terms = choose(work, clip_micro=1_000_000, error_nano=round(error * 10**9))

    assert terms.mask_bits == bits
    assert encryption.error_nano(terms) <= error * 10**9
    assert refusal(terms, work) is None


@given(mask_bits=st.sampled_from([32, 40, 48]), weight_bits=st.integers(1, 14))
def test_the_largest_sum_and_its_noise_stay_within_a_quarter_of_the_masks_modulus(
    mask_bits: int, weight_bits: int
) -> None:
    levels = encryption.most_levels(mask_bits, weight_bits)
    largest = (levels + encryption.mask_tail(weight_bits)) << weight_bits

    assert largest == 1 << (mask_bits - 2)


@settings(max_examples=15, deadline=None)
@given(
    updates=st.integers(2, 512),
    parameters=st.sampled_from([1, 8192, 16 * 8192, 16 * 8192 + 1, 3_500_000, 10**8, 10**9]),
    error=st.integers(10_000, 40_000_000),
    security=st.sampled_from([128, 192, 256]),
)
def test_sums_of_updates_that_are_proven_have_room_whatever_they_hold(
    updates: int, parameters: int, error: int, security: int
) -> None:
    work = Workload(min(updates, 64), updates, parameters, 10)
    ring = {"clip_micro": 1_000_000, "error_nano": error, "security_bits": security}
    terms = choose(work, tied=True, **ring)

    assert refusal(terms, work) is None
    assert encryption.error_nano(terms) <= error
    tie = terms.tie(parameters)
    # Primes are the largest of their bits: within one of them.
    assert 4 * tie.largest_value << terms.weight_bits <= 1 << (terms.mask_bits - 1)
    keys = encryption.largest_key(terms) << terms.scale_bits
    assert 2 * keys < 1 << (sum(terms.modulus_bits) - 1)
    # Honest values are within what is proven of them, and their noise is, too.
    assert 4 * (terms.levels + tie.tail) <= tie.largest_value
    finer = terms.model_copy(update={"levels": 2 * terms.levels + tie.tail})
    assert refusal(finer, work) is not None or terms.levels == 1 << 44


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mask_bits": 80}, "masked values does not fit"),
        ({"scale_bits": 112}, "noise reaches the masks' keys"),
        ({"modulus_bits": (48, 48, 48)}, "does not fit into the modulus"),
        ({"weight_bits": 14}, "does not fit"),
        ({"tied": False}, "more than 48 bits"),
    ],
)
def test_terms_of_tied_updates_that_do_not_do_are_refused(
    changes: dict[str, object], why: str
) -> None:
    terms = choose(WORK, clip_micro=8_000_000, error_nano=10_000, tied=True)
    refused = refusal(terms.model_copy(update=changes), WORK)

    assert refused is not None
    assert why in refused


@given(weight_bits=st.integers(1, 14), first=st.integers(1, 2**14), second=st.integers(1, 2**14))
def test_what_a_sum_of_two_keys_leaves_open_is_as_wide_as_a_ring_s_error(
    weight_bits: int, first: int, second: int
) -> None:
    total = 1 << weight_bits
    first, second = 1 + first % total, 1 + second % total
    if first + second > total:
        return
    step = sqrt(first**2 + second**2) / gcd(first, second)

    assert encryption.mask_deviation(weight_bits) / step >= 3.2


@pytest.mark.parametrize("parameters", [62, 3_500_000, 10**9])
def test_the_largest_models_reach_the_largest_distance(parameters: int) -> None:
    work = Workload(64, 64, parameters, 10_000)
    terms = choose(
        work, clip_micro=8_000_000, error_nano=10_000, statistical_bits=128, threshold=33
    )

    assert refusal(terms, work) is None
    assert encryption.statistical_bits(terms, work) >= terms.statistical_bits == 128


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(MedFabricError, match=r"MF-6006.*do not hold the error"):
        choose(WORK, clip_micro=8_000_000, error_nano=1)
    with pytest.raises(MedFabricError, match=r"MF-6006.*threshold"):
        choose(WORK, clip_micro=8_000_000, error_nano=10_000, threshold=2)
    with pytest.raises(MedFabricError, match=r"resolution of 10 bits .* 600 updates.*change that"):
        choose(Workload(4, 600, 10, 3), clip_micro=8_000_000, error_nano=10_000)


def test_the_statistical_distance_is_the_formula_s() -> None:
    # sqrt(M) e / 2^(flood + 1), in floating point; 66 answers tell a sixteenth each as much again.
    terms = EncryptionTerms()
    coefficients = 8192 * 6 * (1 + 66 / 16)
    noise = sqrt(64 * 8192 * 4) * (2 * 8192 * 2**23) * 2**terms.weight_bits
    exact = terms.flood_bits + 1 - log2(sqrt(coefficients) * noise)

    assert exact - 1 < encryption.statistical_bits(terms, WORK) <= exact


def test_a_threshold_counts_every_further_attempt() -> None:
    work = Workload(64, 64, 62, 6)
    all_of_them = encryption.statistical_bits(EncryptionTerms(), work)
    some = encryption.statistical_bits(EncryptionTerms(threshold=33), work)

    # 65 sets of key holders at most, where all together prove their shares once: a twelfth of that.
    assert all_of_them - some in (1, 2)


@pytest.mark.parametrize("hospitals", [2, 4, 7])
def test_whatever_can_be_proven_of_shares_is_far_below_the_masks_keys(hospitals: int) -> None:
    """Nine times as much flooding noise as an honest hospital's is, and long secrets."""
    terms, work = EncryptionTerms(), Workload(hospitals, 4, 62, 1)
    noise = encryption.largest_noise(terms, hospitals, hospitals)

    assert noise > hospitals * 9 * encryption.largest_flood(terms.flood_bits)
    assert 2 * noise < 1 << (terms.scale_bits + 1)
    assert refusal(terms, work) is None
    assert "reaches the masks' keys" in (refusal(terms, Workload(8, 4, 62, 1)) or "")
