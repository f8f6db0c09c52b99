"""What a node learns with: the plan's model on the node's own records. Imports torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms, PrivacyTerms, TrainingTerms
from chaincode.schema.sharing import Gain
from client.identity import Identity
from trainer import strategies
from trainer.data.dataset import Recorded, open_recorded
from trainer.models import registry, weights
from trainer.models.check import check, refuse
from trainer.models.layers import Layers
from trainer.node.config import ComputeConfig, DataConfig
from trainer.progress import Course
from trainer.strategies.strategy import moved
from trainer.training import Compute, Trained, evaluate, train


class Learner:
    """Trains, applies and evaluates one plan's models.

    Args:
        device: the class that the node was registered with.

    Raises:
        MedFabricError: the plan's architecture is not the one it pins by hash, or has other layers
            than the plan trains, or the data does not fit the plan, or is not what the ledger
            records.
    """

    def __init__(
        self,
        terms: PlanTerms,
        data: DataConfig,
        recorded: Recorded,
        compute: ComputeConfig,
        device: str,
        identity: Identity | None = None,
    ) -> None:
        # Many small operations: one thread is faster than a pool, and several nodes share cores.
        torch.set_num_threads(1)
        self.dataset_id = data.dataset_id
        self._terms = terms
        self._compute = Compute(compute.accelerator, compute.precision)
        _check_data(terms)
        self._strategy = strategies.find(terms.training.strategy)
        self._model = registry.build(terms.model.architecture, terms.model.config)
        self._layout = registry.layout(self._model)
        _check_architecture(terms, self._layout)
        self._layers = Layers.planned(self._layout, terms.training)
        if not registry.is_ours(terms.model.architecture):
            found = check(self._model, terms.data.shape, len(terms.data.classes))
            refuse(terms.model.architecture, found)
        opened = open_recorded(data, terms.data, recorded, identity)
        self._records, self._validation = opened.training, opened.validation
        self._test = opened.test
        self.training, self.privacy = terms.work(len(opened.training), device)
        self._judged: dict[str, tuple[int, int]] = {}

    @cached_property
    def records_sha256(self) -> str:
        """Hash of the training records, unsalted: never leaves the node."""
        digest = hashlib.sha256(np.ascontiguousarray(self._records.features).data)
        digest.update(np.ascontiguousarray(self._records.labels).data)
        return digest.hexdigest()

    def train(self, base: bytes, course: Course) -> Trained:
        """One round's training from the base model's file."""
        start, _ = weights.decode_of(self._terms, base, self._layout)
        return train(
            self._model,
            start,
            self._records,
            self.training,
            self.privacy,
            course=course,
            compute=self._compute,
        )

    def personalised(self, base: bytes, tuning: Tuning) -> bytes:
        """The file of the base model with chosen layers trained on from there on the node's own
        records; without ``tuning.privacy`` it has no noise, and is for this node alone.

        Raises:
            MedFabricError: ``ARCHITECTURE_CONFIG`` where the model has no such layer;
                ``TRAINING_REFUSED``.
        """
        start, _ = weights.decode_of(self._terms, base, self._layout)
        layers = Layers.of(self._layout, tuning.layers)
        terms = tuning.terms.model_copy(update={"layers": layers.terms})
        trained = train(
            self._model, start, self._records, terms, tuning.privacy, compute=self._compute
        )
        after = moved(layers.taken(start), trained.delta)
        return weights.encode(layers.put(start, after), self._layout)

    def gain(self, base: bytes, model: bytes) -> Gain | None:
        """How a model does beside its base, on the hospital's test part, or where there is none on
        its validation part; None without either."""
        part: Literal["test", "validation"] = "test" if len(self._test) else "validation"
        records = self._test if len(self._test) else self._validation
        if not len(records):
            return None
        before, after = (
            evaluate(self._model, weights.decode_of(self._terms, file, self._layout)[0], records)[0]
            for file in (base, model)
        )
        return Gain(part=part, base_correct=before, correct=after, total=len(records))

    def apply(self, base: bytes, mean: NDArray[np.float64]) -> bytes:
        """The file of the base model moved by the mean update, by the plan's strategy."""
        start, state = weights.decode_of(self._terms, base, self._layout)
        before = self._layers.taken(start)
        after, kept = self._strategy.step(before, state, mean, self._terms.training.settings)
        return weights.encode(self._layers.put(start, after), self._layout, kept)

    def evaluate(self, model: bytes) -> tuple[int, int]:
        """Correct predictions and records of this hospital's validation split."""
        if not len(self._validation):
            return 0, 0
        sha256 = hashlib.sha256(model).hexdigest()
        if sha256 not in self._judged:
            parameters, _ = weights.decode_of(self._terms, model, self._layout)
            found = evaluate(self._model, parameters, self._validation)
            # One round's candidate is the next one's base.
            self._judged = {**dict(list(self._judged.items())[-1:]), sha256: found}
        return self._judged[sha256]


@dataclass(frozen=True)
class Tuning:
    """How a model is personalised. ``layers``: paths of layers or parameters; empty for all.
    ``privacy``: None for a model that stays with its node."""

    layers: tuple[str, ...]
    terms: TrainingTerms
    privacy: PrivacyTerms | None = None


def _check_data(terms: PlanTerms) -> None:
    model = terms.model
    shape = registry.shape(model.architecture, model.config)
    if shape != terms.data.shape:
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG,
            f"{model.architecture} as {terms.plan_id} configures it takes records of the shape "
            f"{shape}, the plan's have {terms.data.shape}; propose a plan whose parts fit",
        )


def _check_architecture(terms: PlanTerms, shapes: registry.Layout) -> None:
    model = terms.model
    digest = registry.sha256(model.architecture, model.config, shapes)
    if digest != model.architecture_sha256 or registry.size(shapes) != model.parameters:
        raise MedFabricError(
            Code.ARCHITECTURE_CONFIG,
            f"{model.architecture} as installed here is not the one that {terms.plan_id} pins; "
            "install the version of MedFabric that the plan was made with",
        )
