"""Per-sample gradients, by Opacus's hooks; those of a linear layer in factors.

Where every record passes a linear layer once, its gradient by the layer's weight is the outer
product of what came back from above and what the layer took. The norm is the product of their
norms, and the sum of clipped gradients one product of matrices: no record's gradient is ever made
(Goodfellow 2015, "Efficient Per-Example Gradient Computations"). The parameters of all other layers
have the tensors that Opacus makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.utils.module_utils import trainable_parameters
from torch import nn


@dataclass(frozen=True)
class Factors:
    """Per-sample gradients of a weight ``float[out, in]``: record i's is the outer product of
    ``back[i]`` and ``taken[i]``. ``back``: ``float[n, out]``; ``taken``: ``float[n, in]``."""

    back: torch.Tensor
    taken: torch.Tensor

    def to(self, dtype: torch.dtype) -> Factors:
        """In another precision."""
        return Factors(self.back.to(dtype), self.taken.to(dtype))


Gradients: TypeAlias = torch.Tensor | Factors
"""One parameter's gradients by n records: as they are, ``float[n, ...]``, or in factors."""


def norms(gradients: Gradients) -> torch.Tensor:
    """Of every record: ``float[n]``."""
    if isinstance(gradients, Factors):
        return norms(gradients.back) * norms(gradients.taken)
    return gradients.reshape(len(gradients), math.prod(gradients.shape[1:])).norm(2, dim=1)


def clear(gradients: Gradients, records: torch.Tensor) -> None:
    """Set these records' gradients to zero, in place. ``records``: ``bool[n]``."""
    if isinstance(gradients, Factors):
        gradients.back[records] = gradients.taken[records] = 0
    else:
        gradients[records] = 0


def weighted(gradients: Gradients, weights: torch.Tensor) -> torch.Tensor:
    """The sum of the records' gradients, each times its weight: of the parameter's shape.

    Args:
        weights: ``float[n]``.
    """
    if isinstance(gradients, Factors):
        return (gradients.back * weights[:, None]).T @ gradients.taken
    return torch.einsum("n,n...->...", weights, gradients)


class Hooks(GradSampleHooks):  # type: ignore[misc]
    """Leaves per-sample gradients of a mean loss in every parameter's ``grad_sample``."""

    def capture_backprops_hook(
        self,
        module: nn.Module,
        _forward_input: torch.Tensor,
        forward_output: tuple[torch.Tensor, ...],
        loss_reduction: str,
        batch_first: bool,
    ) -> None:
        if not _passed_once(module):
            super().capture_backprops_hook(
                module, _forward_input, forward_output, loss_reduction, batch_first
            )
            return
        (taken,), back = self.rearrange_grad_samples(
            module=module,
            backprops=forward_output[0].detach(),
            loss_reduction=loss_reduction,
            batch_first=batch_first,
        )
        del module.max_batch_len
        for name, parameter in trainable_parameters(module):
            parameter._forward_counter = 0
            parameter.grad_sample = Factors(back, taken) if name == "weight" else back


def _passed_once(module: nn.Module) -> bool:
    """Whether it is a linear layer that took one batch ``[n, in]`` and shares no parameter with
    another layer; its inputs as the forward pass left them."""
    return (
        type(module) is nn.Linear
        and len(module.activations) == 1
        and module.activations[0][0].dim() == 2
        and all(
            parameter._forward_counter == 1 and not hasattr(parameter, "_current_grad_sample")
            for _, parameter in trainable_parameters(module)
        )
    )
