"""One seed of an application's training in one process, as several benchmarks measure it.

The same training function as a node's, updates clipped and rounded as the encryption does. Test
records are evaluated once, on the last model of each training.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chaincode.schema.plans import PrivacyTerms, SizeTerms, TrainingTerms
    from trainer.applications.application import Application
    from trainer.data.records import Records

HOSPITALS = 4


@dataclass(frozen=True)
class Federation:
    """Hospitals with an application's records, split by a seed; ``validations``: of each, what it
    judges candidates by; ``changes`` to the application's training terms."""

    application: Application
    seed: int
    hospitals: tuple[Records, ...]
    validations: tuple[Records, ...]
    test: Records
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, seed: int, partition: str = "identical", hospitals: int = HOSPITALS
    ) -> Federation:
        """Hospitals' training records and the held-out test records."""
        from trainer import applications
        from trainer.applications.files import load, write
        from trainer.data.records import VALIDATION_FRACTION, split

        found = applications.find(name)
        with tempfile.TemporaryDirectory() as folder:
            files = write(found, Path(folder), hospitals, seed, partition, sample_seed=seed)
            whole, test = load(found, files)
        parts = [split(records, VALIDATION_FRACTION, seed) for records in whole]
        training, validation = zip(*parts, strict=True)
        return cls(found, seed, training, validation, test)

    def changed(self, **changes: Any) -> Federation:
        """The same hospitals with other training terms."""
        return replace(self, changes=changes)

    @cached_property
    def validation(self) -> Records:
        """Of all hospitals together, to choose by."""
        from trainer.simulation import pooled

        return pooled(self.validations)

    @property
    def samples(self) -> int:
        """Training records of the smallest hospital."""
        return min(len(records) for records in self.hospitals)

    @cached_property
    def model(self) -> Any:
        """The application's architecture, at its start."""
        from trainer.models import registry

        return registry.build(self.application.architecture, self.application.config)

    @cached_property
    def training(self) -> TrainingTerms:
        """The application's training terms."""
        from trainer import presets

        terms = presets.training(self.application.tuned, self.samples)
        return terms.model_copy(update=dict(self.changes))

    @cached_property
    def plain_training(self) -> TrainingTerms:
        """The same without privacy."""
        from trainer import presets

        return presets.unprotected(self.application.tuned, self.training)

    def privacy(self, epsilon_micro: int | None = None) -> PrivacyTerms:
        """Noise for the plan's epsilon, or another."""
        from trainer import presets

        wanted = presets.EPSILON_MICRO if epsilon_micro is None else epsilon_micro
        return presets.privacy(self.application.tuned, self.training, self.samples, wanted)

    def sizes(self, epsilon_micro: int | None = None) -> tuple[SizeTerms, ...]:
        """What larger hospitals do instead, for the plan's epsilon, or another."""
        from trainer import presets

        wanted = presets.EPSILON_MICRO if epsilon_micro is None else epsilon_micro
        samples = [len(records) for records in self.hospitals]
        return presets.sizes(self.application.tuned, self.training, samples, wanted)

    def private(
        self, epsilon_micro: int | None = None, clip: float | None = None, fitted: bool = True
    ) -> tuple[Any, float]:
        """Weights of the last round with privacy, and the largest value of an update.

        Args:
            epsilon_micro: instead of the plan's.
            clip: range of an update's values, instead of that of the encryption.
            fitted: whether noise and batch suit each hospital's size, instead of all the smallest.
        """
        from chaincode.schema import sizes as fitting
        from trainer.simulation import federated

        privacy = self.privacy(epsilon_micro)
        sizes = self.sizes(epsilon_micro) if fitted else ()
        if clip is None:
            samples = [len(records) for records in self.hospitals]
            size = _trained(self.model, self.training)
            clip = fitting.clip_micro(self.training, privacy, sizes, samples, size) / 1e6
        rounds = list(
            federated(self.model, self.hospitals, self.training, privacy, self.seed, clip, sizes)
        )
        return rounds[-1][0], max(largest for _, largest in rounds)

    def plain(self, hospitals: Sequence[Records] | None = None, clip: float = float("inf")) -> Any:
        """Weights of federated averaging without privacy, of all hospitals or of some.

        Args:
            clip: range of an update's values.
        """
        from trainer.simulation import federated

        members = self.hospitals if hospitals is None else hospitals
        terms = self.plain_training
        return list(federated(self.model, members, terms, None, self.seed, clip))[-1][0]

    def centralised(self) -> Any:
        """Weights of unprotected training on all hospitals' records at once."""
        from trainer.simulation import centralised

        return centralised(self.model, self.hospitals, self.plain_training, self.seed)

    def accuracy(self, weights: Any, records: Records | None = None) -> float:
        """On the test records, or on others."""
        from trainer.training import evaluate

        correct, total = evaluate(self.model, weights, self.test if records is None else records)
        return correct / total


def value_clip(training: TrainingTerms, privacy: PrivacyTerms, model: Any) -> float:
    """Range of an update's values under the encryption, as a plan has it by default."""
    from chaincode.schema import clipping

    return clipping.clip_micro(training, privacy, _trained(model, training)) / 1e6


def _trained(model: Any, training: TrainingTerms) -> int:
    from trainer.models.layers import Layers
    from trainer.models.registry import layout

    return Layers.planned(layout(model), training).size


def mean(values: Sequence[float]) -> float:
    """Over the seeds."""
    return statistics.fmean(values)


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the seeds."""
    return statistics.stdev(values)


def row(
    what: str,
    ours: float,
    peer: float | None,
    peer_name: str | None,
    runs: int,
    better: str = "higher",
    unit: str = "accuracy",
    aim: str = "",
) -> dict[str, Any]:
    """A row of results."""
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": peer_name,
        "unit": unit,
        "ratio": ours / peer if peer else None,
        "better": better,
        "aim": aim,
        "runs": runs,
    }
