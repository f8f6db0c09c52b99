"""Many small trainings at once, for experiments: what :func:`trainer.training.train` gives for each
of them, to the last places of single precision, at a fraction of the cost.

A step is taken for all trainings together, by vector operations over them, without Lightning and
Opacus's hooks, whose cost for one step of a small model is many times that of its arithmetic.
Batches and noise follow from each training's seed as there; trainings of one seed share the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call, grad, vmap

from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer.data.records import Records
from trainer.models.values import named, tensors
from trainer.noise import add_normal
from trainer.randomness import Seeds, chosen, source
from trainer.training import sgd

Stacks = dict[str, torch.Tensor]
"""Every parameter of all trainings: ``float32[trainings, *shape]``."""


def train_together(
    model: nn.Module,
    bases: NDArray[np.float32],
    records: Sequence[Records],
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seeds: Sequence[Seeds],
) -> NDArray[np.float64]:
    """The updates of many trainings, each from its base, on its records, by its seed.

    Args:
        model: of layers that draw nothing at random and train all their parameters.
        bases: float32[trainings, parameters].
        privacy: None for no clipping and no noise.

    Returns:
        float64[trainings, parameters].
    """
    starts = [tensors(model, base) for base in bases]
    names = [name for name, _ in model.named_parameters()]
    weights = {name: nn.Parameter(torch.stack([one[name] for one in starts])) for name in names}
    optimizer = sgd(weights.values(), training)
    for step in range(training.steps):
        batches = _batches(records, training.batch_size, seeds, step)
        gradients, taken = _clipped(model, weights, records, batches, privacy)
        if privacy is None:
            divisor = taken.clamp(min=1)
        else:
            divisor = torch.full_like(taken, training.batch_size)
            _add_noise(gradients, privacy, seeds, step)
        for name, stack in weights.items():
            stack.grad = gradients[name] / _beside(divisor, stack)
        optimizer.step()
    ends = [weights[name].detach().reshape(len(bases), -1) for name, _ in named(model)]
    reached = torch.cat(ends, dim=1).numpy().astype(np.float64)
    return np.asarray(reached - bases.astype(np.float64))


def _batches(
    records: Sequence[Records], expected: int, seeds: Sequence[Seeds], step: int
) -> list[NDArray[np.int64]]:
    drawn: dict[tuple[Seeds, int], NDArray[np.int64]] = {}
    places = [(seed, len(own)) for seed, own in zip(seeds, records, strict=True)]
    for seed, number in set(places):
        drawn[seed, number] = chosen(source(seed.key, f"sampling {step}"), number, expected)
    return [drawn[place] for place in places]


def _clipped(
    model: nn.Module,
    weights: Stacks,
    records: Sequence[Records],
    batches: Sequence[NDArray[np.int64]],
    privacy: PrivacyTerms | None,
) -> tuple[Stacks, torch.Tensor]:
    """Sums of the records' gradients, each clipped; and how many records each training took."""
    longest = max(1, *map(len, batches))
    shape = records[0].features.shape[1:]
    features = np.zeros((len(batches), longest, *shape), np.float32)
    labels = np.zeros((len(batches), longest), np.int64)
    present = np.zeros((len(batches), longest), np.float32)
    for place, (own, rows) in enumerate(zip(records, batches, strict=True)):
        features[place, : len(rows)] = own.features[rows]
        labels[place, : len(rows)] = own.labels[rows]
        present[place, : len(rows)] = 1

    def loss(parameters: Stacks, record: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        scores = functional_call(model, parameters, (record[None],))
        return nn.functional.cross_entropy(scores, label[None])

    every = vmap(vmap(grad(loss), in_dims=(None, 0, 0)))
    frozen = {name: stack.detach() for name, stack in weights.items()}
    found: Stacks = every(frozen, torch.from_numpy(features), torch.from_numpy(labels))
    factors = torch.from_numpy(present)
    if privacy is not None:
        sizes = torch.stack([one.flatten(2).norm(2, dim=2) for one in found.values()]).norm(dim=0)
        factors = factors * (privacy.sample_clip_micro / 1e6 / (sizes + 1e-6)).clamp(max=1.0)
    sums = {name: torch.einsum("tn,tn...->t...", factors, one) for name, one in found.items()}
    return sums, torch.from_numpy(present.sum(axis=1))


def _add_noise(gradients: Stacks, privacy: PrivacyTerms, seeds: Sequence[Seeds], step: int) -> None:
    deviation = privacy.noise_multiplier_micro / 1e6 * privacy.sample_clip_micro / 1e6
    if not deviation:
        return
    shapes = tuple(stack.shape[1:] for stack in gradients.values())
    noises = [_noise(seed, step, deviation, shapes) for seed in seeds]
    for stack, *noise in zip(gradients.values(), *noises, strict=True):
        stack.copy_(stack.double() + torch.stack(noise))


@lru_cache(maxsize=4096)
def _noise(
    seed: Seeds, step: int, deviation: float, shapes: tuple[torch.Size, ...]
) -> tuple[torch.Tensor, ...]:
    """One training's noise of a step, by parameter: ``float64``. Kept, for attack after attack is
    tried on the same trainings."""
    draw = source(seed.key, f"noise {step}")
    made = tuple(torch.zeros(shape, dtype=torch.float64) for shape in shapes)
    for values in made:
        add_normal(values, deviation, draw)
    return made


def _beside(values: torch.Tensor, stack: torch.Tensor) -> torch.Tensor:
    """One value per training, for a division of its parameters."""
    return values.reshape(-1, *[1] * (stack.dim() - 1))
