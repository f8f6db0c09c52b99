"""Several quantised values in one coefficient: the sum is exact, and what overflows is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.key_holders import KeyHolders, key_holders

from chaincode.schema.encryption import PackingTerms, Workload, choose, error_nano
from chaincode.schema.errors import MedFabricError
from trainer.privacy import KeySecret, Scheme

LEVELS, CLIP, LENGTH = 2047, 8.0, 20_000
PACKING = PackingTerms(levels=LEVELS, per_coefficient=2)
WEIGHTS = (1, 300, 200, 500)
ALL = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def holders() -> KeyHolders:
    return key_holders(parameters=LENGTH, packing=PACKING)


def test_the_mean_is_that_of_the_rounded_values_to_the_bit(holders: KeyHolders) -> None:
    generator = np.random.default_rng(1)
    values = [generator.normal(0, 3, LENGTH) for _ in WEIGHTS]
    aggregate = holders.add([holders.encrypt(value) for value in values], WEIGHTS)

    mean = holders.decrypt(aggregate, ALL, sum(WEIGHTS))

    whole = [np.rint(np.clip(value, -CLIP, CLIP) * (LEVELS / CLIP)) for value in values]
    sums = sum(weight * one for weight, one in zip(WEIGHTS, whole, strict=True))
    assert mean.tobytes() == (sums / float(LEVELS * sum(WEIGHTS)) * CLIP).tobytes()
    exact = np.average([np.clip(value, -CLIP, CLIP) for value in values], axis=0, weights=WEIGHTS)
    assert np.abs(mean - exact).max() <= CLIP / LEVELS / 2


def test_the_largest_values_stay_in_their_lanes(holders: KeyHolders) -> None:
    signs = np.where(np.arange(LENGTH) // 8192 % 2 == 0, 1.0, -1.0)
    aggregate = holders.add([holders.encrypt(1e9 * signs)] * 4, (256,) * 4)

    mean = holders.decrypt(aggregate, ALL, 1024)

    assert (mean == CLIP * signs).all()


def test_an_update_is_smaller_by_the_values_in_a_coefficient(holders: KeyHolders) -> None:
    single = key_holders(parameters=LENGTH)

    # 3 primes instead of 2, but half the coefficients; and the last chunks are filled up.
    assert len(holders.encrypt(np.zeros(LENGTH))) == 52 + 2 * 2 * 8192 * 3 * 6
    assert len(single.encrypt(np.zeros(LENGTH))) == 52 + 5 * 2 * 4096 * 2 * 6


def test_a_sum_beyond_its_lane_does_not_change_the_neighbour_unseen(holders: KeyHolders) -> None:
    # A hospital that encrypts twice the clip: lanes without a free bit would wrap into the next.
    aggregate = holders.add([_beyond(holders, 2)] * 4, (256,) * 4)

    with pytest.raises(MedFabricError, match="MF-6008"):
        holders.decrypt(aggregate, ALL, 1024)


def test_without_a_guard_the_overflow_bends_another_parameter(holders: KeyHolders) -> None:
    """The naive layout: lanes as wide as one value, as if nothing were added."""
    width = (2 * LEVELS).bit_length()
    packed = 4 * (LEVELS + (5 << width))
    first = packed & ((1 << width) - 1)
    first -= (first >> (width - 1)) << width
    second = (packed - first) >> width

    assert (first, second) != (4 * LEVELS, 4 * 5)
    assert second == 4 * 5 + 2


def test_shares_of_another_sum_decode_nothing(holders: KeyHolders) -> None:
    one, other = (holders.encrypt(np.full(LENGTH, value)) for value in (1.0, 2.0))
    shares = [holders.share(point, other, ALL) for point in ALL]

    with pytest.raises(MedFabricError, match="MF-6008"):
        holders.decode(one, shares, 1)


@settings(max_examples=6, deadline=None)
@given(
    error=st.sampled_from([10_000, 1_000_000, 20_000_000]),
    weight_bits=st.integers(4, 14),
    seed=st.integers(0, 1000),
)
def test_what_is_chosen_decodes_within_its_error(error: int, weight_bits: int, seed: int) -> None:
    work = Workload(2, 2, 40_000, 1)
    terms = choose(work, clip_micro=8_000_000, error_nano=error, weight_bits=weight_bits)
    scheme = Scheme(terms, work, b"s" * 32)
    secrets = [KeySecret(bytes([number]) * 32) for number in (1, 2)]
    key = scheme.collective_key([scheme.dealing.make(s, i) for i, s in enumerate(secrets, 1)])
    share_keys = [scheme.share_key(secret, i, ()) for i, secret in enumerate(secrets, 1)]
    holders = KeyHolders(scheme, secrets, [], key, share_keys)
    values = np.random.default_rng(seed).normal(0, 3, 40_000).clip(-CLIP, CLIP)
    weight = 1 << weight_bits
    aggregate = holders.add([holders.encrypt(values)], [weight])

    mean = holders.decrypt(aggregate, (1, 2), weight)

    assert terms.packing is not None
    assert np.abs(mean - values).max() <= error_nano(terms, 2) * 1e-9


def _beyond(holders: KeyHolders, times: int) -> bytes:
    """An update of values ``times`` as large as the clip, by a node that does not clip."""
    packing = holders.scheme._packing
    clip, unit = packing._clip, packing._unit
    packing._clip *= times
    try:
        return holders.encrypt(np.full(LENGTH, clip * times))
    finally:
        packing._clip, packing._unit = clip, unit
