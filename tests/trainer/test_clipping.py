"""The clip that a plan's noise suggests is that of the noise which training really adds."""

from __future__ import annotations

import numpy as np
import pytest

from chaincode.schema import clipping
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer.data.records import Records
from trainer.models import registry
from trainer.randomness import Seeds
from trainer.training import parameters, train


def _terms(momentum_micro: int, steps: int) -> tuple[TrainingTerms, PrivacyTerms]:
    training = TrainingTerms(
        strategy="fedavg",
        rounds=1,
        steps=steps,
        batch_size=10,
        learning_rate_micro=500_000,
        momentum_micro=momentum_micro,
    )
    # So much noise that the records do not show.
    privacy = PrivacyTerms(
        epsilon_micro=1,
        delta_nano=1,
        noise_multiplier_micro=100_000_000,
        sample_clip_micro=200_000,
    )
    return training, privacy


@pytest.mark.parametrize(("momentum_micro", "steps"), [(0, 1), (0, 9), (900_000, 6)])
def test_noise_of_an_update_is_as_computed(momentum_micro: int, steps: int) -> None:
    training, privacy = _terms(momentum_micro, steps)
    model = registry.build("mlp", {"features": 8, "classes": 2, "hidden": 100})
    values = np.random.default_rng(1).uniform(-1, 1, (20, 8)).astype(np.float32)
    records = Records(values, (values[:, 0] > 0).astype(np.int64))

    delta = train(model, parameters(model), records, training, privacy, Seeds(5)).delta

    assert delta.std() == pytest.approx(clipping.noise_micro(training, privacy) / 1e6, rel=0.1)


def test_clip_is_one_and_a_half_times_the_noise_within_bounds() -> None:
    training, privacy = _terms(0, 4)
    quiet = privacy.model_copy(update={"noise_multiplier_micro": 50_000, "sample_clip_micro": 1})
    many = 10**6

    # 0.5 * 0.2 * 100 / 10 * sqrt(4)
    assert clipping.noise_micro(training, privacy) == 2_000_000
    assert clipping.clip_micro(training, privacy, many) == 3_000_000
    loud = privacy.model_copy(update={"noise_multiplier_micro": 10**9})
    assert clipping.clip_micro(training, loud, many) == 8_000_000
    assert clipping.clip_micro(training, quiet, many) == 1


def test_little_noise_does_not_hold_training_back() -> None:
    training, privacy = _terms(0, 4)
    quiet = privacy.model_copy(update={"noise_multiplier_micro": 500_000})

    # The noise's range: 1.5 * 0.5 * 0.2 * 0.5 / 10 * sqrt(4). Of the drift allowed, 0.5 * 0.2 * 4 /
    # 4, a quarter in each of the values.
    assert clipping.clip_micro(training, quiet, 1) == 25_000
    assert clipping.clip_micro(training, quiet, 2) == 17_677
    assert clipping.clip_micro(training, quiet, 4) == 15_000
    at_its_ends = clipping.clip_micro(training, quiet, 2) * 2**0.5
    assert at_its_ends <= clipping.norm_terms(training, quiet).drift_micro / 4
