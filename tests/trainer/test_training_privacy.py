"""Private training: what is clipped, noised and sampled is what the ledger accounts for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chaincode.schema import accounting
from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from chaincode.schema.strategies import Strategy
from trainer import training
from trainer.data.records import Records
from trainer.models import registry
from trainer.noise import normal
from trainer.randomness import Seeds, chosen, source
from trainer.training import Compute, evaluate, parameters, train


def records(number: int, features: int, seed: int = 0) -> Records:
    generator = np.random.default_rng(seed)
    values = generator.uniform(-1, 1, (number, features)).astype(np.float32)
    return Records(values, (values[:, 0] > 0).astype(np.int64))


def terms(batch: int, steps: int = 1, rate: float = 1.0, **others: Any) -> TrainingTerms:
    return TrainingTerms(
        strategy=Strategy.FEDPROX if "settings" in others else Strategy.FEDAVG,
        rounds=1,
        steps=steps,
        batch_size=batch,
        learning_rate_micro=round(rate * 1e6),
        **others,
    )


def privacy(noise: float, clip: float) -> PrivacyTerms:
    return PrivacyTerms(
        epsilon_micro=3_000_000,
        delta_nano=10_000,
        noise_multiplier_micro=round(noise * 1e6),
        sample_clip_micro=round(clip * 1e6),
    )


def start(features: int) -> tuple[training.nn.Module, np.ndarray]:
    model = registry.build("logistic", {"features": features, "classes": 2})
    return model, parameters(model)


@pytest.mark.parametrize("seeds", [None, Seeds(1)])
def test_noise_has_the_deviation_that_the_plan_says(seeds: Seeds | None) -> None:
    model, base = start(4096)
    data = records(50, 4096)

    delta = train(model, base, data, terms(25, rate=2), privacy(100, 0.5), seeds).delta

    # Learning rate times noise times clip over batch; the clipped gradients are far below it.
    assert delta.std() == pytest.approx(2 * 100 * 0.5 / 25, rel=0.05)
    assert abs(delta.mean()) < 6 * delta.std() / delta.size**0.5


def test_one_record_moves_the_update_by_no_more_than_its_clip() -> None:
    model, base = start(8)
    data = records(20, 8)
    features, labels = data.features.copy(), data.labels.copy()
    features[7] *= 1e4
    labels[7] = 1 - labels[7]
    other = Records(features, labels)

    # Every record is in the batch, and the same seed gives the same noise.
    moved, still = (
        train(model, base, some, terms(20), privacy(0.05, 0.5), Seeds(1)).delta
        for some in (other, data)
    )

    distance = np.linalg.norm(moved - still)
    assert 0.5 * 0.5 / 20 < distance <= 2 * 0.5 / 20 * 1.001


def test_step_is_the_gradients_mean_where_nothing_is_clipped() -> None:
    model, base = start(3)
    data = records(40, 3)
    onehot = np.eye(2)[data.labels]
    gradient = (0.5 - onehot).T @ data.features / 40
    bias = (0.5 - onehot).mean(axis=0)
    expected = -0.5 * np.concatenate([bias, gradient.reshape(-1)])

    plain = train(model, base, data, terms(40, rate=0.5), None, Seeds(1)).delta
    private = train(model, base, data, terms(40, rate=0.5), privacy(0.05, 10), Seeds(1)).delta

    assert np.allclose(plain, expected, atol=1e-6)
    assert np.allclose(private, expected, atol=6 * 0.5 * 0.05 * 10 / 40)
    assert not np.allclose(private, expected, atol=1e-6)


def test_same_seed_gives_the_same_bytes_and_no_seed_never_does() -> None:
    model, base = start(5)
    data = records(60, 5)

    def run(seeds: Seeds | None) -> bytes:
        return train(model, base, data, terms(16, 10), privacy(2, 0.5), seeds).delta.tobytes()

    assert run(Seeds(3)) == run(Seeds(3))
    assert len({run(Seeds(3)), run(Seeds(4)), run(None), run(None)}) == 4


def test_training_and_evaluating_leave_the_model_as_it_was() -> None:
    model, base = start(5)

    evaluate(model, base + 1, records(60, 5))
    train(model, base + 1, records(60, 5), terms(16, 3), privacy(2, 0.5), Seeds(0))

    assert parameters(model).tobytes() == base.tobytes()
    assert all(not p._backward_hooks for p in model.parameters())
    assert not model._forward_hooks


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that training takes."""
    sizes: list[int] = []

    def watched(draw: Callable[[int], bytes], number: int, expected: int) -> np.ndarray:
        rows = chosen(draw, number, expected)
        sizes.append(rows.size)
        return rows

    monkeypatch.setattr(training, "chosen", watched)
    return sizes


def test_batches_are_poisson_and_one_for_each_step(batches: list[int]) -> None:
    model, base = start(2)

    trained = train(model, base, records(90, 2), terms(32, 200), privacy(2, 0.5), Seeds(0))

    assert trained.steps == len(batches) == 200
    rate = 32 / 90
    assert np.mean(batches) == pytest.approx(32, abs=6 * (90 * rate * (1 - rate) / 200) ** 0.5)
    assert np.var(batches) == pytest.approx(90 * rate * (1 - rate), rel=0.5)


def test_empty_batch_is_a_step_of_noise_alone(batches: list[int]) -> None:
    model, base = start(2)

    trained = train(model, base, records(40, 2), terms(1, 60), privacy(2, 0.5), Seeds(5))

    assert 0 in batches
    assert np.isfinite(trained.delta).all()


@pytest.mark.parametrize(("number", "expected"), [(3, 1), (91, 32), (10, 9)])
def test_every_record_is_taken_at_the_accounted_rate(number: int, expected: int) -> None:
    draw = source(Seeds(1).key, "test")
    counts = np.zeros(number)
    for _ in range(4000):
        counts[chosen(draw, number, expected)] += 1

    rate = expected / number
    assert np.abs(counts / 4000 - rate).max() < 6 * (rate * (1 - rate) / 4000) ** 0.5
    assert chosen(draw, number, number).tolist() == list(range(number))


def test_normal_numbers_have_the_moments_of_the_normal_law() -> None:
    values = normal(source(Seeds(1).key, "test"), 400_000).numpy()

    moments = [np.mean(values**power) for power in (1, 2, 3, 4, 6)]
    assert moments == pytest.approx([0, 1, 0, 3, 15], abs=0.5, rel=0.03)
    assert abs(moments[0]) < 0.01
    assert abs(moments[1] - 1) < 0.012
    assert abs(np.corrcoef(values[:200_000], values[200_000:])[0, 1]) < 0.015


def test_streams_of_different_purposes_are_different() -> None:
    assert source(Seeds(1).key, "noise")(32) != source(Seeds(1).key, "sampling")(32)
    assert source(Seeds(1).key, "noise")(32) == source(Seeds(1).key, "noise")(32)


def test_batch_larger_than_the_data_set_is_refused() -> None:
    model, base = start(2)

    with pytest.raises(MedFabricError, match="MF-9007"):
        train(model, base, records(10, 2), terms(11), privacy(2, 0.5))


def test_model_without_per_sample_gradients_is_refused() -> None:
    from torch import nn

    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))

    with pytest.raises(MedFabricError, match="MF-9007"):
        train(model, parameters(model), records(10, 2), terms(5), privacy(2, 0.5))


def test_mlp_learns_what_a_line_cannot() -> None:
    model = registry.build("mlp", {"features": 2, "classes": 2, "hidden": 16})
    base = parameters(model)
    data = records(400, 2)
    circle = Records(data.features, (np.linalg.norm(data.features, axis=1) < 0.8).astype(np.int64))

    learning = terms(100, 600, rate=0.5, momentum_micro=900_000)
    trained = train(model, base, circle, learning, None, Seeds(0))

    correct, total = evaluate(model, (base + trained.delta).astype(np.float32), circle)
    assert total == 400
    assert correct > 370


@pytest.mark.parametrize(
    ("batch", "samples", "noise", "steps"),
    [(32, 91, 4.314, 60), (16, 1000, 1.1, 500), (64, 64, 8.0, 40), (1, 400, 0.8, 2000)],
)
def test_ledger_charges_what_opacus_accounts_for(
    batch: int, samples: int, noise: float, steps: int
) -> None:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise, batch / samples, steps)]
    theirs = accountant.get_epsilon(1e-5)

    spent = accounting.rdp_pico(batch, samples, round(noise * 1e6), steps)
    ours = accounting.epsilon_micro(spent, 10_000) / 1e6

    # Opacus also tries orders between the integers: it may find less, never more.
    assert theirs * 0.9999 <= ours <= theirs * 1.02


@pytest.mark.parametrize("private", [False, True])
def test_the_proximal_term_pulls_every_step_back_to_where_training_began(private: bool) -> None:
    model, base = start(3)
    data = records(20, 3)
    noise = privacy(1, 0.5) if private else None
    rate, mu = 0.5, 0.4

    def moved(steps: int, **others: Any) -> np.ndarray:
        return train(model, base, data, terms(20, steps, rate, **others), noise, Seeds(1)).delta

    # With one step, nothing pulls; with two, the second is the plain one from the same place, less
    # rate times mu times the way of the first.
    first, second = moved(1), moved(2)
    pulled = moved(2, settings={"mu": round(mu * 1e6)})

    np.testing.assert_allclose(moved(1, settings={"mu": round(mu * 1e6)}), first, atol=1e-7)
    np.testing.assert_allclose(pulled, second - rate * mu * first, atol=1e-6)


def test_a_strong_proximal_term_keeps_the_update_small() -> None:
    model, base = start(3)
    data = records(50, 3)

    free = train(model, base, data, terms(50, 40, 1.0), None, Seeds(1)).delta
    held = train(
        model, base, data, terms(50, 40, 1.0, settings={"mu": 900_000}), None, Seeds(1)
    ).delta

    assert np.linalg.norm(held) < 0.5 * np.linalg.norm(free)


def test_precision_and_accelerator_pass_through_and_the_clip_still_holds() -> None:
    model = registry.build("mlp", {"features": 8, "classes": 2, "hidden": 4})
    base = parameters(model)
    data = records(20, 8)
    compute = Compute(accelerator="auto", precision="bf16-mixed")

    def moved(compute: Compute | None) -> np.ndarray:
        noise = privacy(0.05, 0.01)
        return train(model, base, data, terms(20), noise, Seeds(1), compute=compute).delta

    half, full = moved(compute), moved(None)

    # One step of 20 records, all of them clipped, and the same noise.
    assert not np.array_equal(half, full)
    assert np.linalg.norm(half - full) < 0.01 * 0.02
    assert np.linalg.norm(half) < 0.01 + 6 * 0.05 * 0.01 / 20 * half.size**0.5
    with pytest.raises(Exception, match="quantum"):
        moved(Compute(accelerator="quantum"))
