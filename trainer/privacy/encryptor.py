"""Encryptions of zero whose randomness is known to whoever makes them, and so can be proven sound.

SEAL's encryptor keeps its randomness to itself; see :mod:`trainer.privacy.wellformed`.
"""

from __future__ import annotations

import numpy as np

from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import Stream
from trainer.privacy.wellformed import Opening


class Encryptor:
    """Encrypts zero under one public key.

    Args:
        public_key: ``int64[2, P, N]``, transformed: -(a s + e), a.
    """

    def __init__(self, rns: Rns, public_key: Residues) -> None:
        self._rns = rns
        self._public_key = public_key

    def zero(self, stream: Stream) -> tuple[Residues, Opening]:
        """An encryption of zero, ``int64[2, P, N]``, transformed, and what opens its second half.

        The secret u is uniform in {-1, 0, 1}; errors are centred binomial of deviation 3.24.
        """
        degree = self._rns.degree
        once = stream.ternary(degree)
        errors = [stream.error(degree) for _ in self._public_key]
        transformed = self._rns.small(once)
        residues = [
            self._rns.add(self._rns.multiply(part, transformed), self._rns.small(error))
            for part, error in zip(self._public_key, errors, strict=True)
        ]
        return np.stack(residues), Opening(once, errors[1])
