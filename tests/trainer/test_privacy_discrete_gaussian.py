"""Discrete Gaussian noise: its distribution, its sums, and the integers that it is added to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.accounting import MOST_SUMMED_NOISE
from chaincode.schema.errors import MedFabricError
from trainer.privacy.discrete_gaussian import clipped, noised, sample, squares
from trainer.privacy.quantised import whole
from trainer.privacy.sampling import Stream, fresh


@pytest.mark.parametrize("deviation", [1, 2, 7, 60])
def test_every_value_is_drawn_as_often_as_its_probability(deviation: int) -> None:
    number, reach = 200_000, 4 * deviation
    support = np.arange(-40 * deviation, 40 * deviation + 1)
    weights = np.exp(-(support.astype(float) ** 2) / (2 * deviation**2))
    inside = np.abs(support) <= reach
    wanted = number * weights[inside] / weights.sum()

    drawn = sample(deviation, number, Stream(b"g" * 32))

    counted = np.array([(drawn == value).sum() for value in support[inside]])
    chi_square = ((counted - wanted) ** 2 / wanted).sum()
    # Of 2 reach + 1 values; six deviations of the statistic.
    assert chi_square < 2 * reach + 1 + 6 * math.sqrt(2 * (2 * reach + 1))


@pytest.mark.parametrize("deviation", [1000, MOST_SUMMED_NOISE])
def test_mean_deviation_and_tails_are_right_up_to_the_largest_noise(deviation: int) -> None:
    drawn = sample(deviation, 100_000, Stream(b"e" * 32)) / deviation

    assert abs(drawn.mean()) < 0.02
    assert drawn.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(drawn) > 3).mean() == pytest.approx(0.0027, abs=0.002)
    assert np.abs(drawn).max() < 7


def test_noise_is_new_each_time_and_follows_from_its_stream_alone() -> None:
    assert (sample(50, 100, Stream(b"a" * 32)) == sample(50, 100, Stream(b"a" * 32))).all()
    assert (sample(50, 100, fresh()) != sample(50, 100, fresh())).any()


@pytest.mark.parametrize("deviation", [0, -1, MOST_SUMMED_NOISE + 1])
def test_noise_out_of_range_is_refused(deviation: int) -> None:
    with pytest.raises(ValueError, match="whole number"):
        sample(deviation, 1, fresh())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 2**31 - 1),
    st.lists(st.floats(-1e12, 1e12, allow_nan=False), min_size=1, max_size=50),
)
def test_rounding_never_adds_to_the_norm(norm: int, values: list[float]) -> None:
    vector = np.array(values)

    result = clipped(vector, norm)

    assert sum(int(value) ** 2 for value in result) == squares(result) <= norm * norm
    if np.linalg.norm(vector) <= norm * (1 - 1e-9):
        assert (result == np.trunc(vector)).all()


def test_a_long_update_keeps_its_direction() -> None:
    vector = np.random.default_rng(0).normal(0, 1e6, 1000)

    result = clipped(vector, 100_000)

    assert np.linalg.norm(result) == pytest.approx(100_000, rel=1e-3)
    assert np.corrcoef(result, vector)[0, 1] > 0.9999


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(MedFabricError, match="MF-6005"):
        clipped(np.array([value, 0.0]), 10)


def test_what_is_noised_are_whole_levels_that_the_encryption_keeps_as_they_are() -> None:
    clip, levels = 8.0, 2**24
    values = np.random.default_rng(1).normal(0, 0.01, 5000)

    given_out = noised(values, clip / levels, 2**20, 2**18, Stream(b"n" * 32))

    encrypted = whole(given_out, clip, levels)
    assert np.abs(encrypted).max() < levels
    exact = clipped(values * levels / clip, 2**20) + sample(2**18, 5000, Stream(b"n" * 32))
    assert (encrypted == exact).all()
