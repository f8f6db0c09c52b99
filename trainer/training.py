"""Local training of one round, with differential privacy for every record.

DP-SGD (Abadi et al. 2016) by Opacus under Lightning: Poisson batches at exactly the rate that the
ledger accounts for (Opacus's own loader would round it to 1/batches), per-sample gradients clipped
to the plan's norm, Gaussian noise on their sum. Batches, noise and dropout of every step follow
from the training's key; see :mod:`~trainer.randomness` and :mod:`~trainer.progress`.
"""

from __future__ import annotations

import copy
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from opacus.validators import ModuleValidator
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer import strategies
from trainer.data.records import Records
from trainer.gradients import Hooks
from trainer.models.layers import Layers
from trainer.models.registry import layout
from trainer.models.values import named, parameters, set_parameters, tensors
from trainer.optimizers import NoisyOptimizer, ProximalSGD
from trainer.progress import Checkpoint, Course, Mechanism
from trainer.randomness import Seeds, chosen, source

__all__ = [
    "Compute",
    "Seeds",
    "Trained",
    "evaluate",
    "parameters",
    "set_parameters",
    "sgd",
    "train",
]

Batch = tuple[torch.Tensor, torch.Tensor]

_EVALUATED = 1 << 17
"""Values of records that are evaluated at a time."""


@dataclass(frozen=True)
class Compute:
    """Lightning's accelerator and precision to train with."""

    accelerator: str = "cpu"
    precision: str = "32-true"


@dataclass(frozen=True)
class Trained:
    """What a round's training gives. ``delta``: float64[trained parameters], local model less base.
    ``resumed``: steps that an earlier attempt had done."""

    delta: NDArray[np.float64]
    samples: int
    steps: int
    seconds: float
    resumed: int = 0


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    """A classifier with cross-entropy loss over a batch that may be empty; a LightningModule that
    has a training step of its own keeps its loss.

    Args:
        reached: called after every step with the number of steps behind it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        key: bytes,
        first: int,
        reached: Callable[[int], None],
    ) -> None:
        super().__init__()
        self.model = model
        self._optimizer = optimizer
        self._key = key
        self._step = first
        self._reached = reached

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        torch.manual_seed(int.from_bytes(source(self._key, f"dropout {self._step}")(8), "little"))
        return loss(self.model, batch)

    def on_train_batch_end(self, *_: object) -> None:
        self._step += 1
        self._reached(self._step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """The mean loss over a batch: the model's own, where it is a LightningModule with a training
    step, else cross-entropy."""
    features, labels = batch
    if not len(labels):
        # A Poisson batch may hold no record at all, which not every layer takes.
        return torch.stack([0 * p.sum() for p in model.parameters() if p.requires_grad]).sum()
    if has_own_step(model):
        own = model.training_step(batch, 0)
        return own["loss"] if isinstance(own, dict) else own
    return nn.functional.cross_entropy(model(features), labels)


def has_own_step(model: nn.Module) -> bool:
    """Whether the model is a LightningModule that says itself what its loss is."""
    base = lightning.LightningModule.training_step
    return isinstance(model, lightning.LightningModule) and type(model).training_step is not base


class RecordsDataset(Dataset[Batch]):  # type: ignore[misc]
    """Records as tensors, a whole batch taken at once."""

    def __init__(self, records: Records) -> None:
        self._features = torch.from_numpy(records.features)
        self._labels = torch.from_numpy(records.labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitems__(self, rows: NDArray[np.int64]) -> Batch:
        index = torch.from_numpy(rows)
        return self._features[index], self._labels[index]


class PoissonBatches(Sampler[NDArray[np.int64]]):  # type: ignore[misc]
    """Batches of the steps ``first`` to ``steps``; each takes every record on its own with
    probability expected/samples."""

    def __init__(self, samples: int, expected: int, first: int, steps: int, key: bytes) -> None:
        self._samples = samples
        self._expected = expected
        self._steps = range(first, steps)
        self._key = key

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for step in self._steps:
            draw = source(self._key, f"sampling {step}")
            yield chosen(draw, self._samples, self._expected)


def train(
    model: nn.Module,
    base: NDArray[np.float32],
    records: Records,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seeds: Seeds | None = None,
    *,
    course: Course | None = None,
    compute: Compute | None = None,
) -> Trained:
    """Train ``steps`` optimiser steps from ``base``.

    Args:
        model: of the plan's architecture; stays as it is.
        base: float32[parameters].
        privacy: None trains without clipping and noise, for baselines.
        seeds: fix every random choice, for tests and experiments alone.
        course: of a training that can go on after it was cut off; else its key is fresh.
        compute: None: on one processor core.

    Raises:
        MedFabricError: ``TRAINING_REFUSED`` where the batch is larger than the data set, or the
            model is one whose per-sample gradients do not exist (as with batch normalisation),
            before any step; ``UPDATE_REFUSED`` where the model's own training step ended it;
            ``HOME_DAMAGED`` for a checkpoint that is not this training's.
    """
    if training.batch_size > len(records):
        raise MedFabricError(
            Code.TRAINING_REFUSED,
            f"the plan's batch of {training.batch_size} is larger than this node's data set of "
            f"{len(records)}; offer more records or agree on a smaller batch",
        )
    started = time.monotonic()
    course = course or Course(seeds.key if seeds else os.urandom(32))
    # Opacus leaves its hooks on the module that it trains.
    model = copy.deepcopy(model).train()
    layers = Layers.planned(layout(model), training)
    layers.freeze_others(model)
    set_parameters(model, base)
    optimizer = sgd(model.parameters(), training)
    mechanism = Mechanism(
        samples=len(records),
        batch_size=training.batch_size,
        noise_multiplier_micro=privacy.noise_multiplier_micro if privacy else 0,
    )
    last = course.last(mechanism, base.size)
    first = 0 if last is None else last.steps
    if last is not None:
        _restore(model, optimizer, last)

    def reached(steps: int) -> None:
        course.reached(lambda: _checkpoint(model, optimizer, mechanism, steps))

    if first < training.steps:
        batches = PoissonBatches(
            len(records), training.batch_size, first, training.steps, course.key
        )
        loader = DataLoader(RecordsDataset(records), batch_sampler=batches, collate_fn=_as_taken)
        with _quietly(), torch.random.fork_rng():
            stepping: torch.optim.Optimizer = optimizer
            if privacy is not None:
                stepping = _private(model, optimizer, training, privacy, course.key, first)
            trainer = _trainer(training.steps - first, compute or Compute())
            trainer.fit(Classifier(model, stepping, course.key, first, reached), loader)
            # Hooks and module hold each other: the gradients of a batch would stay for long.
            stepping.zero_grad(set_to_none=True)
        if trainer.global_step != training.steps - first:
            raise MedFabricError(
                Code.UPDATE_REFUSED,
                f"this node's update stays here: training took {first + trainer.global_step} of "
                f"{training.steps} steps; look at the model's own training step",
            )
    after, before = layers.taken(parameters(model)), layers.taken(base)
    delta = after.astype(np.float64) - before.astype(np.float64)
    seconds = time.monotonic() - started
    return Trained(delta, len(records), training.steps, seconds, first)


def evaluate(model: nn.Module, weights: NDArray[np.float32], records: Records) -> tuple[int, int]:
    """Correct predictions and records.

    Args:
        model: of the plan's architecture; stays as it is.
        weights: float32[parameters].
    """
    was_training = model.training
    with torch.no_grad():
        model.eval()
        state = tensors(model, weights)
        predicted = [
            torch.func.functional_call(model, state, (part,)).argmax(dim=1)
            for part in _parts(torch.from_numpy(records.features))
        ]
        model.train(was_training)
    right = torch.cat(predicted).numpy() == records.labels
    return int(right.sum()), len(records)


def _parts(features: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Records to evaluate at a time: what is made of them stays small."""
    each = max(1, features[:1].numel())
    parts: tuple[torch.Tensor, ...] = torch.split(features, max(1, _EVALUATED // each))
    return parts


def sgd(parameters: Iterable[nn.Parameter], training: TrainingTerms) -> ProximalSGD:
    """The optimiser of a plan's training, over parameters as they are where it begins."""
    return ProximalSGD(
        [parameter for parameter in parameters if parameter.requires_grad],
        mu=strategies.find(training.strategy).mu(training.settings),
        lr=training.learning_rate_micro / 1e6,
        momentum=training.momentum_micro / 1e6,
        weight_decay=training.weight_decay_micro / 1e6,
    )


def _checkpoint(
    model: nn.Module, optimizer: ProximalSGD, mechanism: Mechanism, steps: int
) -> Checkpoint:
    carried = [_momentum(optimizer, parameter) for _, parameter in named(model)]
    momentum = None
    if any(buffer is not None for buffer in carried):
        flat = [
            torch.zeros(parameter.numel()) if buffer is None else buffer.reshape(-1).cpu()
            for buffer, (_, parameter) in zip(carried, named(model), strict=True)
        ]
        momentum = np.asarray(torch.cat(flat).numpy().astype(np.float32))
    return Checkpoint(mechanism, steps, parameters(model), momentum)


def _restore(model: nn.Module, optimizer: ProximalSGD, last: Checkpoint) -> None:
    set_parameters(model, last.parameters)
    if last.momentum is not None:
        carried = tensors(model, last.momentum)
        for name, parameter in named(model):
            if parameter.requires_grad:
                optimizer.state[parameter]["momentum_buffer"] = carried[name]


def _momentum(optimizer: ProximalSGD, parameter: nn.Parameter) -> torch.Tensor | None:
    buffer: torch.Tensor | None = optimizer.state.get(parameter, {}).get("momentum_buffer")
    return buffer


def _private(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    training: TrainingTerms,
    privacy: PrivacyTerms,
    key: bytes,
    first: int,
) -> NoisyOptimizer:
    try:
        ModuleValidator.validate(model, strict=True)
        Hooks(model)
    except (NotImplementedError, ValueError) as error:
        raise MedFabricError(
            Code.TRAINING_REFUSED, f"this model cannot be trained with privacy: {error}"
        ) from None
    return NoisyOptimizer(optimizer, privacy, training.batch_size, key, first)


def _trainer(steps: int, compute: Compute) -> lightning.Trainer:
    # No gradient_clip_val: under Opacus Lightning ignores it without a word.
    # Its own environment: on a cluster's node it would take the scheduler's ranks for its own.
    return lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator=compute.accelerator,
        precision=compute.precision,
        devices=1,
        plugins=[LightningEnvironment()],
        logger=False,
        barebones=True,
    )


def _as_taken(batch: Batch) -> Batch:
    return batch


@contextmanager
def _quietly() -> Iterator[None]:
    """Lightning and Opacus advise on the terminal; a node's log is not the place."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
