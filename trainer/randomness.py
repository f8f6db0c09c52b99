"""Random choices that follow from a secret key: batches, noise, dropout.

Differential privacy holds against whoever cannot guess the noise and the sampled records. Each
training has a fresh key of 32 bytes from the operating system, stretched by AES-256 in counter
mode. What follows from the key is the same whenever it is asked for: a training that was cut off
goes on with the batches and the noise that it would have had.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical
from trainer.privacy import sampling

Draw = Callable[[int], bytes]
"""So many random bytes."""


@dataclass(frozen=True)
class Seeds:
    """A key that everybody can guess, so that a run can be repeated: for tests and experiments
    alone. ``value``: at least 0."""

    value: int

    @property
    def key(self) -> bytes:
        """32 bytes that follow from the value."""
        return hashlib.sha256(b"MedFabric seeds, no secret %d" % self.value).digest()


@dataclass(frozen=True)
class Secrets:
    """Makes secrets of 32 bytes: by the operating system; in test mode, from the test's seed and
    the node's name, so that anybody can guess them."""

    test: tuple[int, str, str] | None = field(default=None, repr=False)

    def new(self, *purpose: str | int) -> bytes:
        """A secret; in test mode the same for the same purpose."""
        if self.test is None:
            return os.urandom(32)
        return bytes.fromhex(canonical.sha256([*self.test, *purpose]))

    def test_stream(self, *purpose: str | int) -> sampling.Stream | None:
        """What test mode draws from where the encryption has a source of its own; else None."""
        return None if self.test is None else sampling.Stream(self.new(*purpose))


def source(key: bytes, purpose: str) -> Draw:
    """The random bytes of a purpose, from its beginning; independent of other purposes'."""
    return sampling.derived(key, purpose.encode()).bytes


def chosen(draw: Draw, number: int, expected: int) -> NDArray[np.int64]:
    """Row numbers below ``number``, each taken independently with probability expected/number.

    The probability is rounded down to a multiple of 2^-63, never up.
    """
    words = np.frombuffer(draw(8 * number), dtype="<u8") >> np.uint64(1)
    return np.flatnonzero(words < np.uint64((expected << 63) // number))
