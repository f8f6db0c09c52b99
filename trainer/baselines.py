"""What the same records give without protection: trained centrally, and by plain FedAvg."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chaincode.schema.plans import TrainingTerms
from trainer.data.records import Records
from trainer.models import registry
from trainer.training import Seeds, evaluate, parameters, train


@dataclass(frozen=True)
class Baselines:
    """Test accuracies; ``fedavg`` after each round."""

    centralised: float
    fedavg: tuple[float, ...]


def run(
    hospitals: Sequence[Records], test: Records, training: TrainingTerms, classes: int, seed: int
) -> Baselines:
    """Train both baselines with the plan's own steps, batch and rounds."""
    config = {"features": hospitals[0].features.shape[1], "classes": classes}
    model = registry.build("logistic", config)
    start = parameters(model)
    weights = start
    sizes = [len(records) for records in hospitals]
    accuracies = []
    for number in range(training.rounds):
        deltas = [
            train(model, weights, records, training, None, Seeds(seed * 1000 + number)).delta
            for records in hospitals
        ]
        weights = (weights + np.average(deltas, axis=0, weights=sizes)).astype(np.float32)
        accuracies.append(_accuracy(*evaluate(model, weights, test)))
    pooled = Records(
        np.concatenate([records.features for records in hospitals]),
        np.concatenate([records.labels for records in hospitals]),
    )
    whole = training.model_copy(update={"steps": training.steps * training.rounds})
    trained = train(model, start, pooled, whole, None, Seeds(seed))
    central = (start + trained.delta).astype(np.float32)
    return Baselines(_accuracy(*evaluate(model, central, test)), tuple(accuracies))


def _accuracy(correct: int, total: int) -> float:
    return correct / total if total else 0.0
