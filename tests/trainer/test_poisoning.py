"""Attacks do what they say to an undefended mean, and the vote holds those that break the model."""

from __future__ import annotations

import numpy as np
import pytest

from chaincode.schema.plans import TrainingTerms
from trainer import poisoning
from trainer.data.records import Records
from trainer.models import registry
from trainer.poisoning import ATTACKS, Attack, Hospitals, Outcome

MODEL = registry.build("logistic", {"features": 6, "classes": 2})
TERMS = TrainingTerms(
    strategy="fedavg", rounds=3, steps=10, batch_size=20, learning_rate_micro=1_000_000
)


def records(number: int, seed: int) -> Records:
    values = np.random.default_rng(seed).uniform(-1, 1, (number, 6)).astype(np.float32)
    return Records(values, (values[:, 0] + values[:, 4] > 0).astype(np.int64))


HOSPITALS = Hospitals(
    [records(40, place) for place in range(5)],
    [records(20, 10 + place) for place in range(5)],
    frozenset({0}),
)
TEST = records(300, 50)


def attacked(name: str, attack: Attack | None = None, **defence: object) -> Outcome:
    chosen = attack or ATTACKS[name]
    return poisoning.run(MODEL, HOSPITALS, TEST, chosen, TERMS, None, 1, **defence)


def test_scaling_breaks_an_undefended_mean_and_the_vote_keeps_the_model() -> None:
    honest, broken = attacked("none"), attacked("scaling")
    held = attacked("scaling", max_drop=0.1)

    assert honest.accuracy > 0.9
    assert broken.accuracy < 0.5
    assert held.rejected > 0
    assert held.accuracy > broken.accuracy


def test_vote_rejects_no_honest_candidate() -> None:
    assert attacked("none", max_drop=0.1, value_clip=8.0) == attacked("none")


def test_backdoor_takes_hold_of_triggered_records_alone() -> None:
    honest, poisoned = attacked("none"), attacked("backdoor")

    assert poisoned.backdoor > honest.backdoor + 0.2
    assert poisoned.accuracy > 0.6


@pytest.mark.parametrize("rule", [poisoning.median, poisoning.trimmed_mean, poisoning.krum])
def test_rules_in_the_clear_withstand_one_large_update(rule: object) -> None:
    draw = np.random.default_rng(3)
    honest = [draw.normal(1, 0.01, 30) for _ in range(5)]

    combined = rule([np.full(30, -1e6), *honest])  # type: ignore[operator]

    assert np.allclose(combined, 1, atol=0.1)


def test_free_riders_add_nothing_and_colluders_the_same() -> None:
    draw = np.random.default_rng(4)
    updates = [draw.normal(size=8) for _ in range(3)]

    assert not np.any(ATTACKS["free riding"].updates(updates, draw))
    first, *others = ATTACKS["colluding"].updates(updates, draw)
    assert np.allclose(first, -3 * np.mean(updates, axis=0))
    assert all(np.array_equal(first, other) for other in others)
