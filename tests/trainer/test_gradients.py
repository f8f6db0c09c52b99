"""Gradients in factors clip and add up to what a gradient for every record does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleHooks
from opacus.layers import DPLSTM
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from chaincode.schema.plans import PrivacyTerms
from trainer.gradients import Convolved, Factors, Hooks
from trainer.noise import add_normal, normal
from trainer.optimizers import NoisyOptimizer
from trainer.randomness import Seeds, source

CLIP = 0.2
PRIVACY = PrivacyTerms(
    epsilon_micro=1,
    delta_nano=1,
    noise_multiplier_micro=50_000,
    sample_clip_micro=round(CLIP * 1e6),
)


class Twice(nn.Module):
    """One layer that every record passes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.tanh(self.layer(values)))


class Recurrent(nn.Module):
    """Linear layers within the recurrent one, one over the sequence, one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = DPLSTM(2, 4, batch_first=True)
        self.over_time = nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(values.reshape(len(values), 3, 2))
        return self.last(torch.tanh(self.over_time(states))[:, -1])


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5, bias=False), nn.Linear(5, 3))


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def partly_frozen() -> nn.Module:
    model = mlp()
    model[0].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    return model


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 2, 3),
        nn.GroupNorm(1, 2),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def wide() -> nn.Module:
    """Kernels larger than what their norms are made of: strided, padded, dilated, behind a layer
    and first of all."""
    return nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        nn.Conv1d(2, 20, 2, padding=1),
        nn.Tanh(),
        nn.Unflatten(1, (10, 2)),
        nn.Conv2d(10, 12, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2), bias=False),
        nn.Tanh(),
        nn.Unflatten(1, (3, 4)),
        nn.Conv3d(3, 32, (2, 2, 1)),
        nn.Flatten(),
        nn.Linear(192, 3),
    )


def narrow() -> nn.Module:
    """Kernels of which some are in groups, some go round the edge, some are padded by name."""
    return nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        nn.Conv1d(2, 8, 3, padding=1, groups=2),
        nn.Tanh(),
        nn.Conv1d(8, 8, 3, padding=1, padding_mode="circular"),
        nn.Tanh(),
        nn.Conv1d(8, 8, 3, padding="same"),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "mlp": (mlp, {"0.weight", "2.weight", "3.weight"}),
    "partly frozen": (partly_frozen, {"2.weight", "3.weight"}),
    "convolutional": (convolutional, {"4.weight"}),
    "wide": (wide, {"1.weight", "4.weight", "7.weight", "9.weight"}),
    "narrow": (narrow, {"7.weight"}),
    "tied": (tied, {"3.weight"}),
    "twice": (Twice, set()),
    "recurrent": (Recurrent, {"last.weight"}),
}


def passed(hooks: type[GradSampleHooks], make: Callable[[], nn.Module], size: float) -> nn.Module:
    """The model after a backward pass of seven records."""
    torch.manual_seed(3)
    model = make()
    hooks(model)
    values = torch.randn(7, 6) * torch.logspace(-1, 1, 7)[:, None] * size
    nn.functional.cross_entropy(model(values), torch.arange(7) % 3).backward()
    return model


@pytest.mark.parametrize("size", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("kind", MODELS)
def test_clipped_sum_is_that_of_gradients_for_every_record(kind: str, size: float) -> None:
    make, in_factors = MODELS[kind]
    ours, theirs = passed(Hooks, make, size), passed(GradSampleHooks, make, size)
    named = dict(ours.named_parameters())
    factors = (Factors, Convolved)
    found = {n for n, p in named.items() if isinstance(getattr(p, "grad_sample", None), factors)}
    assert found == in_factors

    sgd = torch.optim.SGD(ours.parameters(), lr=1)
    NoisyOptimizer(sgd, PRIVACY, 7, bytes(32), 0).clip_and_accumulate()
    opacus = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=1),
        noise_multiplier=0,
        max_grad_norm=CLIP,
        expected_batch_size=7,
    )
    opacus.clip_and_accumulate()

    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            # To the last places of single precision of what a record may add.
            torch.testing.assert_close(
                named[name].summed_grad, parameter.summed_grad, rtol=1e-5, atol=1e-6 * CLIP
            )


def test_gradient_of_the_mean_is_made_of_the_first_layer_alone() -> None:
    model = passed(Hooks, wide, 1.0)

    assert {n for n, p in model.named_parameters() if p.grad is not None} == {"1.weight", "1.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_norm_of_a_convolutions_gradient_holds_where_places_cancel() -> None:
    torch.manual_seed(5)
    layer = nn.Conv1d(16, 16, 3)
    taken = 1 + 1e-4 * torch.randn(2, 16, 6)
    back = torch.randn(2, 16, 4)
    back[:, :, 3] = -back[:, :, :3].sum(dim=2)

    found = Convolved(layer, back, taken).norms()

    for place in range(2):
        seen = taken[place].double().unfold(1, 3, 1)
        exact = torch.einsum("ot,itk->oik", back[place].double(), seen).norm()
        assert float(found[place]) == pytest.approx(float(exact), rel=1e-6)


def test_norm_makes_products_of_places_in_one_order() -> None:
    layer = nn.Conv2d(40, 60, 3, padding=1)
    gradients = Convolved(layer, torch.randn(2, 60, 16, 16), torch.randn(2, 40, 16, 16))

    with FlopCounterMode(display=False) as counter:
        gradients.norms()

    of_every_pair = 2 * 2 * (60 + 40) * 256**2
    assert counter.get_total_flops() < 0.65 * of_every_pair


@pytest.mark.parametrize("make", [mlp, wide])
def test_record_without_a_finite_gradient_adds_nothing_to_any_parameter(
    make: Callable[[], nn.Module],
) -> None:
    def clipped(model: nn.Module, records: torch.Tensor) -> dict[str, torch.Tensor]:
        Hooks(model)
        nn.functional.cross_entropy(model(records), torch.arange(len(records)) % 3).backward()
        sgd = torch.optim.SGD(model.parameters(), lr=1)
        NoisyOptimizer(sgd, PRIVACY, 7, bytes(32), 0).clip_and_accumulate()
        return {name: parameter.summed_grad for name, parameter in model.named_parameters()}

    torch.manual_seed(3)
    records = torch.randn(6, 6)
    spoilt = records.clone()
    spoilt[5, 2] = math.inf

    torch.manual_seed(4)
    whole = clipped(make(), spoilt)
    torch.manual_seed(4)
    without = clipped(make(), records[:5])

    for name, expected in without.items():
        torch.testing.assert_close(whole[name], expected, rtol=1e-5, atol=1e-6 * CLIP)


def test_noise_is_half_the_sum_of_four_normal_numbers_from_four_uniform_ones() -> None:
    number = 1000
    taken: list[int] = []

    def draw(size: int) -> bytes:
        taken.append(size)
        return source(Seeds(1).key, "test")(size)

    found = normal(draw, number).numpy()

    assert taken == [number * 4 * 8]
    words = np.frombuffer(source(Seeds(1).key, "test")(taken[0]), dtype="<u8").reshape(2, 2, number)
    for i in range(number):
        four = []
        for radius, angle in zip(*words[:, :, i].tolist(), strict=True):
            r = math.sqrt(-2 * math.log(((radius >> 11) + 1) / 2**53))
            turned = 2 * math.pi * (angle >> 11) / 2**53 + math.pi / 4
            four += [r * math.cos(turned), r * math.sin(turned)]
        assert found[i] == pytest.approx(sum(four) / 2, rel=1e-12, abs=1e-13)


def test_noise_is_added_in_double_precision_and_rounded_once() -> None:
    number = 20_000
    values = torch.linspace(-1e3, 1e3, number).view(4, -1)
    expected = values.clone()

    add_normal(values, 1e-4, source(Seeds(2).key, "test"))

    noise = 1e-4 * parts(source(Seeds(2).key, "test"), number)
    assert torch.equal(values, (expected.double() + noise.view(4, -1)).float())


def parts(draw: Callable[[int], bytes], number: int) -> torch.Tensor:
    return torch.cat([normal(draw, min(8192, number - i)) for i in range(0, number, 8192)])
