"""Membership and inversion: they succeed without protection, and stay within the theory with it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from chaincode.schema import accounting
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer import attacks
from trainer.data.records import Records
from trainer.models import registry
from trainer.randomness import Seeds
from trainer.training import parameters, train

WIDE = {"features": 200, "classes": 2}
DELTA_NANO = 10_000


def terms(**changes) -> TrainingTerms:
    given = {"strategy": "fedavg", "rounds": 1, "steps": 60, "batch_size": 20}
    return TrainingTerms(**{**given, "learning_rate_micro": 1_000_000, **changes})


def private(training: TrainingTerms, samples: int, epsilon: float) -> PrivacyTerms:
    noise = accounting.calibrate(
        training.batch_size, samples, training.steps, round(epsilon * 1e6), DELTA_NANO
    )
    return PrivacyTerms(
        epsilon_micro=round(epsilon * 1e6),
        delta_nano=DELTA_NANO,
        noise_multiplier_micro=noise,
        sample_clip_micro=1_000_000,
    )


def memorable(number: int, width: int, seed: int) -> Records:
    """Records whose labels follow from nothing: a model can only learn them by heart."""
    draw = np.random.default_rng(seed)
    features = draw.uniform(-1, 1, (number, width)).astype(np.float32)
    return Records(features, draw.integers(0, 2, number))


# Membership.


@pytest.fixture(autouse=True)
def _alone():
    torch.set_num_threads(1)


def test_advantage_is_that_of_the_best_threshold():
    losses = np.array([0.1, 0.2, 0.3, 0.9])

    assert attacks.advantage(losses, losses) == 0
    assert attacks.advantage(losses, losses + 1) == 1
    assert attacks.advantage(losses, np.array([0.25, 0.5, 0.6, 0.7])) == 0.5


def test_the_bound_is_nothing_at_no_loss_and_everything_at_any():
    assert attacks.bound(0, 0) == 0
    assert attacks.bound(50, 0) == pytest.approx(1)
    assert attacks.bound(1, 0) == pytest.approx(np.tanh(0.5))
    assert attacks.bound(0.1, 1e-5) < np.exp(0.1) - 1


def test_members_are_found_without_privacy_and_not_beyond_the_bound_with_it(record_property):
    members, others = memorable(40, 200, 1), memorable(40, 200, 2)
    model, training = registry.build("logistic", WIDE), terms()
    privacy = private(training, 40, 1.0)
    epsilon = attacks.epsilon_of(training, privacy, 40)

    naive = attacks.membership(model, members, others, training, None, 2)
    ours = attacks.membership(model, members, others, training, privacy, 6)

    limit = attacks.bound(epsilon, DELTA_NANO / 1e9)
    for name, value in (("naive", naive), ("private", ours), ("bound", limit)):
        record_property(name, value)
    assert epsilon <= 1
    # What the bound forbids, done; chance alone spares an other here and there.
    assert naive > 0.8 > limit
    assert ours < limit < 0.47


# Inversion.


def test_a_linear_layers_update_is_the_record_without_privacy_and_noise_with_it(record_property):
    records = memorable(1, 40, 4)
    config = {"features": 40, "classes": 2}
    model, training = registry.build("logistic", config), terms(steps=1, batch_size=1)
    base = parameters(model)

    def found(privacy):
        delta = train(model, base, records, training, privacy, Seeds(5)).delta
        bias, weight = np.split(delta, [2])
        return attacks.likeness(
            attacks.linear_input(weight.reshape(2, 40), bias), records.features[0]
        )

    naive, ours = found(None), found(private(training, 1, 3.0))

    record_property("naive", naive)
    record_property("private", ours)
    assert naive > 0.999
    assert abs(ours) < 0.5


def test_an_image_is_found_from_its_gradient_without_privacy_and_not_with_it(record_property):
    from sklearn.datasets import load_digits

    image = (load_digits().data[0] / 8 - 1).astype(np.float32).reshape(1, 1, 8, 8)
    records = Records(image, np.array([0]))
    config = {"channels": 1, "height": 8, "width": 8, "classes": 10, "filters": 6}
    model, training = registry.build("cnn", config), terms(steps=1, batch_size=1)
    base = parameters(model)

    def found(privacy):
        delta = train(model, base, records, training, privacy, Seeds(5)).delta
        # A step is the gradient times the learning rate, downhill.
        gradient = -delta / (training.learning_rate_micro / 1e6)
        guess = attacks.matching_input(copy.deepcopy(model), gradient, (1, 8, 8), 0, 1)
        return attacks.likeness(guess, image)

    naive, ours = found(None), found(private(training, 1, 3.0))

    record_property("naive", naive)
    record_property("private", ours)
    assert naive > 0.9
    assert ours < 0.5
