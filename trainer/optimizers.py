"""The optimisers of local training: SGD with a proximal term, and with differential privacy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import torch
from opacus.optimizers import DPOptimizer
from torch import nn

from chaincode.schema.plans import PrivacyTerms
from trainer.gradients import Convolved, Factors, Gradients, clear, norms, weighted
from trainer.noise import add_normal
from trainer.randomness import source

log = logging.getLogger("medfabric.node")


class ProximalSGD(torch.optim.SGD):  # type: ignore[misc]
    """SGD on the loss plus ``mu / 2`` times the squared distance to ``begin``, as in FedProx (Li et
    al. 2020, "Federated Optimization in Heterogeneous Networks", equation 2).

    The term's gradient depends on no record: it is added once the records' has its noise, and costs
    no privacy.

    Args:
        params: as they are now, where training begins.
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
                        away = parameter - begin.to(parameter.device)
                        parameter.grad.add_(away, alpha=self._mu)
        super().step()
        return loss


class NoisyOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus's optimiser over gradients that may be in factors, with noise that follows from the
    training's key, step by step.

    Args:
        first: the step to begin with, from 0.
    """

    accumulated_iterations = 1
    """Backward passes in a step."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        privacy: PrivacyTerms,
        expected_batch_size: int,
        key: bytes,
        first: int,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=privacy.noise_multiplier_micro / 1e6,
            max_grad_norm=privacy.sample_clip_micro / 1e6,
            expected_batch_size=expected_batch_size,
        )
        self._key = key
        self._next = first

    def pre_step(self, closure: Callable[[], float] | None = None) -> bool:
        if all(parameter.grad_sample is None for parameter in self.params):
            # The batch was empty: the step is noise alone.
            for parameter in self.params:
                parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        return bool(super().pre_step(closure))

    def _get_flat_grad_sample(self, parameter: nn.Parameter) -> Gradients:
        if isinstance(parameter.grad_sample, Factors | Convolved):
            return parameter.grad_sample
        tensor: torch.Tensor = super()._get_flat_grad_sample(parameter)
        return tensor

    def clip_and_accumulate(self) -> None:
        """Clip, and leave out records whose gradient is not finite.

        No factor clips such a gradient, so that one record would decide whether the update is a
        number at all. A gradient of zero keeps within the clip.
        """
        # At half precision the norms would be too coarse for the clip to hold.
        samples = [
            self._get_flat_grad_sample(parameter).to(parameter.dtype) for parameter in self.params
        ]
        sizes = torch.stack([norms(sample) for sample in samples]).norm(2, dim=0)
        finite = sizes.isfinite()
        if not finite.all():
            log.warning(
                "step %d: the gradients of %d of %d records are not finite and count as zero; "
                "look at the data and at the model",
                self._next + 1,
                int((~finite).sum()),
                len(finite),
            )
            for sample in samples:
                clear(sample, ~finite)
            sizes[~finite] = 0
        factors = (self.max_grad_norm / (sizes + 1e-6)).clamp(max=1.0)
        for parameter, sample in zip(self.params, samples, strict=True):
            parameter.summed_grad = weighted(sample, factors.to(parameter.dtype))

    def add_noise(self) -> None:
        draw = source(self._key, f"noise {self._next}")
        self._next += 1
        for parameter in self.params:
            noisy = parameter.summed_grad.cpu().contiguous()
            add_normal(noisy, self.noise_multiplier * self.max_grad_norm, draw)
            parameter.grad = noisy.to(parameter.device).view_as(parameter)
