"""How far a training has come, kept so that one that was cut off goes on where it was.

Every step's batch, noise and dropout follow from the training's key alone. A training that goes on
from a checkpoint, or begins again, therefore ends in the very same update: nothing is drawn twice,
no noise ever covers two different batches, and which of several attempts ends tells nothing. A
checkpoint only saves time. It holds the model half trained and what the optimiser carries, and how
many steps of which mechanism are behind it: the privacy account of the training so far.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from chaincode.schema import canonical
from chaincode.schema.base import Count, Language, Micro, Sha256
from chaincode.schema.errors import Code, MedFabricError

CHECKPOINT_SECONDS = 20.0
"""Least time between two checkpoints; a training that takes less begins again."""


class Mechanism(Language):
    """What a step of the training is, in the privacy account's terms; noise 0 for none."""

    samples: Count
    batch_size: Count
    noise_multiplier_micro: Micro


@dataclass(frozen=True)
class Checkpoint:
    """After ``steps`` optimiser steps. ``parameters``: float32[n]; ``momentum``: float32[n], or
    None where the optimiser carries none."""

    mechanism: Mechanism
    steps: int
    parameters: NDArray[np.float32]
    momentum: NDArray[np.float32] | None


class _Header(Language):
    """First line of a checkpoint. ``course`` binds it to the key, and so to what is trained."""

    course: Sha256
    mechanism: Mechanism
    steps: Annotated[int, Field(ge=1)]
    parameters: Annotated[int, Field(ge=1)]
    momentum: bool
    body_sha256: Sha256


@dataclass
class Course:
    """The way of one training.

    Args:
        key: 32 secret bytes; of one training on one model and one set of records alone.
        kept: gives the checkpoint that was kept last, or None.
        keep: keeps a checkpoint, whole or not at all, for its owner's eyes.
        every: seconds between two checkpoints.
    """

    key: bytes = field(repr=False)
    kept: Callable[[], bytes | None] = lambda: None
    keep: Callable[[bytes], None] | None = None
    every: float = CHECKPOINT_SECONDS
    _last: float = field(default_factory=time.monotonic, init=False)

    def last(self, mechanism: Mechanism, parameters: int) -> Checkpoint | None:
        """The checkpoint to go on from.

        Raises:
            MedFabricError: ``HOME_DAMAGED``: it is not what was kept, or not of this training.
        """
        content = self.kept()
        if content is None:
            return None
        found = _decode(content, self._name)
        if found.mechanism != mechanism or found.parameters.size != parameters:
            raise _damaged("it is of another training")
        return found

    def reached(self, now: Callable[[], Checkpoint]) -> None:
        """Keep a checkpoint if one is due."""
        if self.keep is not None and time.monotonic() - self._last >= self.every:
            self.keep(_encode(now(), self._name))
            self._last = time.monotonic()

    @property
    def _name(self) -> str:
        return hashlib.sha256(b"MedFabric course" + self.key).hexdigest()


def _encode(checkpoint: Checkpoint, course: str) -> bytes:
    arrays = [checkpoint.parameters]
    if checkpoint.momentum is not None:
        arrays.append(checkpoint.momentum)
    body = b"".join(array.astype("<f4").tobytes() for array in arrays)
    header = _Header(
        course=course,
        mechanism=checkpoint.mechanism,
        steps=checkpoint.steps,
        parameters=checkpoint.parameters.size,
        momentum=checkpoint.momentum is not None,
        body_sha256=hashlib.sha256(body).hexdigest(),
    )
    return canonical.dumps(header) + b"\n" + body


def _decode(content: bytes, course: str) -> Checkpoint:
    first, _, body = content.partition(b"\n")
    try:
        header = _Header.model_validate_json(first)
    except ValidationError:
        raise _damaged("its header is unreadable") from None
    whole = 4 * header.parameters * (1 + header.momentum)
    if len(body) != whole or hashlib.sha256(body).hexdigest() != header.body_sha256:
        raise _damaged("it is not whole")
    if header.course != course:
        raise _damaged("it is of another training")
    values = np.frombuffer(body, dtype="<f4").astype(np.float32).reshape(-1, header.parameters)
    momentum = values[1] if header.momentum else None
    return Checkpoint(header.mechanism, header.steps, values[0], momentum)


def _damaged(why: str) -> MedFabricError:
    return MedFabricError(
        Code.HOME_DAMAGED,
        f"the checkpoint of a training is damaged: {why}; restore the node's folder from its "
        "backup, or delete the checkpoint to train the round from its beginning",
    )
