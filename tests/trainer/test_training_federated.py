"""The breast cancer plan in one process: accurate under its privacy terms, repeatable."""

from pathlib import Path

import numpy as np
import pytest

from chaincode.schema import accounting, clipping, sizes
from chaincode.schema.plans import SizeTerms
from trainer import applications, baselines, presets
from trainer.applications.files import load, write
from trainer.data.records import Records, split
from trainer.models import registry
from trainer.randomness import Seeds
from trainer.simulation import federated, pooled
from trainer.strategies.strategy import moved
from trainer.training import evaluate, parameters, train

WDBC = applications.find("breast-cancer")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Records, Records]]:
    """Training and validation records of four hospitals."""
    hospitals, _ = load(WDBC, write(WDBC, tmp_path_factory.mktemp("wdbc"), 4, seed=77))
    return [split(records, 0.2, seed=77) for records in hospitals]


def test_preset_plan_is_accurate_on_validation_records(
    parts: list[tuple[Records, Records]],
) -> None:
    hospitals = [training for training, _ in parts]
    validation = pooled([validation for _, validation in parts])
    samples = min(map(len, hospitals))
    terms = presets.training(WDBC.tuned, samples)
    privacy = presets.privacy(WDBC.tuned, terms, samples)
    model = registry.build("logistic", {"features": 20, "classes": 2})

    # The plan's clip cuts honest updates, and costs them nothing.
    clip = clipping.clip_micro(terms, privacy, 42) / 1e6

    accuracies = []
    for seed in range(4):
        rounds = list(federated(model, hospitals, terms, privacy, seed, clip))
        assert all(clip < largest < 8 * clip for _, largest in rounds)
        correct, total = evaluate(model, rounds[-1][0], validation)
        accuracies.append(correct / total)

    assert np.mean(accuracies) > 0.93


def test_many_records_are_evaluated_a_few_at_a_time(
    parts: list[tuple[Records, Records]], monkeypatch: pytest.MonkeyPatch
) -> None:
    records = pooled([training for training, _ in parts])
    model = registry.build("logistic", {"features": 20, "classes": 2})
    weights = np.random.default_rng(5).normal(size=parameters(model).shape).astype(np.float32)
    whole = evaluate(model, weights, records)
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))

    monkeypatch.setattr("trainer.training._EVALUATED", 20 * 32)

    assert evaluate(model, weights, records) == whole
    assert (sum(seen), max(seen)) == (len(records), 32)
    nothing = Records(records.features[:0], records.labels[:0])
    assert evaluate(model, weights, nothing) == (0, 0)


def test_a_small_hospital_does_not_set_everybodys_noise(tmp_path: Path) -> None:
    hospitals, _ = load(WDBC, write(WDBC, tmp_path, 4, 2, "quantity"))
    parts = [split(records, 0.2, seed=2) for records in hospitals]
    training, validation = [part for part, _ in parts], pooled([part for _, part in parts])
    samples = [len(records) for records in training]
    assert max(samples) > 10 * min(samples)
    terms = presets.training(WDBC.tuned, min(samples))
    privacy = presets.privacy(WDBC.tuned, terms, min(samples))
    model = registry.build("logistic", {"features": 20, "classes": 2})

    def accuracy(larger: tuple[SizeTerms, ...]) -> float:
        clip = sizes.clip_micro(terms, privacy, larger, samples, 42) / 1e6
        found = []
        for seed in range(3):
            rounds = list(federated(model, training, terms, privacy, seed, clip, larger))
            correct, total = evaluate(model, rounds[-1][0], validation)
            found.append(correct / total)
        return float(np.mean(found))

    fitted, alike = accuracy(presets.sizes(WDBC.tuned, terms, samples)), accuracy(())

    assert fitted > 0.93
    assert fitted > alike + 0.05


@pytest.mark.parametrize("samples", [8, 40, 91, 5000])
def test_preset_noise_keeps_the_plan_within_epsilon(samples: int) -> None:
    terms = presets.training(WDBC.tuned, samples)
    privacy = presets.privacy(WDBC.tuned, terms, samples)

    steps = terms.steps * terms.rounds
    spent = accounting.rdp_pico(terms.batch_size, samples, privacy.noise_multiplier_micro, steps)
    epsilon = accounting.epsilon_micro(spent, privacy.delta_nano)
    assert 0.98 * presets.EPSILON_MICRO < epsilon <= presets.EPSILON_MICRO
    assert terms.batch_size <= samples


def test_round_is_the_mean_of_updates_weighted_by_samples() -> None:
    generator = np.random.default_rng(1)

    def records(number: int) -> Records:
        values = generator.uniform(-1, 1, (number, 3)).astype(np.float32)
        return Records(values, (values[:, 0] > 0).astype(np.int64))

    small, large = records(20), records(60)
    terms = presets.training(WDBC.tuned, 20, rounds=1)
    model = registry.build("logistic", {"features": 3, "classes": 2})
    base = parameters(model)

    ((weights, _),) = federated(model, [small, large], terms, None, seed=0)

    first = train(model, base, small, terms, None, Seeds(0)).delta
    second = train(model, base, large, terms, None, Seeds(1)).delta
    expected = moved(base, (20 * first + 60 * second) / 80)
    assert np.allclose(weights, expected, atol=1e-6)


def test_baselines_are_repeatable_and_give_every_round(
    parts: list[tuple[Records, Records]],
) -> None:
    hospitals = [training for training, _ in parts]
    validation = pooled([validation for _, validation in parts])
    terms = presets.training(WDBC.tuned, min(map(len, hospitals)), rounds=3)

    model = registry.build("logistic", {"features": 20, "classes": 2})

    first = baselines.run(model, hospitals, validation, terms, seed=1)
    again = baselines.run(model, hospitals, validation, terms, seed=1)

    assert first == again
    assert len(first.fedavg) == 3
    assert min(first.centralised, first.fedavg[-1]) > 0.93
