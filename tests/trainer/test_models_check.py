"""What the check of a model finds, by the layer that it names; and a package that brings models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from support.forked import command
from torch import nn

from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer.data.records import Records
from trainer.models import registry
from trainer.models.check import check, refuse
from trainer.randomness import Seeds
from trainer.training import evaluate, parameters, train

SIGNAL = (4, 8)


class Recurrent(nn.Module):
    """A recurrent layer over a signal's steps."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.out = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(self.layer(x.transpose(1, 2))[0][:, -1])


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), *layers)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(self.attention(x, x, x)[0].mean(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)
        self.second.weight = self.first.weight
        self.out = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(self.second(torch.tanh(self.first(x.flatten(1)))))


class Borrowed(nn.Module):
    """Uses a layer's weights without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(32, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(nn.functional.linear(x.flatten(1), self.inner.weight))


class Centred(nn.Module):
    """Subtracts the batch's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(x.flatten(1) - x.flatten(1).mean(0))


class Counting(nn.Module):
    """Counts the batches that it has seen."""

    seen: torch.Tensor

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.out = nn.Linear(32, 2)
        self.register_buffer("seen", torch.zeros(()), persistent=persistent)

    def forward(self, x: torch.Tensor) -> Any:
        self.seen += 1
        return self.out(x.flatten(1))


class Module(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, **settings: float) -> None:
        super().__init__()
        self.save_hyperparameters(settings)
        self.out = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(x.flatten(1))


class Summed(Module):
    """A loss that is no mean over the batch."""

    def training_step(self, batch: Any, _: int) -> Any:
        return nn.functional.cross_entropy(self(batch[0]), batch[1], reduction="sum")


class Stepping(Module):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Clipping(Module):
    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        pass


def frozen() -> nn.Module:
    model = flat(nn.Linear(32, 4), nn.Linear(4, 2))
    model[1].requires_grad_(False)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "batch norm": (
        lambda: nn.Sequential(
            nn.Conv1d(4, 3, 3), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(18, 2)
        ),
        "1",
        "GroupNorm",
    ),
    "lstm": (lambda: Recurrent(nn.LSTM(4, 3, batch_first=True)), "layer", "DPLSTM"),
    "gru": (lambda: Recurrent(nn.GRU(4, 3, batch_first=True)), "layer", "DPGRU"),
    "rnn": (lambda: Recurrent(nn.RNN(4, 3, batch_first=True)), "layer", "DPRNN"),
    "attention": (Attention, "attention", "DPMultiheadAttention"),
    "instance norm with statistics": (
        lambda: nn.Sequential(
            nn.InstanceNorm1d(4, track_running_stats=True), nn.Flatten(), nn.Linear(32, 2)
        ),
        "0",
        "track_running_stats=False",
    ),
    "lazy": (lambda: flat(nn.LazyLinear(2)), "1", "Linear"),
    "computed weights": (
        lambda: flat(nn.utils.parametrizations.weight_norm(nn.Linear(32, 2))),
        "1",
        "plain layer",
    ),
    "borrowed weights": (Borrowed, "inner.weight", "own forward"),
    "batch mean": (Centred, "(model)", "alone"),
    "kept state": (lambda: Counting(True), "seen", "persistent=False"),
    "state": (lambda: Counting(False), "seen", "no state"),
    "double precision": (lambda: flat(nn.Linear(32, 2)).double(), "1.weight", "float"),
    "not finite": (
        lambda: flat(nn.utils.skip_init(nn.Linear, 32, 2)).apply(_spoil),
        "1.weight",
        "finite",
    ),
    "nothing to train": (lambda: flat(), "(model)", "trained layer"),
    "wrong output": (lambda: flat(nn.Linear(32, 3)), "(model)", "(3, 2)"),
    "wrong input": (lambda: flat(nn.Linear(31, 2)), "(model)", "models.md"),
    "summed loss": (Summed, "out.weight", "averages"),
    "own steps": (Stepping, "(model)", "automatic_optimization"),
    "clip value": (lambda: Module(gradient_clip_val=0.5), "(model)", "sample_clip_micro"),
    "own clipping": (Clipping, "configure_gradient_clipping", "plan's terms"),
}


def _spoil(layer: nn.Module) -> None:
    if isinstance(layer, nn.Linear):
        nn.init.constant_(layer.weight, float("nan"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_named_with_what_to_put_instead(name: str) -> None:
    make, layer, instead = REFUSED[name]

    found = [f for f in check(make(), SIGNAL, 2) if f.refused]

    assert layer in {finding.layer for finding in found}
    assert any(instead in f.instead for f in found if f.layer == layer)
    with pytest.raises(MedFabricError, match="MF-9014") as refused:
        refuse("mine", found)
    assert layer in refused.value.message


@pytest.mark.parametrize(
    ("make", "noted"),
    [
        (lambda: flat(nn.Linear(32, 8), nn.Dropout(0.5), nn.Linear(8, 2)), set()),
        (lambda: Module(), set()),
        (
            lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(32, 2)),
            set(),
        ),
        (frozen, {"1.weight", "1.bias"}),
        (Tied, {"first.weight", "second.weight"}),
    ],
)
def test_what_can_be_trained_passes(make: Callable[[], nn.Module], noted: set[str]) -> None:
    model = make()
    before = parameters(model).tobytes()

    found = check(model, SIGNAL, 2)

    assert {finding.layer for finding in found} == noted
    refuse("mine", found)
    generator = np.random.default_rng(1)
    features = generator.uniform(-1, 1, (30, *SIGNAL)).astype(np.float32)
    records = Records(features, (features[:, 0, 0] > 0).astype(np.int64))
    trained = train(model, parameters(model), records, TERMS, PRIVACY, Seeds(1))
    assert np.isfinite(trained.delta).all()
    assert trained.delta.any()
    assert parameters(model).tobytes() == before


TERMS = TrainingTerms(
    strategy="fedavg", rounds=1, steps=4, batch_size=2, learning_rate_micro=100_000
)
PRIVACY = PrivacyTerms(
    epsilon_micro=3_000_000,
    delta_nano=10_000,
    noise_multiplier_micro=1_000_000,
    sample_clip_micro=1_000_000,
)

_PACKAGE = """
import pytorch_lightning as lightning
import torch
from torch import nn

from trainer.models.architecture import Architecture, start


class Ward(lightning.LightningModule):
    def __init__(self, features, classes, norm):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, 8), norm, nn.ELU(), nn.Linear(8, classes))

    def forward(self, features):
        return self.layers(features)

    def training_step(self, batch, index):
        features, labels = batch
        loss = nn.functional.cross_entropy(self(features), labels, label_smoothing=0.1)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def good(*, features, classes):
    return start(Ward(features, classes, nn.LayerNorm(8)))


def bad(*, features, classes):
    return start(Ward(features, classes, nn.BatchNorm1d(8)))


def shape(config):
    return (config["features"],)


MOST = {"features": 100, "classes": 10}
GOOD = Architecture(1, good, MOST, shape)
BAD = Architecture(1, bad, MOST, shape)
"""
_PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "wardmodels"
version = "1.0"

[project.entry-points."medfabric.architectures"]
ward = "wardmodels:GOOD"
ward-normed = "wardmodels:BAD"
ward-absent = "wardmodels:ABSENT"
ward-shape = "wardmodels:shape"

[tool.setuptools]
py-modules = ["wardmodels"]
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a hospital's own package was built and installed."""
    source, target = tmp_path_factory.mktemp("wardmodels"), tmp_path_factory.mktemp("installed")
    (source / "wardmodels.py").write_text(_PACKAGE)
    (source / "pyproject.toml").write_text(_PROJECT)
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, str(source)], check=True)
    return target


CONFIG = {"features": 4, "classes": 2}


def test_a_package_s_lightning_module_is_trained_with_its_own_loss(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(package))
    model = registry.build("ward", CONFIG)
    features = np.random.default_rng(1).uniform(-1, 1, (200, 4)).astype(np.float32)
    records = Records(features, (features[:, 0] > 0).astype(np.int64))
    terms = TERMS.model_copy(
        update={"steps": 40, "batch_size": 60, "learning_rate_micro": 1_000_000}
    )

    own = train(model, parameters(model), records, terms, PRIVACY, Seeds(1)).delta
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "training_step", lightning.LightningModule.training_step)
        plain = train(model, parameters(model), records, terms, PRIVACY, Seeds(1)).delta

    correct, total = evaluate(model, (parameters(model) + own).astype(np.float32), records)
    assert correct / total > 0.9
    assert not np.array_equal(own, plain)


@pytest.mark.parametrize("name", ["ward-absent", "ward-shape"])
def test_package_that_brings_no_architecture_is_named(
    package: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.syspath_prepend(str(package))

    with pytest.raises(MedFabricError, match=r"MF-9001.*wardmodels:"):
        registry.build(name, CONFIG)


def test_the_command_tells_what_to_put_instead(package: Path) -> None:
    def asked(name: str) -> tuple[int, dict[str, Any], str]:
        words = ["node", "check-model", name, "--json", "--set", "features=4", "--set", "classes=2"]
        done = command(*words, folder=package, environment={"PYTHONPATH": str(package)})
        return done.returncode, json.loads(done.stdout), done.stderr

    code, good, _ = asked("ward")
    assert code == 0
    assert good["parameters"] == 4 * 8 + 8 + 8 + 8 + 8 * 2 + 2
    assert [f["layer"] for f in good["findings"]] == ["configure_optimizers"]
    code, bad, why = asked("ward-normed")
    assert code == 7
    assert "MF-9014" in why
    (finding,) = [f for f in bad["findings"] if f["refused"]]
    assert (finding["layer"], finding["kind"]) == ("layers.1", "BatchNorm1d")
    assert "GroupNorm" in finding["instead"]
