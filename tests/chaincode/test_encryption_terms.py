"""Encryption terms: what is refused and why, and what is chosen for a plan's work."""

from __future__ import annotations

from math import log2, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema import encryption
from chaincode.schema.encryption import (
    EncryptionTerms,
    PackingTerms,
    Workload,
    choose,
    lane_bits,
    refusal,
    update_bytes,
)
from chaincode.schema.errors import MedFabricError

WORK = Workload(hospitals=4, updates=4, parameters=62, rounds=6)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"security_bits": 192}, "192-bit secure"),
        ({"modulus_bits": (40, 40, 40)}, "standard allows 109"),
        ({"scale_bits": 84}, "does not fit into the modulus"),
        ({"clip_micro": 200_000_000}, "decoded exactly"),
        ({"flood_bits": 55}, "flooding noise"),
        ({"statistical_bits": 60}, "the plan claims 2^-60"),
        ({"weight_bits": 2}, "weights' resolution"),
        ({"threshold": 2}, "more than half"),
        ({"threshold": 4}, "fewer than all"),
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
    error=st.integers(1_000, 100_000),
    security=st.sampled_from([128, 192, 256]),
    threshold=st.booleans(),
    packed=st.booleans(),
)
def test_what_is_chosen_keeps_every_rule_and_the_error(
    hospitals: int,
    parameters: int,
    rounds: int,
    clip: int,
    error: int,
    security: int,
    threshold: bool,
    packed: bool,
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
        packed=packed,
    )

    assert refusal(terms, work) is None
    assert encryption.error_nano(terms, hospitals) <= error
    assert terms.statistical_bits >= 30


def test_packing_makes_large_updates_smaller_at_the_same_error() -> None:
    work = Workload(64, 64, 3_500_000, 10)
    one, several = (
        choose(work, clip_micro=8_000_000, error_nano=10_000, packed=packed)
        for packed in (False, True)
    )

    assert one.packing is None
    assert several.packing is not None
    assert 2 * update_bytes(several, 3_500_000) < update_bytes(one, 3_500_000)
    assert encryption.error_nano(several, 64) <= 10_000


def test_a_small_model_is_not_packed_into_a_larger_ring() -> None:
    assert choose(WORK, clip_micro=8_000_000, error_nano=10_000).packing is None


PACKED = EncryptionTerms(
    poly_modulus_degree=8192,
    modulus_bits=(48, 48, 48),
    scale_bits=76,
    packing=PackingTerms(levels=2047, per_coefficient=2),
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"packing": PackingTerms(levels=2047, per_coefficient=3)}, "does not fit"),
        ({"packing": PackingTerms(levels=2**24, per_coefficient=2)}, "does not fit"),
        ({"packing": PackingTerms(levels=2**40, per_coefficient=1), "weight_bits": 14}, "exactly"),
        ({"scale_bits": 68}, "noise reaches the packed values"),
    ],
)
def test_packed_values_that_do_not_fit_are_refused(changes: dict[str, object], why: str) -> None:
    assert refusal(PACKED, WORK) is None
    refused = refusal(PACKED.model_copy(update=changes), WORK)

    assert refused is not None
    assert why in refused


@given(levels=st.integers(1, 2**40), bits=st.integers(1, 14))
def test_a_lane_holds_twice_the_largest_sum_and_its_sign(levels: int, bits: int) -> None:
    width = lane_bits(levels, bits)

    assert 2 * (levels << bits) < 1 << (width - 1) <= 4 * (levels << bits)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("parameters", [62, 3_500_000, 10**9])
def test_the_largest_models_reach_the_largest_distance(parameters: int, packed: bool) -> None:
    work = Workload(64, 64, parameters, 10_000)
    terms = choose(
        work,
        clip_micro=8_000_000,
        error_nano=10_000,
        statistical_bits=128,
        threshold=33,
        packed=packed,
    )

    assert refusal(terms, work) is None
    assert encryption.statistical_bits(terms, work) >= terms.statistical_bits == 128


def test_what_cannot_be_is_refused_with_the_reason() -> None:
    with pytest.raises(MedFabricError, match=r"MF-6006.*no ring"):
        choose(WORK, clip_micro=8_000_000, error_nano=1, packed=False)
    with pytest.raises(MedFabricError, match=r"MF-6006.*threshold"):
        choose(WORK, clip_micro=8_000_000, error_nano=10_000, threshold=2)


def test_the_statistical_distance_is_the_formula_s() -> None:
    # sqrt(M) e / 2^(flood + 1), in floating point.
    terms = EncryptionTerms()
    coefficients = 4096 * 6
    noise = sqrt(64 * 4096 * 4) * 2**terms.weight_bits
    exact = terms.flood_bits + 1 - log2(sqrt(coefficients) * noise)

    assert exact - 1 < encryption.statistical_bits(terms, WORK) <= exact


def test_a_threshold_counts_every_further_attempt() -> None:
    work = Workload(64, 64, 62, 6)
    all_of_them = encryption.statistical_bits(EncryptionTerms(), work)
    some = encryption.statistical_bits(EncryptionTerms(threshold=33), work)

    # 32 sets of key holders at most: their coefficients count, by the square root.
    assert all_of_them - some in (2, 3)
