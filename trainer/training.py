"""Local training of one round, with differential privacy for every record.

DP-SGD (Abadi et al. 2016) by Opacus under Lightning: Poisson batches at exactly the rate that the
ledger accounts for, per-sample gradients clipped to the plan's norm, Gaussian noise on their sum.
Sampling and noise are drawn from the operating system's generator; :class:`Seeds` replaces it in
tests and experiments, and nowhere else.
"""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as lightning
import torch
from numpy.typing import NDArray
from opacus import PrivacyEngine
from opacus.optimizers import DPOptimizer
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer import strategies
from trainer.data.records import Records
from trainer.models.registry import layout, size
from trainer.randomness import Draw, Seeds, chosen, normal, source

__all__ = ["Seeds", "Trained", "evaluate", "parameters", "set_parameters", "train"]

Batch = tuple[torch.Tensor, torch.Tensor]


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

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        features, labels = batch
        loss = nn.functional.cross_entropy(self.model(features), labels, reduction="sum")
        # A Poisson batch may hold no record at all.
        return loss / max(len(labels), 1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer


class ProximalSGD(torch.optim.SGD):  # type: ignore[misc]
    """SGD on the loss plus ``mu / 2`` times the squared distance to where training began, as in
    FedProx (Li et al. 2020, "Federated Optimization in Heterogeneous Networks", equation 2).

    The term's gradient depends on no record: it is added once the records' has its noise, and costs
    no privacy.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, mu: float, **settings: float) -> None:
        super().__init__(params, **settings)
        self._mu = mu
        self._begin = {p: p.detach().clone() for g in self.param_groups for p in g["params"]}

    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        loss = None if closure is None else closure()
        if self._mu:
            with torch.no_grad():
                for parameter, begin in self._begin.items():
                    if parameter.grad is not None:
                        parameter.grad.add_(parameter - begin, alpha=self._mu)
        super().step()
        return loss


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
    """``steps`` batches; each takes every record on its own with probability expected/samples."""

    def __init__(self, samples: int, expected: int, steps: int, draw: Draw) -> None:
        self._samples = samples
        self._expected = expected
        self._steps = steps
        self._draw = draw

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for _ in range(self._steps):
            yield chosen(self._draw, self._samples, self._expected)


class NoisyOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimiser with our own source of noise."""

    def __init__(self, private: DPOptimizer, expected_batch_size: int, draw: Draw) -> None:
        super().__init__(
            private.original_optimizer,
            noise_multiplier=private.noise_multiplier,
            max_grad_norm=private.max_grad_norm,
            expected_batch_size=expected_batch_size,
        )
        self._draw = draw

    def add_noise(self) -> None:
        deviation = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            noise = torch.from_numpy(deviation * normal(self._draw, parameter.numel()))
            # Added in float64 and rounded once: the noise alone decides the last bits.
            noisy = parameter.summed_grad.double() + noise.view_as(parameter.summed_grad)
            parameter.grad = noisy.to(parameter.dtype).view_as(parameter)


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
        privacy: None trains without clipping and noise, for baselines.

    Raises:
        MedFabricError: ``TRAINING_REFUSED`` where the batch is larger than the data set, or the
            model is one whose per-sample gradients do not exist (as with batch normalisation).
    """
    if training.batch_size > len(records):
        raise MedFabricError(
            Code.TRAINING_REFUSED,
            f"the plan's batch of {training.batch_size} is larger than this node's data set of "
            f"{len(records)}; offer more records or agree on a smaller batch",
        )
    started = time.monotonic()
    # Opacus leaves its hooks on the module that it trains.
    model = copy.deepcopy(model)
    set_parameters(model, base)
    optimizer: torch.optim.Optimizer = ProximalSGD(
        model.parameters(),
        mu=strategies.find(training.strategy).mu(training.settings),
        lr=training.learning_rate_micro / 1e6,
        momentum=training.momentum_micro / 1e6,
        weight_decay=training.weight_decay_micro / 1e6,
    )
    batches = PoissonBatches(
        len(records), training.batch_size, training.steps, source(seeds, "sampling")
    )
    loader = DataLoader(RecordsDataset(records), batch_sampler=batches, collate_fn=_as_taken)
    with _quietly():
        if privacy is not None:
            draw = source(seeds, "noise")
            optimizer = _private(model, optimizer, loader, training, privacy, draw)
        trainer = _trainer(training.steps)
        trainer.fit(Classifier(model, optimizer), loader)
    if trainer.global_step != training.steps:
        raise MedFabricError(
            Code.TRAINING_REFUSED,
            f"training stopped after {trainer.global_step} of {training.steps} steps; run it again",
        )
    delta = parameters(model).astype(np.float64) - base.astype(np.float64)
    return Trained(delta, len(records), training.steps, time.monotonic() - started)


def evaluate(model: nn.Module, weights: NDArray[np.float32], records: Records) -> tuple[int, int]:
    """Correct predictions and records.

    Args:
        model: of the plan's architecture; stays as it is.
        weights: float32[parameters].
    """
    with torch.no_grad():
        features = torch.from_numpy(records.features)
        scores = torch.func.functional_call(model, _tensors(model, weights), (features,))
    return int((scores.argmax(dim=1).numpy() == records.labels).sum()), len(records)


def parameters(model: nn.Module) -> NDArray[np.float32]:
    """All parameters, flattened in the layout's order: float32[n]."""
    named = dict(model.named_parameters())
    flat = [named[name].detach().reshape(-1) for name, _ in layout(model)]
    return np.asarray(torch.cat(flat).numpy().astype(np.float32))


def set_parameters(model: nn.Module, values: NDArray[np.float32]) -> None:
    """Write flattened parameters into the model."""
    model.load_state_dict(_tensors(model, values), strict=False)


def _tensors(model: nn.Module, values: NDArray[np.float32]) -> dict[str, torch.Tensor]:
    shapes = layout(model)
    counts = [size(((name, shape),)) for name, shape in shapes]
    parts = np.split(values, np.cumsum(counts)[:-1])
    return {
        name: torch.from_numpy(part.reshape(shape).copy())
        for (name, shape), part in zip(shapes, parts, strict=True)
    }


def _private(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Batch],
    training: TrainingTerms,
    privacy: PrivacyTerms,
    draw: Draw,
) -> NoisyOptimizer:
    try:
        # The loader samples by Poisson already. Opacus's own would round the rate to 1/batches,
        # which is not the rate that the ledger accounts for.
        _, private, _ = PrivacyEngine(accountant="rdp").make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=privacy.noise_multiplier_micro / 1e6,
            max_grad_norm=privacy.sample_clip_micro / 1e6,
            poisson_sampling=False,
            wrap_model=False,
        )
    except (NotImplementedError, ValueError) as error:
        raise MedFabricError(
            Code.TRAINING_REFUSED, f"this model cannot be trained with privacy: {error}"
        ) from None
    return NoisyOptimizer(private, training.batch_size, draw)


def _trainer(steps: int) -> lightning.Trainer:
    # No gradient_clip_val: under Opacus Lightning ignores it without a word.
    # Its own environment: on a cluster's node it would take the scheduler's ranks for its own.
    return lightning.Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
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
