"""Membership and inversion: they succeed without protection, and stay within the theory with it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from chaincode.schema import accounting
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer import applications, attacks, lira, presets
from trainer.data.records import Records
from trainer.models import registry
from trainer.privacy.sampling import Stream
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


# Membership by likelihood ratio.


def test_what_is_found_at_a_rate_of_mistakes_is_counted_beyond_it():
    guess = lira.Guess(np.array([5.0, 3.0, 1.0, 0.0]), np.arange(100) / 50)

    assert guess.found(0.01) == 0.5
    assert guess.found(0.5) == 0.75
    assert guess.advantage == 0.5


def test_at_most_found_is_the_advantages_bound_seen_at_one_rate():
    rates = np.linspace(0, 1, 10_001)
    most = [lira.most_found(1.0, 1e-5, rate) for rate in rates]

    assert lira.most_found(0.0, 0.0, 0.01) == pytest.approx(0.01)
    assert lira.most_found(1.0, 0.0, 0.01) == pytest.approx(0.01 * np.e)
    assert max(most - rates) == pytest.approx(attacks.bound(1.0, 1e-5), abs=1e-4)


def test_shadow_models_are_trained_as_nodes_train(monkeypatch):
    """Every record in every batch, and next to no noise: nothing is left to chance."""
    records, inside = memorable(8, 5, 3), np.ones((2, 8), dtype=bool)
    training = terms(steps=5, batch_size=8, momentum_micro=500_000, learning_rate_micro=700_000)
    quiet = private(training, 8, 1.0).model_copy(update={"noise_multiplier_micro": 1})
    model = registry.build("logistic", {"features": 5, "classes": 2})

    for privacy in (None, quiet.model_copy(update={"sample_clip_micro": 300_000})):
        weights = attacks.released(model, records, training, privacy, 1)
        # At the rate of twice the batch size to all records, every batch is all of them.
        found = lira.confidences(records, inside, training, privacy, 1)
        expected = -np.log(np.expm1(attacks.losses(model, weights, records)))
        assert np.allclose(found, expected, atol=1e-4)
        attacks.set_parameters(model, np.zeros_like(weights))


def test_likelihoods_find_the_misdiagnosed_without_privacy_and_within_the_bound_with_it(
    record_property,
):
    records, wrong = lira.ward(80, 1)
    tuned = applications.find("breast-cancer").tuned
    plan, naive = presets.training(tuned, 40), terms(steps=400, batch_size=40)
    naive = naive.model_copy(update={"learning_rate_micro": 3_000_000})
    shared = {"models": 128, "targets": 128, "seed": 1}

    open_, offline = lira.attack(records, wrong, naive, None, **shared)
    for epsilon in (1.0, 3.0):
        privacy = presets.privacy(tuned, plan, 40, round(epsilon * 1e6))
        guess, _ = lira.attack(records, wrong, plan, privacy, **shared)
        limit = attacks.bound(epsilon, DELTA_NANO / 1e9)
        at_most = lira.most_found(epsilon, DELTA_NANO / 1e9, 0.01)
        for name, value in (("advantage", guess.advantage), ("bound", limit)):
            record_property(f"{name} at epsilon {epsilon:g}", value)
        assert guess.advantage < limit
        # 512 records or so: what chance adds to a share of 0.03 is within 0.03.
        assert guess.found(0.01) < at_most + 0.03

    record_property("naive", open_.advantage)
    strongest = lira.most_found(1.0, DELTA_NANO / 1e9, 0.01)
    assert open_.advantage > 0.6 > attacks.bound(1.0, DELTA_NANO / 1e9)
    assert open_.found(0.01) > 0.3 > 5 * strongest
    assert open_.found(0.01) > offline.found(0.01) > strongest


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


# A whole hospital, from decrypted sums.


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_a_hospital_is_found_in_a_sum_without_noise_and_hardly_with_it(epsilon):
    update = np.random.default_rng(3).normal(0, 500, 62)
    noise = accounting.calibrate_summed(2000, 2, 62, 1, round(epsilon * 1e6), DELTA_NANO)
    alone = (update, 2000, 0, 2, 2000, Stream(b"h" * 32))
    hidden = (update, 2000, noise, 2, 2000, Stream(b"h" * 32))

    assert attacks.hospital_membership(*alone) == 1
    found = attacks.hospital_membership(*hidden)
    # The best of 4000 thresholds, on 2000 draws of each: off by less than 0.06.
    assert 0.02 < found <= attacks.bound(epsilon, 1e-5) + 0.06


def test_the_noise_of_one_hospital_less_than_counted_finds_more():
    update = np.random.default_rng(3).normal(0, 500, 62)
    noise = accounting.calibrate_summed(2000, 4, 62, 1, 8_000_000, DELTA_NANO)

    four, one = (
        attacks.hospital_membership(update, 2000, noise, number, 1000, Stream(b"h" * 32))
        for number in (4, 1)
    )

    assert one > four + 0.1
