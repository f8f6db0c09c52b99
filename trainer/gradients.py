"""Per-sample gradients, by Opacus's hooks; those of linear and convolutional layers in factors.

Where every record passes a linear layer once, its gradient by the layer's weight is the outer
product of what came back from above and what the layer took. The norm is the product of their
norms, and the sum of clipped gradients one product of matrices: no record's gradient is ever made
(Goodfellow 2015, "Efficient Per-Example Gradient Computations"). A convolution's is the sum of such
products over the places that its kernel comes to, and its norm follows from how alike the places
are (Bu et al. 2022, "Scalable and Efficient Training of Large Convolutional Neural Networks with
Differential Privacy"); that is done where it takes less than the gradients do. The parameters of
all other layers have the tensors that Opacus makes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from opacus.grad_sample import GradSampleHooks
from opacus.utils.module_utils import trainable_parameters
from torch import nn

Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BANDS = 4
"""Bands of rows that products of places are made in: more leave out more, in smaller pieces."""


@dataclass(frozen=True)
class Factors:
    """Per-sample gradients of a weight ``float[out, in]``: record i's is the outer product of
    ``back[i]`` and ``taken[i]``. ``back``: ``float[n, out]``; ``taken``: ``float[n, in]``."""

    back: torch.Tensor
    taken: torch.Tensor

    def to(self, dtype: torch.dtype) -> Factors:
        """In another precision."""
        return Factors(self.back.to(dtype), self.taken.to(dtype))

    def norms(self) -> torch.Tensor:
        """Of every record: ``float[n]``."""
        return norms(self.back) * norms(self.taken)

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the records': ``float[out, in]``."""
        return (self.back * weights[:, None]).T @ self.taken


@dataclass(frozen=True)
class Convolved:
    """Per-sample gradients of a convolution's weight ``float[out, in, *kernel]``. ``back``:
    ``float[n, out, *places]``; ``taken``: ``float[n, in, *points]``, not yet padded."""

    layer: Convolution
    back: torch.Tensor
    taken: torch.Tensor

    def to(self, dtype: torch.dtype) -> Convolved:
        """In another precision."""
        return Convolved(self.layer, self.back.to(dtype), self.taken.to(dtype))

    def norms(self) -> torch.Tensor:
        """Of every record: ``float[n]``.

        Summed over pairs of places: the product of what came back to both, times the product of
        what the kernel saw at both. A pair counts as much the other way round, and is made once.
        """
        # Sums in which much cancels: in single precision a norm may come out too small to clip by.
        squares = self.back.new_zeros(len(self.back), dtype=torch.float64)
        for record, (back, taken) in enumerate(zip(self.back, self.taken, strict=True)):
            squares[record] = self._square(back.double(), taken.double())
        return squares.clamp(min=0).sqrt().to(self.back.dtype)

    def _square(self, back: torch.Tensor, taken: torch.Tensor) -> torch.Tensor:
        layer, places = self.layer, back.shape[1:]
        alike_back = _alike(back)
        # What the kernel sees at two places is alike as are the points under its elements.
        around = tuple(layer._reversed_padding_repeated_twice)
        alike_points = nn.functional.pad(_alike(taken), around * 2)
        alike_seen = torch.zeros_like(alike_back)
        for element in _elements(layer, places):
            alike_seen += alike_points[element + element]
        rows = places[0]
        pairs = (alike_seen * alike_back).view(rows, -1, rows, math.prod(places[1:]))
        of_rows = pairs.sum(dim=3).sum(dim=1)
        return of_rows.diagonal().sum() + 2 * of_rows.triu(1).sum()

    def weighted(self, weights: torch.Tensor) -> torch.Tensor:
        """The weighted sum of the records': ``float[out, in, *kernel]``."""
        layer = self.layer
        back = self.back * weights.view(-1, *[1] * (self.back.dim() - 1))
        _, gradient, _ = torch.ops.aten.convolution_backward(
            back,
            self.taken,
            layer.weight.detach().to(back.dtype),
            None,
            layer.stride,
            layer.padding,
            layer.dilation,
            False,
            [0],
            1,
            (False, True, False),
        )
        found: torch.Tensor = gradient
        return found


Gradients: TypeAlias = torch.Tensor | Factors | Convolved
"""One parameter's gradients by n records: as they are, ``float[n, ...]``, or in factors."""


def norms(gradients: Gradients) -> torch.Tensor:
    """Of every record: ``float[n]``."""
    if not isinstance(gradients, torch.Tensor):
        return gradients.norms()
    return gradients.reshape(len(gradients), math.prod(gradients.shape[1:])).norm(2, dim=1)


def clear(gradients: Gradients, records: torch.Tensor) -> None:
    """Set these records' gradients to zero, in place. ``records``: ``bool[n]``."""
    if not isinstance(gradients, torch.Tensor):
        gradients.back[records] = gradients.taken[records] = 0
    else:
        gradients[records] = 0


def weighted(gradients: Gradients, weights: torch.Tensor) -> torch.Tensor:
    """The sum of the records' gradients, each times its weight: of the parameter's shape.

    Args:
        weights: ``float[n]``.
    """
    if not isinstance(gradients, torch.Tensor):
        return gradients.weighted(weights)
    return torch.einsum("n,n...->...", weights, gradients)


class Hooks(GradSampleHooks):  # type: ignore[misc]
    """Leaves per-sample gradients of a mean loss in every parameter's ``grad_sample``, and none of
    the mean in ``grad`` where linear and convolutional layers lie behind others: nobody asks for
    that one, and it takes as long as the rest."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._aside: set[nn.Parameter] = set()
        for layer in self.iterate_submodules(module):
            if type(layer) in (nn.Linear, *_CONVOLUTIONS):
                handle = layer.register_forward_pre_hook(self._put_aside)
                self.autograd_grad_sample_hooks.append(handle)

    def capture_activations_hook(
        self,
        module: nn.Module,
        forward_input: list[torch.Tensor],
        _forward_output: torch.Tensor,
    ) -> None:
        for parameter in self._aside.intersection(module.parameters(recurse=False)):
            self._aside.remove(parameter)
            parameter.requires_grad_(True)
        super().capture_activations_hook(module, forward_input, _forward_output)

    def capture_backprops_hook(
        self,
        module: nn.Module,
        _forward_input: torch.Tensor,
        forward_output: tuple[torch.Tensor, ...],
        loss_reduction: str,
        batch_first: bool,
    ) -> None:
        if not (_is_linear(module, forward_output[0]) or _is_wide(module, forward_output[0])):
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
            parameter.grad_sample = _factored(module, name, back, taken)

    def _put_aside(self, layer: nn.Module, taken: tuple[torch.Tensor, ...]) -> None:
        """Keep a layer's parameters out of the graph that the forward pass makes."""
        # Through a layer that takes records as they are, no gradient would come back to it.
        if taken[0].requires_grad and torch.is_grad_enabled():
            for _, parameter in trainable_parameters(layer):
                parameter.requires_grad_(False)
                self._aside.add(parameter)


def _factored(layer: nn.Module, name: str, back: torch.Tensor, taken: torch.Tensor) -> Gradients:
    if isinstance(layer, nn.Linear):
        return Factors(back, taken) if name == "weight" else back
    assert isinstance(layer, _CONVOLUTIONS)
    return Convolved(layer, back, taken) if name == "weight" else back.flatten(2).sum(dim=2)


def _alike(values: torch.Tensor) -> torch.Tensor:
    """Products of every two places' values, ``float[d, *places]``: ``float[*places, *places]``, of
    which the second is in a row after the first's or in the same. Others may be left at zero."""
    places = values.shape[1:]
    flat = values.flatten(1)
    size = flat.shape[1]
    found = flat.new_zeros(size, size)
    band = -(-places[0] // _BANDS) * (size // places[0])
    for first in range(0, size, band):
        some = slice(first, first + band)
        found[some, first:] = flat[:, some].T @ flat[:, first:]
    return found.view(*places, *places)


def _is_linear(module: nn.Module, back: torch.Tensor) -> bool:
    """Whether it is a linear layer that took one batch ``[n, in]``."""
    return type(module) is nn.Linear and back.dim() == 2 and _passed_once(module)


def _is_wide(module: nn.Module, back: torch.Tensor) -> bool:
    """Whether it is a convolution that took one batch, of which a record's gradient is larger than
    what its norm is made of."""
    if type(module) not in _CONVOLUTIONS:
        return False
    assert isinstance(module, _CONVOLUTIONS)
    plain = module.groups == 1 and module.padding_mode == "zeros"
    if not plain or isinstance(module.padding, str) or not _passed_once(module):
        return False
    (taken,) = module.activations[0]
    points = math.prod(
        size + 2 * padding for size, padding in zip(taken.shape[2:], module.padding, strict=True)
    )
    places: int = math.prod(back.shape[2:])
    return bool(points**2 + places**2 < module.weight.numel())


def _passed_once(module: nn.Module) -> bool:
    """Whether it took one batch and shares no parameter with another layer; its inputs as the
    forward pass left them."""
    return len(module.activations) == 1 and all(
        parameter._forward_counter == 1 and not hasattr(parameter, "_current_grad_sample")
        for _, parameter in trainable_parameters(module)
    )


def _elements(layer: Convolution, places: torch.Size) -> Iterator[tuple[slice, ...]]:
    """For each of the kernel's elements, the points that it lies on at all places."""
    for element in itertools.product(*(range(size) for size in layer.kernel_size)):
        yield tuple(
            slice(first * dilation, first * dilation + stride * (number - 1) + 1, stride)
            for first, dilation, stride, number in zip(
                element, layer.dilation, layer.stride, places, strict=True
            )
        )
