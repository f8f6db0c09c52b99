"""What the demonstration measures with all records in hand, in a process of its own.

Only the experimenter can do this; no hospital holds another's records. The held-out test records
are used here and nowhere else, after training has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TypeVar

from chaincode.schema.plans import PlanTerms
from trainer.report.node import NodeReport, report
from trainer.report.quality import Quality

Result = TypeVar("Result")
_SPAWN = get_context("spawn")


@dataclass(frozen=True)
class Measured:
    """Accuracies of each model in order, and of the baselines; ``quality`` of the last model on the
    test records; each hospital's own report."""

    test: tuple[float, ...]
    train: tuple[float, ...]
    fedavg: tuple[float, ...]
    centralised: float
    test_records: int
    quality: Quality
    nodes: tuple[NodeReport, ...]


def apart(function: Callable[..., Result], *args: object, context: BaseContext = _SPAWN) -> Result:
    """Run a function in a fresh process: what it imports is gone from memory afterwards."""
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def base_model(architecture: str, config: dict[str, int]) -> tuple[bytes, str, int]:
    """As :func:`trainer.models.values.base_model`, which cannot be named without importing torch
    where it is named."""
    from trainer.models import values

    return values.base_model(architecture, config)


def measure(
    application: str,
    records: Path,
    hospitals: int,
    seed: int,
    terms: str,
    models: Sequence[bytes],
    nodes: Sequence[Path],
) -> Measured:
    """Evaluate models and train the baselines.

    Args:
        application: its id.
        records: folder that the data set was written to.
        terms: the plan's terms as JSON.
        models: model files, one per round.
        nodes: the nodes' configurations.
    """
    import torch

    from trainer import applications, baselines, presets
    from trainer.applications.files import existing, load
    from trainer.data.records import VALIDATION_FRACTION, Records, split
    from trainer.models import registry, weights
    from trainer.report.quality import assess
    from trainer.simulation import pooled
    from trainer.training import evaluate

    torch.set_num_threads(1)
    plan = PlanTerms.model_validate_json(terms)
    chosen = applications.find(application)
    parts, test = load(chosen, existing(chosen, records, hospitals))
    training = [split(part, VALIDATION_FRACTION, seed)[0] for part in parts]
    everybody = pooled(training)
    model = registry.build(plan.model.architecture, plan.model.config)
    shapes = registry.layout(model)

    def accuracy(content: bytes, on: Records) -> float:
        values, _ = weights.decode_of(plan, content, shapes)
        correct, total = evaluate(model, values, on)
        return correct / total

    plain = presets.unprotected(chosen.tuned, plan.training)
    last, _ = weights.decode_of(plan, models[-1], shapes)
    unprotected = baselines.run(model, training, test, plain, seed)
    return Measured(
        test=tuple(accuracy(content, test) for content in models),
        train=tuple(accuracy(content, everybody) for content in models),
        fedavg=unprotected.fedavg,
        centralised=unprotected.centralised,
        test_records=len(test),
        nodes=tuple(report(path, plan.plan_id) for path in nodes),
        quality=assess(model, last, test, plan.data.classes),
    )
