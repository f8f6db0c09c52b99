"""The bound on a mean update's norm lets honest noise and drift pass, and little more."""

from __future__ import annotations

import numpy as np
import pytest

from chaincode.schema import clipping, norms
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import DeviceTerms, HospitalTerms, PrivacyTerms, TrainingTerms

TRAINING = TrainingTerms(
    strategy="fedavg", rounds=6, steps=10, batch_size=20, learning_rate_micro=2_000_000
)
PRIVACY = PrivacyTerms(
    epsilon_micro=3_000_000,
    delta_nano=10_000,
    noise_multiplier_micro=4_000_000,
    sample_clip_micro=500_000,
)


@pytest.mark.parametrize("weights", [[1] * 4, [7, 1, 1, 3], [1024]])
@pytest.mark.parametrize("clip", [1.5, 100.0])
def test_honest_means_keep_within_the_bound_and_it_is_no_wider_than_it_must_be(
    weights: list[int], clip: float
) -> None:
    draw = np.random.default_rng(len(weights))
    terms = NormTerms(drift_micro=3_000_000, noise_micro=500_000)
    bound = norms.bound_nano(terms, 400, weights) / 1e9
    drift = np.zeros(400)
    drift[:9] = 1.0

    lengths = []
    for _ in range(300):
        honest = np.clip(drift + draw.normal(0, 0.5, (len(weights), 400)), -clip, clip)
        lengths.append(np.linalg.norm(np.average(honest, axis=0, weights=weights)))

    assert max(lengths) < bound
    # 400 values, six deviations in each of two places: (1 + 6/20) of the noise, and the drift.
    assert bound < 1.5 * float(np.median(lengths)) or clip < 2


def test_more_updates_leave_less_room() -> None:
    terms = NormTerms(drift_micro=0, noise_micro=1_000_000)

    one, four = (norms.bound_nano(terms, 10_000, [1] * count) for count in (1, 4))

    assert one == pytest.approx(106e9, rel=1e-5)
    assert four == pytest.approx(53e9, rel=1e-5)


def test_terms_follow_from_the_training_of_the_widest_class_of_devices() -> None:
    # Ten steps of 2 x 0.5, a quarter of it; noise 2 x 0.5 x 4 / 20 x sqrt(10).
    assert clipping.norm_terms(TRAINING, PRIVACY) == NormTerms(
        drift_micro=2_500_000, noise_micro=632_455
    )
    longer = DeviceTerms(device="server", steps=40, batch_size=20)
    both = TRAINING.model_copy(update={"devices": (longer,)})
    assert clipping.norm_terms(both, PRIVACY) == NormTerms(
        drift_micro=10_000_000, noise_micro=1_264_911
    )
    heavy = TRAINING.model_copy(update={"momentum_micro": 500_000, "steps": 2})
    assert clipping.norm_terms(heavy, PRIVACY).drift_micro == 625_000


def test_terms_of_hidden_hospitals_are_those_of_their_norm_and_noise() -> None:
    hidden = HospitalTerms(
        norm_levels=1000, noise_levels=200, epsilon_micro=1_000_000, delta_nano=10_000
    )
    privacy = PRIVACY.model_copy(update={"hospital": hidden})
    encryption = EncryptionTerms(clip_micro=5_000_000, levels=10_000)

    assert clipping.norm_terms(TRAINING, privacy, encryption) == NormTerms(
        drift_micro=500_000, noise_micro=100_000
    )
