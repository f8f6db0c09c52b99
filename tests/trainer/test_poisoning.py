"""Attacks do what they say to an undefended mean, and each defence holds what it is there for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer import defences, poisoning
from trainer.data.records import Records
from trainer.defences import DEFENCES, Defence, Setting
from trainer.models import registry
from trainer.poisoning import ATTACKS, Knowledge, Outcome
from trainer.randomness import Seeds
from trainer.together import train_together
from trainer.training import parameters, train

TERMS = TrainingTerms(
    strategy="fedavg", rounds=3, steps=10, batch_size=20, learning_rate_micro=1_000_000
)
PRIVACY = PrivacyTerms(
    epsilon_micro=10_000_000,
    delta_nano=10_000,
    noise_multiplier_micro=1_000_000,
    sample_clip_micro=1_000_000,
)


def records(number: int, seed: int) -> Records:
    values = np.random.default_rng(seed).uniform(-1, 1, (number, 6)).astype(np.float32)
    return Records(values, (values[:, 0] + values[:, 4] > 0).astype(np.int64))


SETTING = Setting(
    model=registry.build("logistic", {"features": 6, "classes": 2}),
    training=TERMS,
    privacy=PRIVACY,
    hospitals=[records(40, place) for place in range(5)],
    validation=[records(20, 10 + place) for place in range(5)],
    attackers=frozenset({0}),
    seed=1,
    least_group=2,
)
TEST = records(300, 50)


def attacked(name: str, **defence: bool) -> Outcome:
    one = {"it": Defence(**defence)}  # type: ignore[arg-type]
    return poisoning.run(SETTING, TEST, ATTACKS[name], one)["it"]


def honest(**defence: bool) -> Outcome:
    one = {"it": Defence(**defence)}  # type: ignore[arg-type]
    setting = replace(SETTING, attackers=frozenset())
    return poisoning.run(setting, TEST, ATTACKS["none"], one)["it"]


@pytest.mark.parametrize("privacy", [PRIVACY, None])
@pytest.mark.parametrize("momentum", [0, 500_000])
def test_many_trainings_at_once_give_each_training_s_update(
    privacy: PrivacyTerms | None, momentum: int
) -> None:
    model = registry.build("mlp", {"features": 6, "classes": 2, "hidden": 5})
    base = parameters(model)
    terms = TERMS.model_copy(update={"momentum_micro": momentum})
    own = [records(40, 1), records(70, 2)]

    together = train_together(
        model, np.stack([base] * 3), [*own, own[0]], terms, privacy, [Seeds(5), Seeds(6), Seeds(5)]
    )

    for place, (those, seed) in enumerate(zip(own, (5, 6), strict=True)):
        alone = train(model, base, those, terms, privacy, Seeds(seed)).delta
        assert np.allclose(together[place], alone, atol=1e-5)
        assert np.abs(alone).max() > 0.1
    assert np.array_equal(together[0], together[2])


def test_scaling_breaks_an_undefended_mean_and_the_clip_keeps_the_model() -> None:
    broken, held = attacked("scaling by -10"), attacked("scaling by -10", clipped=True)

    assert honest().accuracy > 0.85
    assert broken.accuracy < 0.5
    assert held.accuracy > broken.accuracy + 0.2


def test_an_encoder_without_the_clip_exceeds_the_sum_s_range_and_no_round_ends() -> None:
    assert attacked("scaling by -10, past the clip", clipped=True).refused == TERMS.rounds
    assert attacked("filling the sum's range", clipped=True).refused == 0


def test_vote_refuses_a_broken_candidate_and_no_honest_one() -> None:
    held = attacked("scaling by -10", voted=True)

    assert held.refused > 0
    assert held.accuracy > attacked("scaling by -10").accuracy
    assert honest(voted=True) == honest()


def test_cap_holds_who_claims_many_records() -> None:
    name = "colluding, ten times the records claimed"

    assert attacked(name).weight == 10
    assert 1.5 < attacked(name, capped=True).weight < 1.8


def test_group_tests_take_weight_from_who_breaks_the_range_and_leave_the_honest_alike() -> None:
    setting = replace(
        SETTING,
        hospitals=[records(40, place) for place in range(6)],
        validation=[records(20, 10 + place) for place in range(6)],
        training=TERMS.model_copy(update={"rounds": 8}),
    )
    all_at_once = {"it": DEFENCES["all"]}

    found = poisoning.run(setting, TEST, ATTACKS["scaling by -10, past the clip"], all_at_once)

    assert found["it"].weight < 0.8


def test_backdoor_takes_hold_of_triggered_records_alone() -> None:
    poisoned = attacked("backdoor")

    assert poisoned.backdoor > honest().backdoor + 0.2
    assert poisoned.accuracy > 0.6


@pytest.mark.parametrize("rule", [defences.median, defences.trimmed_mean, defences.krum])
def test_rules_in_the_clear_withstand_one_large_update(rule: object) -> None:
    draw = np.random.default_rng(3)
    honest = [draw.normal(1, 0.01, 30) for _ in range(5)]

    combined = rule([np.full(30, -1e6), *honest])  # type: ignore[operator]

    assert np.allclose(combined, 1, atol=0.1)


def test_free_riders_add_nothing_and_colluders_the_same() -> None:
    draw = np.random.default_rng(4)
    known = Knowledge(SETTING, [draw.normal(size=8) for _ in range(3)], [], draw)

    assert not np.any(ATTACKS["free riding"].updates(known))
    first, *others = ATTACKS["colluding"].updates(known)
    assert np.allclose(first, -3 * np.mean(known.trained, axis=0))
    assert all(np.array_equal(first, other) for other in others)


def test_attackers_who_know_the_clip_send_every_value_at_it_against_the_training() -> None:
    quiet = np.array([0.5, -0.1])
    known = Knowledge(SETTING, [np.zeros(2)], [quiet], np.random.default_rng(1))

    (sent,) = ATTACKS["every value at the clip"].updates(known)

    assert np.allclose(sent, [-SETTING.clip, SETTING.clip])
