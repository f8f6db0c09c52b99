"""Test mode repeats a whole training to the byte; without it no two trainings are alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.networks import KINDS
from support.training import ended, training, until

from chaincode.schema.rounds import RoundStatus
from demo import run as demo
from network.topology import Kind

ROUNDS = 2


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_same_seeds_give_the_same_models_in_test_mode_and_only_there(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, private = (
        _models(tmp_path / name, kind, monkeypatch, seed)
        for name, seed in [("first", 7), ("second", 7), ("private", None)]
    )

    assert len(set(first)) == ROUNDS
    assert first == second
    assert not set(private) & set(first)


def _models(
    folder: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch, seed: int | None
) -> list[str | None]:
    """Addresses of the models that the rounds of one training publish."""

    def node(*args: Any) -> dict[str, object]:
        return {**make(*args), "test_seed": seed}

    make = demo._node
    with monkeypatch.context() as patch:
        patch.setattr(demo, "_node", node)
        with training(folder, kind, ROUNDS, stage_seconds=60, hospitals=2) as run:
            views = [until(run, number, ended) for number in range(1, ROUNDS + 1)]
    assert {view.round.status for view in views} == {RoundStatus.PUBLISHED}
    return [view.round.model_sha256 for view in views]
