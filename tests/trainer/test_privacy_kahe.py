"""Masks whose keys add up as the values do, and the whole numbers under them."""

from __future__ import annotations

import numpy as np
import pytest

from chaincode.schema import encryption
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import MedFabricError
from trainer.privacy.kahe import Masks
from trainer.privacy.quantised import whole
from trainer.privacy.sampling import Stream, fresh

TERMS = EncryptionTerms()
PRIME = 281474976546817
WEIGHTS = [1, 300, 200, 500]


@pytest.fixture(scope="module")
def masks() -> Masks:
    return Masks(TERMS, (PRIME,), b"c" * 32)


def _summed(masks: Masks, values: list[np.ndarray], chunk: int) -> tuple[np.ndarray, np.ndarray]:
    stream = fresh()
    keys = [masks.key(stream) for _ in values]
    masked = [
        masks.mask(value, masks.transformed(key), chunk, stream)
        for value, key in zip(values, keys, strict=True)
    ]
    total = sum(weight * key for weight, key in zip(WEIGHTS, keys, strict=True))
    return masks.add(masked, WEIGHTS), masks.transformed(np.asarray(total))


def test_the_sum_of_keys_opens_the_sum_of_values(masks: Masks) -> None:
    values = [np.random.default_rng(i).normal(0, 2, 100) for i in range(4)]
    total, key = _summed(masks, values, 3)

    mean = masks.open(total, key, 3, 100, sum(WEIGHTS))

    error = np.abs(mean - np.average(values, axis=0, weights=WEIGHTS)).max()
    assert 0 < error <= encryption.error_nano(TERMS) * 1e-9


def test_another_chunk_s_mask_or_another_key_opens_nothing(masks: Masks) -> None:
    total, key = _summed(masks, [np.zeros(100)] * 4, 3)
    other = masks.transformed(masks.key(fresh()))

    for wrong in ((key, 4), (other, 3)):
        with pytest.raises(MedFabricError, match="MF-6008"):
            masks.open(total, *wrong, 100, sum(WEIGHTS))


def test_a_value_beyond_the_clip_is_seen_in_the_sum(masks: Masks) -> None:
    total, key = _summed(masks, [np.full(100, 8.0)] * 4, 0)
    total[0, 7] = (total[0, 7] + TERMS.levels) % PRIME

    with pytest.raises(MedFabricError, match="MF-6008"):
        masks.open(total, key, 0, 100, sum(WEIGHTS))


def test_masks_hide_values_as_uniform_numbers_do(masks: Masks) -> None:
    key = masks.transformed(masks.key(fresh()))

    hidden = masks.mask(np.full(8192, 8.0), key, 0, fresh())[0]

    quarters = np.bincount((4 * hidden // PRIME).astype(int), minlength=4)
    assert quarters.min() > 8192 / 4 - 250


@pytest.mark.parametrize("deviation", [1, 3, 3328])
def test_the_discrete_gaussian_is_the_inverse_of_its_cumulative_distribution(
    deviation: int,
) -> None:
    drawn = Stream(b"i" * 32).gaussian(1 << 16, deviation)

    numbers = np.frombuffer(Stream(b"i" * 32).bytes(8 << 16), dtype="<u8")
    sizes = np.exp(-((np.arange(10 * deviation) / deviation) ** 2) / 2)
    sizes[0] /= 2
    cumulative = (np.cumsum(sizes) / sizes.sum() * 2.0**63).astype(np.uint64)
    size = np.searchsorted(cumulative, numbers >> np.uint64(1), side="right")
    off = np.abs(drawn) != size
    # What a sum's last bit moves may come out one off.
    assert off.mean() < 1e-4
    assert np.array_equal(drawn[~off], np.where(numbers & np.uint64(1), -size, size)[~off])


@pytest.mark.parametrize("deviation", [250, 3328])
def test_the_discrete_gaussian_has_the_mean_and_deviation_that_it_should(deviation: int) -> None:
    drawn = Stream(b"g" * 32).gaussian(1 << 18, deviation)

    assert abs(drawn.mean()) < 5 * deviation / 2**9
    assert drawn.std() == pytest.approx(deviation, rel=0.01)
    assert np.abs(drawn).max() <= 10 * deviation
    sizes = np.abs(drawn) / deviation
    assert (sizes < 1).mean() == pytest.approx(0.683, abs=0.005)
    assert (sizes > 3).mean() == pytest.approx(0.0027, abs=0.001)


def test_numbers_of_either_sign_are_as_likely_and_zero_is_not_counted_twice() -> None:
    drawn = Stream(b"z" * 32).gaussian(1 << 18, 2)

    counts = {value: int((drawn == value).sum()) for value in (-1, 0, 1)}
    assert counts[1] == pytest.approx(counts[-1], rel=0.03)
    assert counts[0] == pytest.approx(counts[1] * np.exp(1 / 8), rel=0.03)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(MedFabricError, match="MF-6005"):
        whole(np.array([0.0, bad]), 8.0, 100)


def test_values_become_the_nearest_multiples_within_the_clip() -> None:
    values = np.array([-9.0, -0.04, 0.04, 0.1, 9.0])

    assert whole(values, 8.0, 100).tolist() == [-100, 0, 0, 1, 100]
