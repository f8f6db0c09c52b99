"""What the same records give without protection: trained centrally, and by plain FedAvg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from chaincode.schema.plans import TrainingTerms
from trainer.data.records import Records
from trainer.simulation import centralised, federated
from trainer.training import evaluate


@dataclass(frozen=True)
class Baselines:
    """Test accuracies; ``fedavg`` after each round."""

    centralised: float
    fedavg: tuple[float, ...]


def run(
    model: nn.Module,
    hospitals: Sequence[Records],
    test: Records,
    training: TrainingTerms,
    seed: int,
) -> Baselines:
    """Train both baselines with the plan's own architecture, steps, batch and rounds.

    Args:
        hospitals: training records of each.
        seed: at least 0; fixes every random choice.
    """
    fedavg = federated(model, hospitals, training, None, seed)
    central = centralised(model, hospitals, training, seed)

    def accuracy(correct: int, total: int) -> float:
        return correct / total if total else 0.0

    return Baselines(
        accuracy(*evaluate(model, central, test)),
        tuple(accuracy(*evaluate(model, weights, test)) for weights, _ in fedavg),
    )
