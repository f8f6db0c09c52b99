"""Accuracy under differential privacy on the breast cancer records, beside training without it:
the demonstration's plan, in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import _federation as f

APPLICATION, RUNS = "breast-cancer", 10


@dataclass(frozen=True)
class Outcome:
    """Of one seed. Accuracies on test records, but for ``train``."""

    private: float
    train: float
    fedavg: float
    fedavg_train: float
    centralised: float
    epsilon: float
    opacus_epsilon: float
    largest: float
    clip: float


def rows() -> list[dict[str, Any]]:
    """Mean and spread over RUNS seeds of split, sampling and noise."""
    outcomes = [_outcome(seed) for seed in range(RUNS)]
    row = partial(f.row, runs=RUNS)

    def column(name: str) -> Sequence[float]:
        return [getattr(outcome, name) for outcome in outcomes]

    def means(what: str, ours: str, peer: str, peer_name: str, aim: str = "") -> dict[str, Any]:
        return row(what, f.mean(column(ours)), f.mean(column(peer)), peer_name, aim=aim)

    private, fedavg = column("private"), column("fedavg")
    plain = "unprotected FedAvg"
    return [
        means("test accuracy at epsilon 3", "private", "fedavg", plain, ">= 0.95"),
        means("test accuracy at epsilon 3", "private", "centralised", "centralised training"),
        row(
            "spread of it (standard deviation)",
            f.spread(private),
            f.spread(fedavg),
            plain,
            better="lower",
        ),
        row("worst run's test accuracy", min(private), min(fedavg), plain),
        means("training accuracy at epsilon 3", "train", "fedavg_train", plain, "> 0.90"),
        row(
            "epsilon charged on the ledger",
            max(column("epsilon")),
            max(column("opacus_epsilon")),
            "Opacus's RDP accountant",
            better="lower",
            unit="epsilon at delta 1e-5",
            aim="<= 3",
        ),
        row(
            "largest value of an update, before it is clipped",
            max(column("largest")),
            max(column("clip")),
            "the plan's clip",
            better="lower",
            unit="weight",
        ),
    ]


def _outcome(seed: int) -> Outcome:
    from chaincode.schema import accounting
    from trainer import presets
    from trainer.simulation import pooled

    federation = f.Federation.of(APPLICATION, seed)
    everybody = pooled(federation.hospitals)
    training, privacy = federation.training, federation.privacy()
    private, largest = federation.private()
    fedavg = federation.plain()
    steps, noise = training.steps * training.rounds, privacy.noise_multiplier_micro
    spent = accounting.rdp_pico(training.batch_size, federation.samples, noise, steps)
    return Outcome(
        private=federation.accuracy(private),
        train=federation.accuracy(private, everybody),
        fedavg=federation.accuracy(fedavg),
        fedavg_train=federation.accuracy(fedavg, everybody),
        centralised=federation.accuracy(federation.centralised()),
        epsilon=accounting.epsilon_micro(spent, presets.DELTA_NANO) / 1e6,
        opacus_epsilon=_opacus(noise / 1e6, training.batch_size / federation.samples, steps),
        largest=largest,
        clip=f.value_clip(training, privacy, federation.model),
    )


def _opacus(noise: float, rate: float, steps: int) -> float:
    from opacus.accountants import RDPAccountant

    from trainer import presets

    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    return float(accountant.get_epsilon(presets.DELTA_NANO / 1e9))
