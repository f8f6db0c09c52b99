"""Federated and central training in one process: baselines and experiments, no ledger, no keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chaincode.schema import plans
from chaincode.schema import weights as weighing
from chaincode.schema.plans import PrivacyTerms, SizeTerms, TrainingTerms
from trainer import strategies
from trainer.data.records import Records
from trainer.models.layers import Layers
from trainer.models.registry import layout
from trainer.randomness import Seeds
from trainer.strategies.strategy import State, moved
from trainer.training import parameters, train

FRACTION_BITS = 40
"""Updates are rounded to multiples of 2^-40, as the encryption rounds them."""
_WEIGHT_BITS = 20


def federated(
    model: nn.Module,
    hospitals: Sequence[Records],
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seed: int,
    value_clip: float = np.inf,
    sizes: Sequence[SizeTerms] = (),
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Federated training by the terms' strategy from the model's own weights. Hospitals weigh as on
    the ledger: by samples, none too much.

    Args:
        hospitals: training records of each.
        privacy: None for no protection.
        seed: at least 0; fixes every random choice.
        value_clip: range of an update's values, as the plan's encryption clips them.
        sizes: what larger datasets do instead, as the plan says.

    Yields:
        After each round the global weights, float32[n], and the largest absolute value of an
        update before it was clipped.
    """
    torch.set_num_threads(1)
    strategy = strategies.find(training.strategy)
    weights = parameters(model)
    layers = Layers.planned(layout(model), training)
    trained = layers.taken(weights)
    state: State = {slot: np.zeros_like(trained) for slot in strategy.slots}
    claims = [weighing.Claim(str(n), "", len(one), 1) for n, one in enumerate(hospitals)]
    weighed = weighing.weigh(claims, _WEIGHT_BITS)
    for number in range(training.rounds):
        deltas = updates(model, weights, hospitals, training, privacy, seed, number, sizes)
        fixed = [_fixed_point(np.clip(delta, -value_clip, value_clip)) for delta in deltas]
        mean = np.average(fixed, axis=0, weights=weighed)
        trained, state = strategy.step(layers.taken(weights), state, mean, training.settings)
        weights = layers.put(weights, trained)
        yield weights, float(np.abs(deltas).max())


def updates(
    model: nn.Module,
    weights: NDArray[np.float32],
    hospitals: Sequence[Records],
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seed: int,
    number: int,
    sizes: Sequence[SizeTerms] = (),
) -> list[NDArray[np.float64]]:
    """Every hospital's update of one round, from the same weights: float64[m] each,
    of the parameters that are trained.

    Args:
        number: of the round, from 0; with the seed it fixes every random choice.
    """
    found = []
    for place, records in enumerate(hospitals):
        seeds = Seeds((seed * training.rounds + number) * len(hospitals) + place)
        own, noise = training, privacy
        if privacy is not None:
            own, noise = plans.work(training, privacy, sizes, len(records))
        found.append(train(model, weights, records, own, noise, seeds).delta)
    return found


def centralised(
    model: nn.Module, hospitals: Sequence[Records], training: TrainingTerms, seed: int
) -> NDArray[np.float32]:
    """Unprotected training on all hospitals' records at once, as many steps as all rounds have.

    Returns:
        The weights: float32[n].
    """
    torch.set_num_threads(1)
    whole = training.model_copy(update={"steps": training.steps * training.rounds})
    start = parameters(model)
    return moved(start, train(model, start, pooled(hospitals), whole, None, Seeds(seed)).delta)


def pooled(hospitals: Sequence[Records]) -> Records:
    """All hospitals' records together."""
    return Records(
        np.concatenate([records.features for records in hospitals]),
        np.concatenate([records.labels for records in hospitals]),
    )


def _fixed_point(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(values * 2.0**FRACTION_BITS) * 2.0**-FRACTION_BITS
