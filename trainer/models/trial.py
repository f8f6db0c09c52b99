"""What shows when a model is run on made-up records: whether every record has a gradient of its
own, and what a batch without any does."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator

import torch
from opacus import GradSampleModule
from torch import nn

from trainer.models.findings import WHOLE, Finding
from trainer.training import Batch, has_own_step, loss

_RECORDS = 3
_APART = 0.02
"""Largest part by which a gradient in a batch may differ from that of the record alone."""


def findings(module: nn.Module, shape: tuple[int, ...], classes: int) -> Iterator[Finding]:
    """Of a model that its structure says nothing against.

    Args:
        shape: of one record.
    """
    # What is drawn anew in every pass could not be compared.
    model = copy.deepcopy(module).train()
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0
    batch = _batch(shape, classes)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken = list(_forward(model, batch, classes))
        yield from broken
        if not broken:
            yield from _gradients(model, batch)


def _batch(shape: tuple[int, ...], classes: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    features = 2 * torch.rand((_RECORDS, *shape), generator=generator) - 1
    return features, torch.arange(_RECORDS) % classes


def _forward(model: nn.Module, batch: Batch, classes: int) -> Iterator[Finding]:
    features, _ = batch
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        scores = model(features)
        alone = torch.cat([model(record[None]) for record in features])
    except Exception as error:
        yield _broken(f"it does not take records of the shape {tuple(features.shape[1:])}", error)
        return
    for name, buffer in model.named_buffers():
        if not torch.equal(before[name], buffer):
            yield Finding(
                name,
                "buffer",
                "it changes with the records that it sees",
                "no state between batches",
            )
    if scores.shape != (_RECORDS, classes):
        yield Finding(
            WHOLE,
            type(model).__name__,
            f"it gives {tuple(scores.shape)} for {_RECORDS} records of {classes} classes",
            f"one score for each class: ({_RECORDS}, {classes})",
        )
    elif not torch.allclose(scores, alone, rtol=1e-3, atol=1e-4):
        yield Finding(
            WHOLE,
            type(model).__name__,
            "a record's scores depend on the others in its batch",
            "layers that treat every record alone",
        )


def _gradients(model: nn.Module, batch: Batch) -> Iterator[Finding]:
    features, labels = batch
    try:
        alone = [
            _gradient(model, (features[i : i + 1], labels[i : i + 1])) for i in range(_RECORDS)
        ]
        wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="mean", strict=True)
        loss(wrapped._module, batch).backward()
    except Exception as error:
        yield _broken("its records have no gradients of their own", error)
        return
    for name, parameter in wrapped._module.named_parameters():
        if not parameter.requires_grad:
            continue
        sample = getattr(parameter, "grad_sample", None)
        expected = [gradient[name] for gradient in alone]
        if sample is None or any(gradient is None for gradient in expected):
            yield Finding(
                name,
                "parameter",
                "the scores do not depend on it by a layer",
                _through_a_layer(name),
            )
        elif not _same(sample, torch.stack([g for g in expected if g is not None])):
            yield Finding(
                name,
                "parameter",
                "a record's gradient in a batch is not the one that it has alone",
                "a training step that averages over the batch"
                if has_own_step(model)
                else _through_a_layer(name),
            )


def _gradient(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor | None]:
    model.zero_grad()
    loss(model, batch).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: None if g is None else g.clone() for name, g in gradients.items()}


def _same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    largest = float(expected.abs().max())
    return float((found - expected).abs().max()) <= _APART * largest + 1e-6 * math.sqrt(
        expected.numel()
    )


def _through_a_layer(name: str) -> str:
    where = name.rpartition(".")[0] or "the model"
    return (
        f"use {where}'s parameters within its own forward, once for each record, dropout as a layer"
    )


def _broken(what: str, error: Exception) -> Finding:
    first = (str(error).splitlines() or [""])[0][:200]
    return Finding(WHOLE, type(error).__name__, f"{what}: {first}", "see docs/how-to/models.md")
