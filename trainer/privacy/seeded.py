"""Encryptions of zero that follow from a key: for test mode alone, where runs repeat."""

from __future__ import annotations

import numpy as np

from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import Stream


class SeededEncryptor:
    """Encrypts zero under one public key, with randomness that whoever has the stream's key knows.

    Args:
        public_key: ``int64[2, P, N]``, transformed.
    """

    def __init__(self, rns: Rns, public_key: Residues, stream: Stream) -> None:
        self._rns = rns
        self._public_key = public_key
        self._stream = stream

    def zero(self) -> Residues:
        """The next encryption of zero: ``int64[2, P, N]``, transformed."""
        degree = self._rns.degree
        once = self._rns.small(self._stream.ternary(degree))
        errors = [self._rns.small(self._stream.error(degree)) for _ in self._public_key]
        return np.stack(
            [
                self._rns.add(self._rns.multiply(part, once), error)
                for part, error in zip(self._public_key, errors, strict=True)
            ]
        )
