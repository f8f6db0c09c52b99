"""Batch and noise for datasets of different sizes, and the clip that goes with them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema import accounting, clipping, sizes
from chaincode.schema.plans import (
    MOST_SIZES,
    DeviceTerms,
    PrivacyTerms,
    SizeTerms,
    TrainingTerms,
    work,
)
from chaincode.schema.strategies import Strategy

TRAINING = TrainingTerms(
    strategy=Strategy.FEDAVG, rounds=4, steps=5, batch_size=7, learning_rate_micro=500_000
)
PRIVACY = PrivacyTerms(
    epsilon_micro=3_000_000,
    delta_nano=10_000,
    noise_multiplier_micro=6_000_000,
    sample_clip_micro=1_000_000,
)
MIDDLE = SizeTerms(least_samples=100, batch_size=40, noise_multiplier_micro=2_000_000)
LARGE = SizeTerms(least_samples=1000, batch_size=90, noise_multiplier_micro=900_000)
BOTH = (LARGE, MIDDLE)
MANY = 10**6


@pytest.mark.parametrize(
    ("samples", "batch", "noise"),
    [
        (99, 7, 6_000_000),
        (100, 40, 2_000_000),
        (999, 40, 2_000_000),
        (1000, 90, 900_000),
        (10**9, 90, 900_000),
    ],
)
def test_a_dataset_does_what_the_largest_class_says_that_it_reaches(
    samples: int, batch: int, noise: int
) -> None:
    training, privacy = work(TRAINING, PRIVACY, BOTH, samples)

    assert (training.batch_size, privacy.noise_multiplier_micro) == (batch, noise)
    assert (training.steps, privacy.epsilon_micro) == (TRAINING.steps, PRIVACY.epsilon_micro)


def test_of_device_and_size_the_smaller_batch_counts() -> None:
    pi = DeviceTerms(device="pi", steps=2, batch_size=5)
    server = DeviceTerms(device="server", steps=9, batch_size=500)
    training = TRAINING.model_copy(update={"devices": (pi, server)})

    weak, _ = work(training, PRIVACY, BOTH, 1000, "pi")
    strong, privacy = work(training, PRIVACY, BOTH, 1000, "server")
    unnamed, _ = work(training, PRIVACY, BOTH, 1000, "laptop")

    assert (weak.batch_size, weak.steps) == (5, 2)
    assert (strong.batch_size, strong.steps) == (90, 9)
    assert (unnamed.batch_size, unnamed.steps) == (90, 5)
    assert privacy.noise_multiplier_micro == 900_000


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=200))
def test_classes_begin_at_the_smallest_dataset_and_lie_apart(samples: list[int]) -> None:
    found = sizes.classes(samples)

    assert found[0] == min(samples)
    assert set(found) <= set(samples)
    assert all(4 * b >= 5 * a for a, b in pairwise(found))
    assert len(found) <= MOST_SIZES + 1


@pytest.mark.parametrize(
    ("least", "more", "wished", "devices"),
    [(2, 0, 1, ()), (3, 1, 200, (12, 1)), (121, 30, 96, (2,)), (3000, 9, 96, ())],
)
def test_all_rounds_keep_every_dataset_of_a_class_within_epsilon(
    least: int, more: int, wished: int, devices: tuple[int, ...]
) -> None:
    classes = tuple(
        DeviceTerms(device=str(n), steps=steps, batch_size=wished)
        for n, steps in enumerate(devices)
    )
    training = TRAINING.model_copy(update={"devices": classes})

    size = sizes.fitted(training, 3_000_000, 10_000, wished, least)

    assert size.batch_size == min(wished, max(1, least // 2))
    for steps in (TRAINING.steps, *devices):
        noise = size.noise_multiplier_micro
        loss = accounting.rdp_pico(size.batch_size, least + more, noise, steps)
        whole = [TRAINING.rounds * each for each in loss]
        assert accounting.epsilon_micro(whole, 10_000) <= 3_000_000


def test_larger_datasets_take_less_noise() -> None:
    found = [sizes.fitted(TRAINING, 3_000_000, 10_000, 96, least) for least in (14, 121, 1117)]

    per_value = [size.noise_multiplier_micro / size.batch_size for size in found]
    assert per_value[0] > 5 * per_value[1] > 25 * per_value[2]


def test_the_clip_is_that_of_the_dataset_in_the_middle_by_weight() -> None:
    own = {
        size: clipping.clip_micro(*work(TRAINING, PRIVACY, BOTH, size), MANY)
        for size in (9, 120, 1200)
    }

    assert sizes.clip_micro(TRAINING, PRIVACY, BOTH, [9, 120, 1100, 1200], MANY) == own[1200]
    assert sizes.clip_micro(TRAINING, PRIVACY, BOTH, [9, 9, 9, 1200], MANY) == own[9]
    # A hospital weighs at most 1.5 parts in k, however large its dataset is.
    assert sizes.clip_micro(TRAINING, PRIVACY, BOTH, [9, 120, 120, 120, 10**6], MANY) == own[120]
    assert sizes.clip_micro(TRAINING, PRIVACY, (), [9, 120, 1200], MANY) == own[9]


def test_the_norm_bound_counts_no_more_noise_than_the_clip_leaves() -> None:
    clip = sizes.clip_micro(TRAINING, PRIVACY, BOTH, [9, 120, 1200], MANY)

    norm = clipping.norm_terms(TRAINING, PRIVACY, sizes=BOTH, clip=clip)

    assert norm.noise_micro == clip < clipping.noise_micro(TRAINING, PRIVACY)
    loose = clipping.norm_terms(TRAINING, PRIVACY, sizes=BOTH)
    assert loose.noise_micro == clipping.noise_micro(TRAINING, PRIVACY)
    assert norm.drift_micro == loose.drift_micro
