"""What can be told from a model without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytorch_lightning as lightning
import torch
from opacus.layers.param_rename import RenameParamsMixin
from torch import nn
from torch.nn.utils import parametrize

from trainer.models.findings import WHOLE, Finding

_REPLACED: tuple[tuple[tuple[type[nn.Module], ...], str, str], ...] = (
    (
        (nn.modules.batchnorm._BatchNorm,),
        "its statistics mix the records of a batch, so no record has a gradient of its own",
        "nn.GroupNorm(groups, channels)",
    ),
    ((nn.LSTM, nn.LSTMCell), "it hides the gradients of single records", "opacus.layers.DPLSTM"),
    ((nn.GRU, nn.GRUCell), "it hides the gradients of single records", "opacus.layers.DPGRU"),
    (
        (nn.RNN, nn.RNNCell),
        "it passes Opacus's own check and then breaks in training",
        "opacus.layers.DPRNN",
    ),
    (
        (nn.MultiheadAttention,),
        "it hides the gradients of single records",
        "opacus.layers.DPMultiheadAttention",
    ),
)
_NEVER_CALLED = (
    "backward",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_before_zero_grad",
    "on_train_batch_end",
    "on_train_batch_start",
    "on_train_start",
    "optimizer_step",
    "optimizer_zero_grad",
)
"""Hooks by which a LightningModule would change its training."""
_NOT_USED = ("configure_optimizers", "test_step", "train_dataloader", "validation_step")


def findings(module: nn.Module) -> Iterator[Finding]:
    """Of layers, parameters, buffers and of Lightning's own hooks."""
    yield from _layers(module)
    yield from _parameters(module)
    yield from _buffers(module)
    if isinstance(module, lightning.LightningModule):
        yield from _lightning(module)


def _layers(module: nn.Module) -> Iterator[Finding]:
    for path, layer in module.named_modules():
        name, kind = path or WHOLE, type(layer).__name__
        for types, problem, instead in _REPLACED:
            if isinstance(layer, types):
                yield Finding(name, kind, problem, instead)
        if getattr(layer, "track_running_stats", False) and not isinstance(
            layer, nn.modules.batchnorm._BatchNorm
        ):
            yield Finding(
                name, kind, "it keeps statistics of records", f"{kind}(track_running_stats=False)"
            )
        if parametrize.is_parametrized(layer):
            yield Finding(name, kind, "its weights are computed from others", "a plain layer")
        if isinstance(layer, nn.modules.lazy.LazyModuleMixin):
            yield Finding(
                name, kind, "its size is not known before it has run", kind.removeprefix("Lazy")
            )


def _parameters(module: nn.Module) -> Iterator[Finding]:
    named = [
        (f"{path}.{name}".lstrip("."), parameter)
        for path, layer in module.named_modules()
        for name, parameter in layer._parameters.items()
        # Opacus's recurrent layers show the parameters of their parts a second time.
        if parameter is not None and not isinstance(layer, RenameParamsMixin)
    ]
    if not named:
        yield Finding(WHOLE, type(module).__name__, "it has nothing to train", "a trained layer")
    shared = Counter(id(parameter) for _, parameter in named)
    for name, parameter in named:
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            continue
        if shared[id(parameter)] > 1:
            yield Finding(
                name,
                "parameter",
                "it is tied to another; a model's file has it once, under the first name",
                "nothing, as long as the names stay as they are",
                refused=False,
            )
        if parameter.dtype != torch.float32:
            yield Finding(
                name,
                "parameter",
                f"it is {str(parameter.dtype)[6:]}; updates are float32",
                ".float()",
            )
        elif not parameter.isfinite().all():
            yield Finding(name, "parameter", "it is not finite to begin with", "a finite value")
        if not parameter.requires_grad:
            yield Finding(
                name,
                "parameter",
                "it is frozen, and yet in every update of a plan that trains all layers",
                "a plan that names the layers that are trained",
                refused=False,
            )


def _buffers(module: nn.Module) -> Iterator[Finding]:
    for path, layer in module.named_modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase):
            continue
        for name in layer._buffers:
            if name not in layer._non_persistent_buffers_set:
                yield Finding(
                    f"{path}.{name}".lstrip("."),
                    "buffer",
                    "it is in no model's file: every node would have its own",
                    "register_buffer(..., persistent=False), made from the settings alone",
                )


def _lightning(module: lightning.LightningModule) -> Iterator[Finding]:
    kind = type(module).__name__
    if not module.automatic_optimization:
        yield Finding(
            WHOLE,
            kind,
            "it steps its optimiser itself; every step must be clipped, noised and accounted for",
            "automatic_optimization = True",
        )
    if "gradient_clip_val" in getattr(module, "hparams", {}):
        yield Finding(
            WHOLE,
            kind,
            "gradient_clip_val is ignored under differential privacy",
            "the plan's sample_clip_micro, which clips every record's gradient",
        )
    for name in _NEVER_CALLED:
        if _overrides(module, name):
            yield Finding(
                name, kind, "it would change training, and is never called", "the plan's terms"
            )
    for name in _NOT_USED:
        if _overrides(module, name):
            yield Finding(
                name, kind, "it is not used here", "the plan's terms say this", refused=False
            )


def _overrides(module: lightning.LightningModule, name: str) -> bool:
    return getattr(type(module), name) is not getattr(lightning.LightningModule, name)
