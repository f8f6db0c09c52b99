"""Strategies: the steps of their papers, the same bytes everywhere; others by entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from chaincode.schema.errors import MedFabricError
from chaincode.schema.strategies import SETTINGS, problem
from trainer import strategies

DRAW = np.random.default_rng(8)
BASE = DRAW.normal(size=50).astype(np.float32)
MEANS = DRAW.normal(scale=0.1, size=(4, 50))
CHOSEN = {
    "fedavg": {},
    "fedsgd": {},
    "fedprox": {"mu": 100_000},
    "fedavgm": {"server_rate": 700_000, "momentum": 900_000},
    "fedadam": {"server_rate": 20_000, "beta1": 900_000, "beta2": 990_000, "tau": 1_000},
}


def after(name: str) -> np.ndarray:
    strategy = strategies.find(name)
    weights, state = BASE, {slot: np.zeros_like(BASE) for slot in strategy.slots}
    for mean in MEANS:
        weights, state = strategy.step(weights, state, mean, CHOSEN[name])
        assert weights.dtype == np.float32
        assert state.keys() == set(strategy.slots)
        assert all(array.dtype == np.float32 for array in state.values())
    return weights


@pytest.mark.parametrize("name", ["fedavg", "fedsgd", "fedprox"])
def test_averaging_moves_by_the_mean_updates(name: str) -> None:
    assert np.allclose(after(name), BASE + MEANS.sum(0), atol=1e-6)


def test_momentum_is_that_of_torch_with_the_mean_update_as_gradient() -> None:
    parameter = torch.nn.Parameter(torch.from_numpy(BASE.copy()))
    optimizer = torch.optim.SGD([parameter], lr=0.7, momentum=0.9)
    for mean in MEANS:
        parameter.grad = torch.from_numpy(-mean.astype(np.float32))
        optimizer.step()

    assert np.allclose(after("fedavgm"), parameter.detach().numpy(), atol=1e-6)


def test_adam_is_the_papers() -> None:
    weights, first, second = BASE.astype(np.float64), 0.0, 0.0
    for mean in MEANS:
        first = 0.9 * first + 0.1 * mean
        second = 0.99 * second + 0.01 * mean**2
        weights = weights + 0.02 * first / (np.sqrt(second) + 0.001)

    assert np.allclose(after("fedadam"), weights, atol=1e-5)


@pytest.fixture(scope="module")
def elsewhere() -> dict[str, str]:
    """What another interpreter gets, by strategy."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_strategies as t;"
        "print(*(f'{name} {t.after(name).tobytes().hex()}' for name in t.CHOSEN), sep='\\n')"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    other = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"OMP_NUM_THREADS": "2"}
    )
    return dict(line.split() for line in other.stdout.splitlines())


@pytest.mark.parametrize("name", sorted(CHOSEN))
def test_every_interpreter_gets_the_same_bytes(name: str, elsewhere: dict[str, str]) -> None:
    assert elsewhere[name] == after(name).tobytes().hex()


def test_contracts_know_our_settings_and_their_bounds() -> None:
    assert SETTINGS.keys() == CHOSEN.keys()
    for name, settings in CHOSEN.items():
        assert problem(name, settings) is None
        for setting in settings:
            least, most = SETTINGS[name][setting]
            assert problem(name, {**settings, setting: least - 1})
            assert problem(name, {**settings, setting: most + 1})


def test_strategy_of_another_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[medfabric.strategies]\nhalf-step = theirs:HALF\nno-strategy = theirs:NUMBER\n"
        "gone = nowhere:HALF\n"
    )
    (tmp_path / "theirs.py").write_text(
        "from trainer.strategies.strategy import Strategy, moved\n"
        "HALF, NUMBER = Strategy(lambda w, s, mean, _: (moved(w, mean / 2), s)), 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    weights, _ = strategies.find("half-step").step(BASE, {}, MEANS[0], {})

    assert np.allclose(weights, BASE + MEANS[0] / 2, atol=1e-6)
    with pytest.raises(MedFabricError, match=r"MF-9009.*theirs:NUMBER gives no Strategy"):
        strategies.find("no-strategy")
    with pytest.raises(MedFabricError, match=r"MF-9009.*No module named 'nowhere'"):
        strategies.find("gone")


def test_unknown_strategy_is_refused() -> None:
    with pytest.raises(MedFabricError, match=r"MF-9009.*fedadam, fedavg"):
        strategies.find("magic")
