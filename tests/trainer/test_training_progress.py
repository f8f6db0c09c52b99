"""A training that is cut off goes on as if it had not been: the same batches, the same noise."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from chaincode.schema.strategies import Strategy
from trainer import training
from trainer.data.records import Records
from trainer.models import registry
from trainer.node.courses import Courses
from trainer.node.home import Home
from trainer.progress import Course, Mechanism
from trainer.randomness import Secrets
from trainer.training import Trained, parameters, train

STEPS = 6
KEY = bytes(range(32))
PRIVACY = PrivacyTerms(
    epsilon_micro=3_000_000,
    delta_nano=10_000,
    noise_multiplier_micro=2_000_000,
    sample_clip_micro=500_000,
)
VARIANTS: dict[str, tuple[dict[str, Any], PrivacyTerms | None]] = {
    "private": ({}, PRIVACY),
    "private with momentum": ({"momentum_micro": 900_000}, PRIVACY),
    "proximal with momentum": (
        {"momentum_micro": 500_000, "strategy": Strategy.FEDPROX, "settings": {"mu": 400_000}},
        PRIVACY,
    ),
    "plain": ({"momentum_micro": 900_000}, None),
}


class Cut(Exception):  # noqa: N818
    """What ends a training half-way."""


class Drawer:
    """Keeps checkpoints, and cuts the training off once a number of them is kept."""

    def __init__(self, cut_after: int | None = None) -> None:
        self.content: bytes | None = None
        self.number = 0
        self.cut_after = cut_after

    def keep(self, content: bytes) -> None:
        self.content = content
        self.number += 1
        if self.number == self.cut_after:
            raise Cut

    def course(self, key: bytes = KEY) -> Course:
        return Course(key, lambda: self.content, self.keep, every=0)


def data(number: int = 40) -> Records:
    generator = np.random.default_rng(0)
    values = generator.uniform(-1, 1, (number, 4)).astype(np.float32)
    return Records(values, (values[:, 0] > 0).astype(np.int64))


def run(course: Course, variant: str = "private", records: Records | None = None) -> Trained:
    others, privacy = VARIANTS[variant]
    model = registry.build("mlp", {"features": 4, "classes": 2, "hidden": 3})
    terms = TrainingTerms(
        **{
            "strategy": Strategy.FEDAVG,
            "rounds": 1,
            "steps": STEPS,
            "batch_size": 12,
            "learning_rate_micro": 500_000,
            **others,
        }
    )
    return train(model, parameters(model), records or data(), terms, privacy, course=course)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("after", [1, 3, STEPS])
def test_cut_off_training_ends_in_the_same_bytes(variant: str, after: int) -> None:
    whole = run(Course(KEY), variant)
    drawer = Drawer(cut_after=after)

    with pytest.raises(Cut):
        run(drawer.course(), variant)
    resumed = run(drawer.course(), variant)

    assert resumed.delta.tobytes() == whole.delta.tobytes()
    assert (whole.resumed, resumed.resumed) == (0, after)
    assert drawer.number == STEPS


def test_what_is_drawn_after_a_cut_is_what_would_have_been_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[str, bytes]] = []

    def watched(key: bytes, purpose: str) -> Callable[[int], bytes]:
        draw = source(key, purpose)

        def seen(number: int) -> bytes:
            drawn.append((purpose, draw(number)))
            return drawn[-1][1]

        return seen

    source = training.source
    monkeypatch.setattr(training, "source", watched)
    monkeypatch.setattr("trainer.optimizers.source", watched)
    drawer = Drawer(cut_after=3)
    with pytest.raises(Cut):
        run(drawer.course())
    run(drawer.course())

    by_purpose: dict[str, set[bytes]] = {}
    for purpose, content in drawn:
        by_purpose.setdefault(f"{purpose} {len(content)}", set()).add(content)
    assert all(len(contents) == 1 for contents in by_purpose.values())
    everything = [content for contents in by_purpose.values() for content in contents]
    assert len(set(everything)) == len(everything)


def test_dropout_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_dropout(*_: Any) -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 2)
        )

    monkeypatch.setattr(registry, "build", with_dropout)
    whole = run(Course(KEY))
    drawer = Drawer(cut_after=2)
    with pytest.raises(Cut):
        run(drawer.course())

    assert run(drawer.course()).delta.tobytes() == whole.delta.tobytes()


@pytest.fixture(scope="module")
def kept() -> bytes:
    drawer = Drawer()
    run(drawer.course(), "private with momentum")
    assert drawer.content is not None
    return drawer.content


@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_checkpoint_with_any_byte_changed_is_refused(kept: bytes, place: int, change: int) -> None:
    changed = bytearray(kept)
    changed[place % len(kept)] ^= change
    mechanism = Mechanism(samples=40, batch_size=12, noise_multiplier_micro=2_000_000)

    # A changed count of steps or a changed mechanism is as wrong as a changed weight.
    with pytest.raises(MedFabricError, match="MF-9102"):
        Course(KEY, lambda: bytes(changed)).last(mechanism, 23)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_checkpoint_that_is_cut_short_is_refused(kept: bytes, cut: int) -> None:
    mechanism = Mechanism(samples=40, batch_size=12, noise_multiplier_micro=2_000_000)

    with pytest.raises(MedFabricError, match="MF-9102"):
        Course(KEY, lambda: kept[:cut]).last(mechanism, 23)


@pytest.mark.parametrize(
    ("key", "change", "size"),
    [
        (bytes(32), {}, 23),
        (KEY, {"samples": 41}, 23),
        (KEY, {"noise_multiplier_micro": 1_000_000}, 23),
        (KEY, {}, 22),
    ],
)
def test_checkpoint_of_another_training_is_refused(
    kept: bytes, key: bytes, change: dict[str, int], size: int
) -> None:
    own = {"samples": 40, "batch_size": 12, "noise_multiplier_micro": 2_000_000}
    assert Course(KEY, lambda: kept).last(Mechanism(**own), 23) is not None

    with pytest.raises(MedFabricError, match="MF-9102"):
        Course(key, lambda: kept).last(Mechanism(**{**own, **change}), size)


def test_other_inputs_have_another_key_and_no_noise_covers_two(tmp_path: Path) -> None:
    courses = Courses(Home(tmp_path), Secrets())

    first = courses.of("plan", 1, {"records": "a"})
    again = courses.of("plan", 1, {"records": "a"})
    other = courses.of("plan", 1, {"records": "b"})
    next_round = courses.of("plan", 2, {"records": "a"})

    assert first.key == again.key
    assert len({first.key, other.key, next_round.key}) == 3


def test_checkpoints_and_keys_of_past_trainings_are_gone(tmp_path: Path) -> None:
    courses = Courses(Home(tmp_path), Secrets(), every=0)
    course = courses.of("plan", 1, {})
    assert course.keep is not None
    course.keep(b"half")
    folder = tmp_path / "plans" / "plan"
    assert len(list(folder.iterdir())) == 2

    courses.of("plan", 2, {})
    assert [path.name for path in folder.iterdir()] == ["training-00002-key"]
    courses.end("plan", 2)
    assert not list(folder.iterdir())


def test_training_killed_at_any_step_releases_what_it_would_have(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    home = Home(tmp_path)
    home.close()

    def trained(kill_at: int | None) -> Trained:
        home = Home(tmp_path)
        course = Courses(home, Secrets(), every=0).of("plan", 1, {})
        keep, kept = course.keep, []

        def killing(content: bytes) -> None:
            assert keep is not None
            keep(content)
            kept.append(content)
            if len(kept) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        course.keep = killing
        result = run(course)
        home.close()
        return result

    for kill_at in (1, 2):
        child = os.fork()
        if not child:
            trained(kill_at)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    files = [path for path in (tmp_path / "plans").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}

    resumed = trained(None)

    assert resumed.resumed == 3
    secret = next(path for path in files if path.name.endswith("key")).read_bytes()
    home = Home(tmp_path)
    Courses(home, Secrets()).end("plan", 1)
    home.secret("plan", lambda: secret, "training-00001-key")
    again = run(Courses(home, Secrets()).of("plan", 1, {}))
    assert again.resumed == 0
    assert resumed.delta.tobytes() == again.delta.tobytes()


def test_record_whose_gradient_is_no_number_counts_as_nothing() -> None:
    good = data(20)
    features = good.features.copy()
    features[7] = np.inf
    bad = Records(features, good.labels)

    with pytest.MonkeyPatch.context() as patch:
        # All records are in every batch.
        patch.setattr(training, "chosen", lambda _draw, number, _: np.arange(number))
        with_bad = run(Course(KEY), records=bad).delta
        without = run(Course(KEY), records=good).delta

    assert np.isfinite(with_bad).all()
    # In each step one record at most is there or not: its clip over the batch, times the rate.
    assert np.linalg.norm(with_bad - without) <= STEPS * 0.5 * 0.5 / 12 * 1.5
    assert (with_bad != without).any()
