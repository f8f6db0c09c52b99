"""An update, and the sum of several, as parts that follow each other in one content.

An update: the ciphertext of its mask's key; the proof that this was made by the rules; the masked
values. Where the proof ties these to the key, it comes last. A sum: a ciphertext and masked values.
Each part has its own header and fixed length.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues
from trainer.privacy.tied import Tied
from trainer.privacy.wellformed import WellFormed
from trainer.privacy.wire import Form


@dataclass(frozen=True)
class SumForm:
    """The form of an encrypted sum."""

    ciphertext: Form
    masked: Form

    @property
    def length(self) -> int:
        """Bytes of content of this form."""
        return self.ciphertext.length + self.masked.length

    def read(self, source: BinaryIO) -> Iterator[Residues]:
        """Read foreign bytes; the length is checked before anything is allocated.

        Yields:
            The ciphertext, ``int64[2, P, N]``, then chunk by chunk ``int64[1, P', N]`` masked
            values.

        Raises:
            MedFabricError: as :meth:`Form.read`.
        """
        _check_length(source, self.length)
        yield from self.ciphertext.section(source)
        yield from self.masked.section(source)


@dataclass(frozen=True)
class UpdateForm:
    """The form of one sender's update in one round.

    ``proven``: hashes of what was found sound already; added to.
    """

    sum: SumForm
    proof: WellFormed
    proven: set[bytes]

    @property
    def length(self) -> int:
        """Bytes of content of this form."""
        return self.sum.length + self.proof.length

    def read(self, source: BinaryIO) -> Iterator[Residues]:
        """As :meth:`SumForm.read`; nothing is yielded that is not proven sound.

        Raises:
            MedFabricError: as :meth:`Form.read` and :meth:`WellFormed.check`.
        """
        _check_length(source, self.length)
        (ciphertext,) = self.sum.ciphertext.section(source)
        proof = source.read(self.proof.length)
        said = hashlib.sha256(self.proof.context + self.sum.ciphertext.pack(ciphertext) + proof)
        if said.digest() not in self.proven:
            self.proof.check(proof, [ciphertext])
            self.proven.add(said.digest())
        yield ciphertext
        yield from self.sum.masked.section(source)


@dataclass(frozen=True)
class TiedForm:
    """The form of one sender's update whose proof ties masked values to the encrypted key.

    ``proven``: hashes of what was found sound already; added to.
    """

    sum: SumForm
    proof: Tied
    proven: set[bytes]

    @property
    def length(self) -> int:
        """Bytes of content of this form."""
        return self.sum.length + self.proof.length

    def read(self, source: BinaryIO) -> Iterator[Residues]:
        """As :meth:`SumForm.read`; nothing is yielded that is not proven.

        Raises:
            MedFabricError: as :meth:`Form.read` and :meth:`Tied.check`.
        """
        _check_length(source, self.length)
        (ciphertext,) = self.sum.ciphertext.section(source)
        place, masked = source.tell(), hashlib.sha256(self.sum.masked.header())
        for chunk in self.sum.masked.section(source):
            masked.update(self.sum.masked.pack(chunk))
        proof = source.read(self.proof.length)
        parts = (self.proof.context, self.sum.ciphertext.pack(ciphertext), masked.digest(), proof)
        said = hashlib.sha256(b"".join(parts)).digest()
        if said not in self.proven:
            source.seek(place)
            chunks = (chunk[0] for chunk in self.sum.masked.section(source))
            self.proof.check(proof, ciphertext, masked.digest(), chunks)
            self.proven.add(said)
        source.seek(place)
        yield ciphertext
        yield from self.sum.masked.section(source)


def _check_length(source: BinaryIO, length: int) -> None:
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    if size != length:
        raise MedFabricError(
            Code.WIRE_MALFORMED, f"{size} bytes where this plan has {length}; ask the sender"
        )
