"""Plans that train chosen layers: the others keep their bytes, and are in no update."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import LayerTerms, Participant, PlanTerms, PrivacyTerms, TrainingTerms
from chaincode.schema.strategies import Strategy
from trainer import applications, presets
from trainer.data.records import Records
from trainer.models import registry, weights
from trainer.models.layers import Layers
from trainer.models.values import base_model
from trainer.node.config import ComputeConfig, DataConfig
from trainer.node.learner import Learner
from trainer.node.models import check_architecture
from trainer.progress import Course
from trainer.randomness import Seeds
from trainer.simulation import federated
from trainer.training import parameters, train

CONFIG = {"features": 6, "classes": 2, "hidden": 5}
SHAPES = registry.layout(registry.build("mlp", CONFIG))
"""0.bias 5, 0.weight 30, 2.bias 2, 2.weight 10."""
HEAD = LayerTerms(names=("2",), parameters=12)
PIECES = LayerTerms(names=("2.weight", "0.bias"), parameters=15)
ADAM = {"server_rate": 100_000, "beta1": 900_000, "beta2": 990_000, "tau": 1_000}


def records(number: int = 60) -> Records:
    generator = np.random.default_rng(0)
    values = generator.uniform(-1, 1, (number, 6)).astype(np.float32)
    return Records(values, (values[:, 0] > 0).astype(np.int64))


def terms(layers: LayerTerms | None, **changes: object) -> TrainingTerms:
    return TrainingTerms(
        strategy=Strategy.FEDAVG,
        rounds=2,
        steps=1,
        batch_size=20,
        learning_rate_micro=1_000_000,
        layers=layers,
    ).model_copy(update=changes)


def privacy(noise: float, clip: float) -> PrivacyTerms:
    return PrivacyTerms(
        epsilon_micro=3_000_000,
        delta_nano=10_000,
        noise_multiplier_micro=round(noise * 1e6),
        sample_clip_micro=round(clip * 1e6),
    )


def trained(layers: LayerTerms | None, noise: PrivacyTerms | None, **changes: object) -> np.ndarray:
    model = registry.build("mlp", CONFIG)
    return train(
        model, parameters(model), records(), terms(layers, **changes), noise, Seeds(3)
    ).delta


@pytest.mark.parametrize(
    ("chosen", "places"),
    [
        ((), (slice(0, 47),)),
        (("2",), (slice(35, 47),)),
        (("2.weight", "0.bias"), (slice(0, 5), slice(37, 47))),
    ],
)
def test_what_is_taken_is_put_back_in_its_places(
    chosen: tuple[str, ...], places: tuple[slice, ...]
) -> None:
    values = np.arange(47, dtype=np.float32)

    layers = Layers.of(SHAPES, chosen)
    after = layers.put(values, -layers.taken(values))

    assert layers.places == places
    changed = np.concatenate([values[place] for place in places])
    assert np.array_equal(-after[after < 0], changed[changed > 0])
    assert np.array_equal(after[after >= 0], np.setdiff1d(values, changed[changed > 0]))


@pytest.mark.parametrize("layers", [HEAD, PIECES])
def test_without_noise_the_chosen_layers_learn_what_they_would_with_all(layers: LayerTerms) -> None:
    whole = trained(None, None)

    part = trained(layers, None)

    assert part.shape == (layers.parameters,)
    assert np.allclose(part, Layers.of(SHAPES, layers.names).taken(whole), atol=1e-7)


def test_the_clip_bounds_the_chosen_layers_gradient_alone() -> None:
    # With all layers a record's clip is shared; what is left out of the norm leaves more of it.
    alone = Records(records().features[:1], records().labels[:1])
    model = registry.build("mlp", CONFIG)
    base = parameters(model)

    def norms(layers: LayerTerms | None) -> tuple[float, float]:
        one = terms(layers, batch_size=1)
        delta = train(model, base, alone, one, privacy(0.05, 1e-3), Seeds(1)).delta
        head = delta if layers else Layers.of(SHAPES, HEAD.names).taken(delta)
        return float(np.linalg.norm(delta)), float(np.linalg.norm(head))

    (_, head), (_, shared) = norms(HEAD), norms(None)

    assert head == pytest.approx(1e-3, rel=0.4)
    assert shared < 0.97 * head


def test_noise_of_the_same_deviation_is_on_the_chosen_values() -> None:
    config = {"features": 6, "classes": 2, "hidden": 2000}
    model = registry.build("mlp", config)
    layers = Layers.of(registry.layout(model), ["2"]).terms

    delta = train(
        model, parameters(model), records(), terms(layers), privacy(100, 0.5), Seeds(1)
    ).delta

    assert delta.shape == (4002,)
    assert delta.std() == pytest.approx(100 * 0.5 / 20, rel=0.05)


def test_a_training_of_some_layers_goes_on_where_it_was() -> None:
    kept: list[bytes] = []
    model = registry.build("mlp", CONFIG)

    def run(course: Course) -> np.ndarray:
        training = terms(HEAD, steps=6, momentum_micro=900_000)
        return train(
            model, parameters(model), records(), training, privacy(1, 1), course=course
        ).delta

    whole = run(Course(bytes(32), keep=kept.append, every=0))
    resumed = run(Course(bytes(32), kept=lambda: kept[2]))

    assert resumed.tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "changes", [{}, {"strategy": Strategy.FEDADAM, "settings": ADAM}], ids=["averaging", "adam"]
)
def test_rounds_move_the_chosen_layers_and_no_byte_of_the_others(
    changes: dict[str, object],
) -> None:
    model = registry.build("mlp", CONFIG)
    base = parameters(model)
    hospitals = [records(40), records(60)]

    rounds = list(federated(model, hospitals, terms(HEAD, **changes), privacy(1, 1), seed=1))

    for after, _ in rounds:
        assert after[:35].tobytes() == base[:35].tobytes()
        assert (after[35:] != base[35:]).all()


def test_what_the_architecture_has_frozen_stays_so() -> None:
    model = registry.build("mlp", CONFIG)
    model[2].bias.requires_grad_(False)

    Layers.of(SHAPES, ["2"]).freeze_others(model)

    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["2.weight"]
    with pytest.raises(MedFabricError, match="MF-9007"):
        Layers.of(SHAPES, ["2.bias"]).freeze_others(model)


def test_a_strategy_carries_the_chosen_values_alone() -> None:
    values, moments = np.zeros(47, np.float32), np.arange(12, dtype=np.float32)
    state = {"first": moments, "second": moments + 1}

    content = weights.encode(values, SHAPES, state)
    read, found = weights.decode(content, SHAPES, ["first", "second"], 12)

    assert np.array_equal(read, values)
    assert {slot: array.tolist() for slot, array in found.items()} == {
        slot: array.tolist() for slot, array in state.items()
    }
    with pytest.raises(MedFabricError, match="MF-9003"):
        weights.decode(content, SHAPES, ["first", "second"])
    fresh = weights.decode(weights.encode(values, SHAPES), SHAPES, ["first"], 12)[1]
    assert fresh["first"].shape == (12,)


# a node


class _Opened(NamedTuple):
    training: Records
    validation: Records
    test: Records


def _plan(layers: LayerTerms | None) -> tuple[PlanTerms, bytes]:
    """The deterioration application's plan under FedAdam, and its base model's file."""
    application = applications.find("deterioration")
    content, digest, parameters = base_model(application.architecture, dict(application.config))
    sha256 = hashlib.sha256(content).hexdigest()
    plan = presets.plan(
        "plan",
        application,
        ContentRef(cid="abc", sha256=sha256, size_bytes=len(content)),
        digest,
        parameters,
        tuple(
            Participant(msp_id=f"Hospital{n}MSP", node_id="node1", dataset_id=f"data{n}")
            for n in range(1, 5)
        ),
        [60],
        layers=layers,
    )
    adam = {"strategy": Strategy.FEDADAM, "settings": ADAM}
    return plan.model_copy(update={"training": plan.training.model_copy(update=adam)}), content


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch) -> Callable[[PlanTerms], Learner]:
    """A node's, on made-up records."""
    generator = np.random.default_rng(2)
    values = generator.uniform(-1, 1, (60, 14)).astype(np.float32)
    found = Records(values, (values[:, 0] > 0).astype(np.int64))
    monkeypatch.setattr(
        "trainer.node.learner.open_recorded",
        lambda *_: _Opened(found, found.take([0, 1, 2]), found.take([])),
    )
    source: Any = DataConfig(dataset_id="data1", file=Path("records.csv"))
    return lambda terms: Learner(terms, source, None, ComputeConfig(), "")  # type: ignore[arg-type]


def test_a_node_s_update_and_what_comes_of_it_are_of_the_chosen_layers(
    learner: Callable[[PlanTerms], Learner],
) -> None:
    terms, base = _plan(LayerTerms(names=("2",), parameters=34))
    node = learner(terms)

    delta = node.train(base, Course(bytes(32))).delta
    first = node.apply(base, delta)
    second = node.apply(first, delta)

    shapes = registry.layout(registry.build("mlp", terms.model.config))
    assert delta.shape == (34,)
    assert terms.workload.parameters == terms.trained_parameters == 34
    assert learner(terms).apply(first, delta) == second
    before, _ = weights.decode_of(terms, base, shapes)
    after, state = weights.decode_of(terms, second, shapes)
    frozen = slice(0, before.size - 34)
    assert before[frozen].tobytes() == after[frozen].tobytes()
    assert (before[-34:] != after[-34:]).all()
    assert {slot: carried.shape for slot, carried in state.items()} == {
        "first": (34,),
        "second": (34,),
    }
    assert node.evaluate(second)[1] == 3


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        (LayerTerms(names=("output",), parameters=34), "no layer output; there are 0, 2"),
        (LayerTerms(names=("2",), parameters=33), "34 parameters here, the plan says 33"),
    ],
)
def test_a_node_refuses_layers_that_its_architecture_has_not_before_it_trains(
    layers: LayerTerms, why: str, learner: Callable[[PlanTerms], Learner]
) -> None:
    terms, _ = _plan(layers)

    with pytest.raises(MedFabricError, match=f"MF-9002.*{why}"):
        learner(terms)


def test_check_model_names_layers_and_bytes_of_an_update() -> None:
    wide = CONFIG | {"hidden": 8000}

    _, whole = check_architecture("mlp", wide)
    _, head = check_architecture("mlp", wide, layers=["2"])

    assert whole["layers"] == [
        {"layer": "0", "parameters": 56_000},
        {"layer": "2", "parameters": 16_002},
    ]
    assert whole["training_layers"] is None
    assert head["training_layers"] == {"names": ["2"], "parameters": 16_002}
    # 8192 values of 6 bytes to a chunk: 9 chunks and 2.
    assert whole["update_bytes"] - head["update_bytes"] == 7 * 8192 * 6  # type: ignore[operator]
    with pytest.raises(MedFabricError, match=r"MF-9002: no layer 20; there are 0, 2"):
        check_architecture("mlp", wide, layers=["20"])
