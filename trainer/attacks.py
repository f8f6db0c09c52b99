"""Attacks on patients' privacy, carried out in experiments: who was trained on, and what he had.

Membership: the records on which a released model has the smallest loss are taken for those it was
trained on (Yeom et al. 2018, "Privacy Risk in Machine Learning", adversary 2). Inversion: a record
is computed from the update that it caused, exactly where a linear layer sees it, else by a search
for the input with the same gradient (Zhu, Liu, Han 2019, "Deep Leakage from Gradients").
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from chaincode.schema import accounting
from chaincode.schema.data import DataTerms
from chaincode.schema.plans import PrivacyTerms, TrainingTerms
from trainer.data import release
from trainer.data.raw import Raw
from trainer.data.records import Records
from trainer.privacy.discrete_gaussian import clipped, sample
from trainer.privacy.sampling import Stream
from trainer.randomness import Seeds
from trainer.training import parameters, set_parameters, train


def advantage(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Share of members found less share of others taken for some, at the best threshold of loss.

    Returns:
        In [0, 1]; the threshold is chosen with the answer known, to the attacker's favour.
    """
    thresholds = np.concatenate([members, others])
    found = (members[:, None] <= thresholds).mean(axis=0)
    taken = (others[:, None] <= thresholds).mean(axis=0)
    return float(max(0.0, (found - taken).max()))


def bound(epsilon: float, delta: float) -> float:
    """What no attacker's advantage exceeds under (epsilon, delta)-differential privacy.

    (e^epsilon - 1 + 2 delta) / (e^epsilon + 1), from the region of all tests' errors (Kairouz, Oh,
    Viswanath 2015, "The Composition Theorem for Differential Privacy", theorem 2.1). It is
    below the e^epsilon - 1 of Yeom et al.
    """
    return min(1.0, (math.exp(epsilon) - 1 + 2 * delta) / (math.exp(epsilon) + 1))


def epsilon_of(training: TrainingTerms, privacy: PrivacyTerms, samples: int) -> float:
    """What one update costs on a dataset of so many records, as the ledger charges it."""
    spent = accounting.rdp_pico(
        training.batch_size, samples, privacy.noise_multiplier_micro, training.steps
    )
    return accounting.epsilon_micro(spent, privacy.delta_nano) / 1e6


def losses(model: nn.Module, weights: NDArray[np.float32], records: Records) -> NDArray[np.float64]:
    """Cross-entropy of each record: ``float64[n]``."""
    set_parameters(model, weights)
    with torch.no_grad():
        scores = model(torch.from_numpy(records.features))
        each = nn.functional.cross_entropy(
            scores, torch.from_numpy(records.labels), reduction="none"
        )
    return np.asarray(each.double().numpy())


def released(
    model: nn.Module,
    records: Records,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seed: int,
) -> NDArray[np.float32]:
    """The weights that training on these records gives, from the model's own."""
    base = parameters(model)
    delta = train(model, base, records, training, privacy, Seeds(seed)).delta
    return np.asarray((base + delta).astype(np.float32))


def membership(
    model: nn.Module,
    members: Records,
    others: Records,
    training: TrainingTerms,
    privacy: PrivacyTerms | None,
    seeds: int,
) -> float:
    """Advantage by loss on models trained on the members, all of them judged together."""
    inside, outside = [], []
    start = parameters(model)
    for seed in range(seeds):
        set_parameters(model, start)
        weights = released(model, members, training, privacy, seed)
        inside.append(losses(model, weights, members))
        outside.append(losses(model, weights, others))
    set_parameters(model, start)
    return advantage(np.concatenate(inside), np.concatenate(outside))


def hospital_membership(
    update: NDArray[np.float64], norm: int, noise: int, summands: int, trials: int, stream: Stream
) -> float:
    """Advantage of one who sees decrypted sums, knows every other update in them, and asks whether
    a hospital's is: by how far what is left goes in its direction.

    Args:
        update: the hospital's, in the units of ``norm`` and ``noise``.
        noise: deviation of each of ``summands`` unknown noises; 0 for none.
    """
    whole = clipped(update, norm)

    def left(present: int) -> NDArray[np.float64]:
        seen = np.tile(present * whole, (trials, 1))
        for _ in range(summands if noise else 0):
            seen += sample(noise, seen.size, stream).reshape(seen.shape)
        return np.asarray(seen @ whole.astype(np.float64))

    return advantage(-left(1), -left(0))


def table_membership(raw: Raw, terms: DataTerms, noise: int, trials: int, stream: Stream) -> float:
    """Advantage of one who sees the counts that a synthetic table is drawn from, knows all records
    but the first, and asks whether that is among them: by how much its cells hold too many.

    Args:
        noise: of each cell; 0 for none.
    """
    others = release.tables(Raw(raw.values[1:], raw.labels[1:], ()), terms)
    everyone = release.tables(raw, terms)
    cells = [one - other for one, other in zip(everyone, others, strict=True)]

    def excess(counts: list[NDArray[np.int64]]) -> float:
        seen = release.noised(counts, noise, stream) if noise else counts
        parts = zip(seen, others, cells, strict=True)
        return float(sum(((table - other) * cell).sum() for table, other, cell in parts))

    inside, outside = (
        np.array([-excess(counts) for _ in range(trials)]) for counts in (everyone, others)
    )
    return advantage(inside, outside)


def linear_input(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> NDArray[np.float64]:
    """The input of a linear layer from what one record changed of it: ``float64[inputs]``.

    Both are multiples of the same gradient, row by row: weight[k] = bias[k] * input.
    """
    row = int(np.abs(bias).argmax())
    return np.asarray(weight[row] / bias[row])


def matching_input(
    model: nn.Module, gradient: NDArray[np.float64], shape: tuple[int, ...], label: int, seed: int
) -> NDArray[np.float64]:
    """The input whose gradient is nearest to one, by L-BFGS from noise: ``float64[*shape]``."""
    torch.manual_seed(seed)
    module = model.double()
    wanted = torch.from_numpy(gradient)
    guess = torch.randn(1, *shape, dtype=torch.float64).mul_(0.1).requires_grad_()
    ordered = [value for _, value in sorted(module.named_parameters())]
    optimizer = torch.optim.LBFGS([guess], max_iter=300, line_search_fn="strong_wolfe")

    def distance() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(guess), torch.tensor([label]))
        now = torch.autograd.grad(loss, ordered, create_graph=True)
        off = ((torch.cat([part.reshape(-1) for part in now]) - wanted) ** 2).sum()
        off.backward()
        return off

    optimizer.step(distance)
    return np.asarray(guess.detach().numpy()[0])


def likeness(found: NDArray[np.float64], true: NDArray[np.floating]) -> float:
    """Correlation of a reconstruction with the record: 1 is the record, 0 is nothing of it."""
    return float(np.corrcoef(found.reshape(-1), true.reshape(-1))[0, 1])
