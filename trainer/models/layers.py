"""Which of a model's parameters are trained: all, or those of the layers that a plan names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import LayerTerms, TrainingTerms
from trainer.models.registry import Layout, size

if TYPE_CHECKING:
    from torch import nn

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class Layers:
    """The layers ``chosen``, none for all; the ``names`` of their parameters, and the ``places`` of
    these among all, flattened."""

    chosen: tuple[str, ...]
    names: frozenset[str]
    places: tuple[slice, ...]

    @classmethod
    def of(cls, shapes: Layout, chosen: Sequence[str] = ()) -> Layers:
        """Of the layers or parameters with these paths; of all where none is named.

        Raises:
            MedFabricError: ``ARCHITECTURE_CONFIG``: there is no such layer.
        """
        for layer in chosen:
            if not any(_within(name, layer) for name, _ in shapes):
                known = ", ".join(sorted({name.rpartition(".")[0] or name for name, _ in shapes}))
                raise MedFabricError(
                    Code.ARCHITECTURE_CONFIG, f"no layer {layer}; there are {known}"
                )
        names: set[str] = set()
        places: list[slice] = []
        place = 0
        for name, shape in shapes:
            end = place + size(((name, shape),))
            if not chosen or any(_within(name, layer) for layer in chosen):
                names.add(name)
                first = places.pop().start if places and places[-1].stop == place else place
                places.append(slice(first, end))
            place = end
        return cls(tuple(chosen), frozenset(names), tuple(places))

    @property
    def size(self) -> int:
        """How many parameters are trained."""
        return sum(place.stop - place.start for place in self.places)

    @property
    def terms(self) -> LayerTerms | None:
        """As a plan pins them; None for all."""
        if not self.chosen:
            return None
        return LayerTerms(names=self.chosen, parameters=self.size)

    @classmethod
    def planned(cls, shapes: Layout, training: TrainingTerms) -> Layers:
        """What a plan trains.

        Raises:
            MedFabricError: ``ARCHITECTURE_CONFIG``: the architecture has no such layers, or not so
                many parameters in them.
        """
        pinned = training.layers
        found = cls.of(shapes, pinned.names if pinned else ())
        if pinned and pinned != found.terms:
            raise MedFabricError(
                Code.ARCHITECTURE_CONFIG,
                f"{', '.join(pinned.names)}: {found.size} parameters here, the plan says "
                f"{pinned.parameters}; propose it with what `medfabric node check-model` counts",
            )
        return found

    def taken(self, values: NDArray[_Number]) -> NDArray[_Number]:
        """The trained ones of all parameters: of float[n], float[m]."""
        parts = [values[place] for place in self.places]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def put(self, values: NDArray[_Number], trained: NDArray[_Number]) -> NDArray[_Number]:
        """All parameters, float[n], with these in the places of the trained ones, float[m]."""
        after, done = values.copy(), 0
        for place in self.places:
            number = place.stop - place.start
            after[place] = trained[done : done + number]
            done += number
        return after

    def freeze_others(self, model: nn.Module) -> None:
        """Give no gradient to the parameters that are not trained.

        Raises:
            MedFabricError: ``TRAINING_REFUSED``: the architecture itself has frozen all that are.
        """
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name in self.names)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise MedFabricError(
                Code.TRAINING_REFUSED,
                "the model's architecture has frozen every parameter that is to be trained; name "
                "other layers",
            )


def _within(name: str, layer: str) -> bool:
    return f"{name}.".startswith(f"{layer}.")
