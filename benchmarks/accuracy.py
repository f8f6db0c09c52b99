"""Accuracy under differential privacy on the breast cancer records, beside training without it.

The demonstration's plan, in one process: four hospitals with identical shares, the same training
function, updates clipped and rounded as the encryption does. Test records are evaluated once, on
the last model of each run.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

APPLICATION, HOSPITALS, RUNS = "breast-cancer", 4, 10


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


def rows() -> list[dict[str, Any]]:
    """Mean and spread over RUNS seeds of split, sampling and noise."""
    outcomes = [_outcome(seed) for seed in range(RUNS)]

    def column(name: str) -> list[float]:
        return [getattr(outcome, name) for outcome in outcomes]

    def row(what: str, ours: str, peer: str, peer_name: str, aim: str = "") -> dict[str, Any]:
        return _row(what, _mean(column(ours)), _mean(column(peer)), peer_name, aim=aim)

    private, fedavg = column("private"), column("fedavg")
    plain = "unprotected FedAvg"
    return [
        row("test accuracy at epsilon 3", "private", "fedavg", plain, ">= 0.95"),
        row("test accuracy at epsilon 3", "private", "centralised", "centralised training"),
        _row(
            "spread of it (standard deviation)", _spread(private), _spread(fedavg), plain, "lower"
        ),
        _row("worst run's test accuracy", min(private), min(fedavg), plain),
        row("training accuracy at epsilon 3", "train", "fedavg_train", plain, "> 0.90"),
        _row(
            "epsilon charged on the ledger",
            max(column("epsilon")),
            max(column("opacus_epsilon")),
            "Opacus's RDP accountant",
            better="lower",
            unit="epsilon at delta 1e-5",
            aim="<= 3",
        ),
        _row(
            "largest value of an update",
            max(column("largest")),
            _value_clip(),
            "the encryption's clip",
            better="lower",
            unit="weight",
            aim="below the clip",
        ),
    ]


def _outcome(seed: int) -> Outcome:
    from chaincode.schema import accounting
    from trainer import applications, presets
    from trainer.models import registry
    from trainer.simulation import centralised, federated, pooled
    from trainer.training import evaluate

    hospitals, test = _data(seed)
    everybody = pooled(hospitals)
    samples = min(len(records) for records in hospitals)
    tuned = applications.find(APPLICATION).tuned
    training = presets.training(tuned, samples)
    privacy = presets.privacy(tuned, training, samples)
    model = registry.build("logistic", {"features": test.features.shape[1], "classes": 2})
    private = list(federated(model, hospitals, training, privacy, seed, _value_clip()))
    fedavg = list(federated(model, hospitals, training, None, seed))[-1][0]
    central = centralised(model, hospitals, training, seed)

    def accuracy(weights: Any, records: Any = test) -> float:
        correct, total = evaluate(model, weights, records)
        return correct / total

    last = private[-1][0]
    steps, noise = training.steps * training.rounds, privacy.noise_multiplier_micro
    spent = accounting.rdp_pico(training.batch_size, samples, noise, steps)
    return Outcome(
        private=accuracy(last),
        train=accuracy(last, everybody),
        fedavg=accuracy(fedavg),
        fedavg_train=accuracy(fedavg, everybody),
        centralised=accuracy(central),
        epsilon=accounting.epsilon_micro(spent, presets.DELTA_NANO) / 1e6,
        opacus_epsilon=_opacus(noise / 1e6, training.batch_size / samples, steps),
        largest=max(largest for _, largest in private),
    )


def _data(seed: int) -> tuple[list[Any], Any]:
    """Training records of each hospital, and the test records."""
    from trainer import applications
    from trainer.applications.files import load, write
    from trainer.data.records import VALIDATION_FRACTION, split

    wdbc = applications.find(APPLICATION)
    with tempfile.TemporaryDirectory() as folder:
        hospitals, test = load(wdbc, write(wdbc, Path(folder), HOSPITALS, seed))
    return [split(records, VALIDATION_FRACTION, seed)[0] for records in hospitals], test


def _opacus(noise: float, rate: float, steps: int) -> float:
    from opacus.accountants import RDPAccountant

    from trainer import presets

    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    return float(accountant.get_epsilon(presets.DELTA_NANO / 1e9))


def _value_clip() -> float:
    from chaincode.schema.plans import EncryptionTerms

    return EncryptionTerms().clip_micro / 1e6


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values)


def _row(
    what: str,
    ours: float,
    peer: float,
    peer_name: str,
    better: str = "higher",
    unit: str = "accuracy",
    aim: str = "",
) -> dict[str, Any]:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ours / peer if peer else None,
        "better": better,
        "aim": aim,
        "runs": RUNS,
    }
