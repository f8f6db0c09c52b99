"""How far a training has come, kept so that one that was cut off goes on where it was.

Every step's batch, noise and dropout follow from the training's key alone. A training that goes on
from a checkpoint, or begins again, therefore ends in the very same update: nothing is drawn twice,
no noise ever covers two different batches, and which of several attempts ends tells nothing. A
checkpoint only saves time. It holds the model half trained and what the optimiser carries, and how
many steps of which mechanism are behind it: the privacy account of the training so far.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from chaincode.schema import canonical
from chaincode.schema.base import Count, Language, Micro
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
    """Second line of a checkpoint. The first authenticates all that follows by the training's key
    (HMAC-SHA-256), and so binds it to what is trained."""

    mechanism: Mechanism
    steps: Annotated[int, Field(ge=1)]
    parameters: Annotated[int, Field(ge=1)]
    momentum: bool


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
        found = _decode(content, self.key)
        if found.mechanism != mechanism or found.parameters.size != parameters:
            raise _damaged("it is of another training")
        return found

    def reached(self, now: Callable[[], Checkpoint]) -> None:
        """Keep a checkpoint if one is due."""
        if self.keep is not None and time.monotonic() - self._last >= self.every:
            self.keep(_encode(now(), self.key))
            self._last = time.monotonic()


def _encode(checkpoint: Checkpoint, key: bytes) -> bytes:
    arrays = [checkpoint.parameters]
    if checkpoint.momentum is not None:
        arrays.append(checkpoint.momentum)
    body = b"".join(array.astype("<f4").tobytes() for array in arrays)
    header = _Header(
        mechanism=checkpoint.mechanism,
        steps=checkpoint.steps,
        parameters=checkpoint.parameters.size,
        momentum=checkpoint.momentum is not None,
    )
    content = canonical.dumps(header) + b"\n" + body
    return _tag(content, key) + b"\n" + content


def _decode(content: bytes, key: bytes) -> Checkpoint:
    tag, _, rest = content.partition(b"\n")
    if not hmac.compare_digest(tag, _tag(rest, key)):
        raise _damaged("it is not whole, or of another training")
    first, _, body = rest.partition(b"\n")
    header = _Header.model_validate_json(first)
    values = np.frombuffer(body, dtype="<f4").astype(np.float32).reshape(-1, header.parameters)
    momentum = values[1] if header.momentum else None
    return Checkpoint(header.mechanism, header.steps, values[0], momentum)


def _tag(content: bytes, key: bytes) -> bytes:
    return hmac.new(key, b"MedFabric checkpoint" + content, hashlib.sha256).hexdigest().encode()


def _damaged(why: str) -> MedFabricError:
    return MedFabricError(
        Code.HOME_DAMAGED,
        f"the checkpoint of a training is damaged: {why}; restore the node's folder from its "
        "backup, or delete the checkpoint to train the round from its beginning",
    )
