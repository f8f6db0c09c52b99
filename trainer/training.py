"""Local training of one round, with differential privacy for every record.

DP-SGD (Abadi et al. 2016) by Opacus under Lightning: Poisson batches, per-sample gradients clipped
to the plan's norm, Gaussian noise. The noise is drawn from the operating system's generator;
:class:`Seeds` replaces every random choice in tests and experiments, and nowhere else.
"""

from __future__ import annotations

import copy
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer.data.records import Records
from trainer.models.registry import Layout, layout


@dataclass(frozen=True)
class Seeds:
    """Fixes sampling and noise: for tests and experiments alone."""

    value: int


@dataclass(frozen=True)
class Trained:
    """What a round's training gives. ``delta``: float64[parameters], local model less base."""

    delta: NDArray[np.float64]
    samples: int
    steps: int
    seconds: float


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    """A classifier with cross-entropy loss over a batch that may be empty."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model = model
        self._optimizer = optimizer

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        features, labels = batch
        loss = nn.functional.cross_entropy(self.model(features), labels, reduction="sum")
        # A Poisson batch may hold no record at all.
        return loss / max(len(labels), 1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer


class SystemNoiseOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimiser with noise from the operating system's generator (Box-Muller)."""

    def add_noise(self) -> None:
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            noise = torch.from_numpy(_system_normal(parameter.numel())).to(parameter)
            summed = parameter.summed_grad
            parameter.grad = (summed + deviation * noise.view_as(summed)).view_as(parameter)


def train(
    model: nn.Module,
    base: NDArray[np.float32],
    records: Records,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seeds: Seeds | None = None,
) -> Trained:
    """Train ``steps`` optimiser steps from ``base``.

    Args:
        model: of the plan's architecture; stays as it is.
        base: float32[parameters].
        privacy: None trains without protection, for baselines.

    Raises:
        MedFabricError: ``TRAINING_REFUSED`` where the batch is larger than the data set.
    """
    if training.batch_size > len(records):
        raise MedFabricError(
            Code.TRAINING_REFUSED, "the plan's batch is larger than this node's data set"
        )
    started = time.monotonic()
    # Opacus leaves its hooks on the module that it trains.
    model = copy.deepcopy(model)
    set_parameters(model, base)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=training.learning_rate_micro / 1e6,
        momentum=training.momentum_micro / 1e6,
        weight_decay=training.weight_decay_micro / 1e6,
    )
    generator = torch.Generator().manual_seed(_seed(seeds, "sampling"))
    data = TensorDataset(torch.from_numpy(records.features), torch.from_numpy(records.labels))
    loader = DataLoader(data, batch_size=training.batch_size, shuffle=True, generator=generator)
    if privacy is not None:
        optimizer, loader = _private(model, optimizer, loader, privacy, seeds)
    with _quietly():
        _trainer(training.steps).fit(Classifier(model, optimizer), loader)
    delta = parameters(model).astype(np.float64) - base.astype(np.float64)
    return Trained(delta, len(records), training.steps, time.monotonic() - started)


def evaluate(model: nn.Module, weights: NDArray[np.float32], records: Records) -> tuple[int, int]:
    """Correct predictions and records."""
    set_parameters(model, weights)
    with torch.no_grad():
        predicted = model(torch.from_numpy(records.features)).argmax(dim=1)
    return int((predicted.numpy() == records.labels).sum()), len(records)


def parameters(model: nn.Module) -> NDArray[np.float32]:
    """All parameters, flattened in the layout's order: float32[n]."""
    named = dict(model.named_parameters())
    flat = [named[name].detach().reshape(-1) for name, _ in layout(model)]
    return np.asarray(torch.cat(flat).numpy().astype(np.float32))


def set_parameters(model: nn.Module, values: NDArray[np.float32]) -> None:
    """Write flattened parameters into the model."""
    named = dict(model.named_parameters())
    shapes: Layout = layout(model)
    place = 0
    with torch.no_grad():
        for name, shape in shapes:
            count = named[name].numel()
            part = torch.from_numpy(values[place : place + count].copy())
            named[name].copy_(part.view(shape))
            place += count


def _private(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    privacy: PrivacyTerms,
    seeds: Seeds | None,
) -> tuple[torch.optim.Optimizer, DataLoader[Any]]:
    noise = privacy.noise_multiplier_micro / 1e6
    clip = privacy.sample_clip_micro / 1e6
    seeded = torch.Generator().manual_seed(_seed(seeds, "noise"))
    with _quietly():
        engine = PrivacyEngine(accountant="rdp")
        _, private, private_loader = engine.make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=noise,
            max_grad_norm=clip,
            poisson_sampling=True,
            noise_generator=seeded,
            wrap_model=False,
        )
    if seeds is None:
        private = SystemNoiseOptimizer(
            optimizer,
            noise_multiplier=noise,
            max_grad_norm=clip,
            expected_batch_size=private.expected_batch_size,
        )
    return private, private_loader


def _trainer(steps: int) -> lightning.Trainer:
    return lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        devices=1,
        logger=False,
        barebones=True,
    )


def _seed(seeds: Seeds | None, purpose: str) -> int:
    if seeds is None:
        return int.from_bytes(os.urandom(8), "little")
    return (seeds.value * 2 + (purpose == "noise")) % 2**63


def _system_normal(number: int) -> NDArray[np.float64]:
    pairs = (number + 1) // 2
    raw = np.frombuffer(os.urandom(16 * pairs), dtype="<u8").reshape(2, pairs)
    # 53 random bits each; the first in (0, 1], so that its logarithm exists.
    first = ((raw[0] >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    angle = (raw[1] >> np.uint64(11)).astype(np.float64) * (2.0**-53 * 2 * np.pi)
    radius = np.sqrt(-2.0 * np.log(first))
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:number]


@contextmanager
def _quietly() -> Iterator[None]:
    """Lightning and Opacus advise on the terminal; a node's log is not the place."""
    logger = logging.getLogger("lightning.pytorch")
    legacy = logging.getLogger("pytorch_lightning")
    levels = logger.level, legacy.level
    logger.setLevel(logging.ERROR)
    legacy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(levels[0])
        legacy.setLevel(levels[1])
