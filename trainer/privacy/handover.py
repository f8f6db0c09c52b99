"""How the holders of a dealt key deal it on to others, who may be more or fewer than they.

Holder i of those who hand on has k_i, of which every earlier dealer's commitment is on the ledger;
they add up to one of k_i. It deals l_i k_i by a new polynomial, l_i being Lagrange's factor of
those who hand on, and shows by the proof of :mod:`trainer.privacy.dealing` that the value at 0 is
what that commitment holds. What a new holder gets adds up to its value of a polynomial through the
same secret: the key stays, and nobody has seen it (Desmedt and Jajodia 1997, "Redistributing Secret
Shares to New Access Structures and Its Applications"). The old parts tell nothing of the new
polynomial, and are deleted.

A public part begins with the earlier dealers' commitments, so that the ledger's hashes of these
are all that must be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy import commitments
from trainer.privacy.commitments import SHORTS, Commitments
from trainer.privacy.dealing import Dealing, Hidden, KeySecret
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.wellformed import Short
from trainer.privacy.wire import Form, Kind


@dataclass(frozen=True)
class Held:
    """What a hospital holds of a dealt key, ``int64[P, N]``, and what opens its commitment,
    ``int64[3, N]``; ``commitments``: of each earlier dealer, ``int64[dealers, 2, P, N]``."""

    value: Residues
    opening: Short
    commitments: Residues

    def __repr__(self) -> str:
        return "Held(...)"


class Handing(Dealing):
    """Makes and checks what one holder deals on.

    Args:
        context: of the plan that the key is handed on to.
        former: of the plan that hands it on.
        hospitals: to whom is dealt.
        threshold: how many of them decrypt.
        factor: Lagrange's, of this holder among those who hand on.
        bound: hashes of what this holder's part is committed to, one of each earlier dealer.
        held: this holder's part; None where its dealing is only checked.
    """

    def __init__(
        self,
        rns: Rns,
        references: Commitments,
        context: bytes,
        former: bytes,
        hospitals: int,
        threshold: int,
        factor: int,
        bound: Sequence[str],
        held: Held | None = None,
    ) -> None:
        largest = commitments.largest(len(bound))
        super().__init__(rns, context, hospitals, threshold, (0, *[largest] * SHORTS))
        self._references = references
        self._factor = rns.residues(factor)
        self._inverse = rns.residues(pow(factor, -1, rns.modulus))
        self._bound = bound
        self._held = held
        shape = (former, rns.primes, rns.degree)
        self._former = Form(Kind.COMMITMENT, *shape, chunks=len(bound), polynomials=2)

    def _hidden(self, secret: KeySecret) -> Hidden:
        assert self._held is not None
        high = self._high(secret.stream(self._context, b"handing"))
        constant = self._rns.multiply(self._held.value, self._factor)
        return Hidden([constant, *high], [self._rns.small(short) for short in self._held.opening])

    def _image(self, constant: Residues, shorts: list[Residues]) -> Residues:
        return self._references.image(self._rns.multiply(constant, self._inverse), shorts)

    def _shown(self, image: Residues) -> bytes:
        assert self._held is not None
        return self._former.encode(self._held.commitments)

    def _read(self, document: bytes) -> tuple[Residues, bytes]:
        length = self._former.length
        found = self._former.decode(document[:length])
        if [commitments.digest(commitment) for commitment in found] != list(self._bound):
            raise MedFabricError(
                Code.KEY_SHARE_INVALID,
                "what a hospital hands on is not what was dealt to it; do not confirm the key",
            )
        total = np.zeros_like(found[0])
        for commitment in found:
            total = self._rns.add(total, commitment)
        return total, document[length:]
