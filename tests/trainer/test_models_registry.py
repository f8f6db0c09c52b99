"""Architectures: pinned by hash, bounded, the same initial weights everywhere."""

import pytest

from chaincode.schema.errors import MedFabricError
from trainer.models import registry
from trainer.training import parameters, set_parameters

LOGISTIC = {"features": 3, "classes": 2}
PINNED_LOGISTIC = "59b0e7f231d9a2df3e399fa2425ca463667b43845e61b14ed5feccaff4d6b759"
PINNED_MLP = "a4dd4fdc49c4dda13fd1b9d0b46d1a1b36218b9df5aa9424e7cbbf1fba83c2b0"
PINNED_CNN = "194bef0052e7516f6d69ffc5e18154cec98c1fe427f8cc9739dd4b56d75f2971"
PINNED_HYBRID = "c6fe3c675bb81ab5525a15f09b06f9fd78856cadb35f5141b0b4aa7546b08492"
MLP = {"features": 3, "classes": 2, "hidden": 4}
CNN = {"channels": 1, "height": 8, "width": 6, "classes": 2, "filters": 3}
HYBRID = {"channels": 2, "length": 64, "classes": 2, "filters": 3, "hidden": 4}


def digest(architecture: str, config: dict[str, int]) -> str:
    module = registry.build(architecture, config)
    return registry.sha256(architecture, config, registry.layout(module))


def test_layout_is_sorted_by_name_and_counts_every_parameter() -> None:
    shapes = registry.layout(registry.build("mlp", MLP))

    assert shapes == (
        ("0.bias", (4,)),
        ("0.weight", (4, 3)),
        ("2.bias", (2,)),
        ("2.weight", (2, 4)),
    )
    assert registry.size(shapes) == 4 + 12 + 2 + 8


def test_flattening_and_unflattening_are_inverse() -> None:
    import numpy as np

    module = registry.build("mlp", MLP)
    values = np.arange(26, dtype=np.float32)

    set_parameters(module, values)

    assert np.array_equal(parameters(module), values)
    assert module[0].weight.shape == (4, 3)
    assert module[0].bias.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("logistic", LOGISTIC), ("mlp", MLP), ("cnn", CNN), ("hybrid", HYBRID)],
)
def test_initial_weights_are_the_same_on_every_node(
    architecture: str, config: dict[str, int]
) -> None:
    import torch

    torch.manual_seed(1)
    first = parameters(registry.build(architecture, config))
    torch.manual_seed(2)
    second = parameters(registry.build(architecture, config))

    assert first.tobytes() == second.tobytes()


def test_hash_is_pinned() -> None:
    # Plans on ledgers name these; a change of what is computed needs a new version instead.
    assert digest("logistic", LOGISTIC) == PINNED_LOGISTIC
    assert digest("mlp", MLP) == PINNED_MLP
    assert digest("cnn", CNN) == PINNED_CNN
    assert digest("hybrid", HYBRID) == PINNED_HYBRID


def test_hash_tells_configurations_apart() -> None:
    others = [digest("mlp", {**MLP, name: 5}) for name in MLP]

    assert len({digest("mlp", MLP), *others}) == 4


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(MedFabricError, match=r"MF-9001.*hybrid, logistic, mlp"):
        registry.build("transformer", {})


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"features": 3},
        {**LOGISTIC, "hidden": 1},
        {**LOGISTIC, "features": 0},
        {**LOGISTIC, "features": -3},
        {**LOGISTIC, "classes": 10**9},
    ],
)
def test_configuration_outside_its_bounds_is_refused(config: dict[str, int]) -> None:
    with pytest.raises(MedFabricError, match="MF-9002"):
        registry.build("logistic", config)
