"""Canonical bytes of ciphertexts, keys, proofs, shares and masked values.

Header, 52 bytes, little-endian: magic ``MFR2``; kind (1 byte); a zero byte; number of primes (2);
N (4); number of chunks (4); polynomials per chunk (4); SHA-256 of the context (32). Then, chunk by
chunk, polynomial by polynomial, prime by prime: the low 32 bits of N residues, and after them their
high parts, of 0, 1 or 2 bytes as the prime is of 32, 40 or 48 bits. One value has one form, its
length follows from the header, and a chunk is read at a time.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues

Integers = NDArray[np.uint64]
"""Of a ring of fewer bits: what is beyond them does not count."""

_HEADER = struct.Struct("<4sBxHIII32s")
_MAGIC = b"MFR2"
_HIGH = {32: None, 40: np.dtype("u1"), 48: np.dtype("<u2")}


class Kind(IntEnum):
    """What the residues are."""

    KEY = 1
    CIPHERTEXT = 2
    SHARE = 3
    PROOF = 4
    SUBSHARE = 5
    QUERY = 6
    ANSWER = 7
    MASKED = 8
    MODEL = 9
    SCORES = 10
    COMMITMENT = 11


MALFORMED = frozenset({Code.WIRE_MALFORMED, Code.WIRE_FOREIGN, Code.RESIDUE_RANGE})
"""Why foreign bytes are not read."""
_HIDING = frozenset({Kind.CIPHERTEXT, Kind.QUERY})
"""Fresh ciphertexts, or sums of them."""


@dataclass(frozen=True)
class Form:
    """The one form that content of a kind and size has.

    ``context``: SHA-256 of the parameters that it was made under. ``primes``: each of 32, 40 or
    48 bits.
    """

    kind: Kind
    context: bytes
    primes: tuple[int, ...]
    degree: int
    chunks: int
    polynomials: int = 1

    @property
    def length(self) -> int:
        """Bytes of content of this form."""
        return _HEADER.size + self.chunks * self.chunk_length

    @property
    def chunk_length(self) -> int:
        """Bytes of one chunk."""
        bits = sum(prime.bit_length() for prime in self.primes)
        return self.polynomials * self.degree * bits // 8

    def header(self) -> bytes:
        """What content of this form begins with."""
        shape = (len(self.primes), self.degree, self.chunks, self.polynomials)
        return _HEADER.pack(_MAGIC, self.kind, *shape, self.context)

    @staticmethod
    def context_of(content: bytes) -> bytes:
        """The context that content says it was made under.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``.
        """
        if len(content) < _HEADER.size:
            raise MedFabricError(Code.WIRE_MALFORMED, f"{len(content)} bytes have no header")
        return bytes(_HEADER.unpack_from(content)[-1])

    def pack(self, chunk: Iterable[Residues]) -> bytes:
        """One chunk's bytes, of polynomials ``int64[primes, N]``, canonical."""
        parts = []
        for polynomial in chunk:
            for values, prime in zip(polynomial, self.primes, strict=True):
                parts.append(values.astype("<u4").tobytes())
                if high := _HIGH[prime.bit_length()]:
                    parts.append((values >> 32).astype(high).tobytes())
        return b"".join(parts)

    def encode(self, residues: Residues) -> bytes:
        """Whole content: ``int64[chunks, polynomials, primes, N]``, canonical."""
        return self.header() + b"".join(self.pack(chunk) for chunk in residues)

    def decode(self, content: bytes) -> Residues:
        """Whole content, as :meth:`read` reads it: ``int64[chunks, polynomials, primes, N]``."""
        return np.stack(list(self.read(io.BytesIO(content))))

    def read(self, source: BinaryIO) -> Iterator[Residues]:
        """Read foreign bytes; header and length are checked before anything is allocated.

        Yields:
            Chunk by chunk ``int64[polynomials, primes, N]``.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``, ``WIRE_FOREIGN``, ``RESIDUE_RANGE`` or
                ``TRANSPARENT`` (a ciphertext whose second polynomial is zero hides nothing).
        """
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        if size >= _HEADER.size and size != self.length:
            self._check_header(source.read(_HEADER.size))
            raise MedFabricError(Code.WIRE_MALFORMED, "its length is not what its header says")
        return self.section(source)

    def section(self, source: BinaryIO) -> Iterator[Residues]:
        """As :meth:`read`, from where the source stands: of content with several parts, whose
        length was checked."""
        self._check_header(source.read(_HEADER.size))
        return self._chunks(source)

    def _chunks(self, source: BinaryIO) -> Iterator[Residues]:
        for _ in range(self.chunks):
            raw = source.read(self.chunk_length)
            if len(raw) != self.chunk_length:
                raise MedFabricError(Code.WIRE_MALFORMED, "it ends before its last chunk")
            chunk = self.unpack(raw)
            if self.kind in _HIDING and not chunk[1].any():
                raise MedFabricError(
                    Code.TRANSPARENT, "a ciphertext's second polynomial is zero: it hides nothing"
                )
            yield chunk

    def unpack(self, raw: bytes) -> Residues:
        """What :meth:`pack` made, ``int64[polynomials, primes, N]``, from foreign bytes of one
        chunk's length.

        Raises:
            MedFabricError: ``RESIDUE_RANGE``.
        """
        result = np.empty((self.polynomials, len(self.primes), self.degree), dtype=np.int64)
        place = 0
        for polynomial in result:
            for values, prime in zip(polynomial, self.primes, strict=True):
                values[:] = np.frombuffer(raw, "<u4", self.degree, place)
                place += 4 * self.degree
                if high := _HIGH[prime.bit_length()]:
                    part = np.frombuffer(raw, high, self.degree, place).astype(np.int64)
                    values |= part << 32
                    place += high.itemsize * self.degree
                if int(values.max()) >= prime:
                    raise MedFabricError(
                        Code.RESIDUE_RANGE,
                        "a residue is not below its prime; ask the sender for its own",
                    )
        return result

    def _check_header(self, raw: bytes) -> None:
        if len(raw) < _HEADER.size:
            raise MedFabricError(Code.WIRE_MALFORMED, f"{len(raw)} bytes are no {self.kind.name}")
        magic, found, *shape, context = _HEADER.unpack(raw)
        if magic != _MAGIC or raw[5] != 0:
            raise MedFabricError(Code.WIRE_MALFORMED, "not in the residue format")
        wanted = [len(self.primes), self.degree, self.chunks, self.polynomials]
        if found != self.kind or shape != wanted:
            raise MedFabricError(
                Code.WIRE_MALFORMED,
                f"not a {self.kind.name} of this plan's size; ask the sender for one",
            )
        if context != self.context:
            raise MedFabricError(
                Code.WIRE_FOREIGN,
                "made under another plan's parameters; ask the sender for this one's",
            )


def narrowed(values: NDArray[np.integer], width: int) -> bytes:
    """The low ``width`` bytes, at most 8, of every number, little-endian."""
    raw = values.astype("<u8").view(np.uint8).reshape(-1, 8)
    return raw[:, :width].tobytes()


def widened(raw: bytes, width: int) -> Integers:
    """The numbers that so many bytes to each stand for: ``uint64[len(raw) / width]``."""
    values = np.zeros((len(raw) // width, 8), dtype=np.uint8)
    values[:, :width] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return values.view("<u8").reshape(-1)
