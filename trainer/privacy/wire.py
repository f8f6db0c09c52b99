"""Canonical bytes of ciphertexts, key shares and decryption shares.

Header, 52 bytes, little-endian: magic ``MFR1``; kind (1 byte); a zero byte; number of primes (2);
N (4); number of chunks (4); polynomials per chunk (4); SHA-256 of the context (32). Then, chunk by
chunk, polynomial by polynomial, prime by prime: N residues of ``prime.bit_length()`` bits, packed
from the least significant bit on. One value has one form, and its length follows from the header.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues

_HEADER = struct.Struct("<4sBxHIII32s")
_MAGIC = b"MFR1"


class Kind(IntEnum):
    """What the residues are, and so how many polynomials a chunk has."""

    KEY = 1
    CIPHERTEXT = 2
    SHARE = 3

    @property
    def polynomials(self) -> int:
        return 2 if self is Kind.CIPHERTEXT else 1


def encode(kind: Kind, context: bytes, primes: Sequence[int], residues: Residues) -> bytes:
    """The canonical bytes of ``uint64[chunks, polynomials, primes, N]``, each below its prime."""
    chunks, polynomials, _, degree = residues.shape
    header = _HEADER.pack(_MAGIC, kind, len(primes), degree, chunks, polynomials, context)
    parts = [header]
    for chunk in residues:
        for polynomial in chunk:
            for values, prime in zip(polynomial, primes, strict=True):
                parts.append(_pack(values, prime.bit_length()))
    return b"".join(parts)


def decode(
    content: bytes, kind: Kind, context: bytes, primes: Sequence[int], degree: int, chunks: int
) -> Residues:
    """Read foreign bytes; everything is checked before anything is allocated.

    Returns:
        ``uint64[chunks, polynomials, primes, N]``.

    Raises:
        MedFabricError: ``WIRE_MALFORMED``, ``WIRE_FOREIGN``, ``RESIDUE_RANGE`` or
            ``TRANSPARENT`` (a ciphertext whose second polynomial is zero hides nothing).
    """
    _check_header(content, kind, context, len(primes), degree, chunks)
    if len(content) != length(kind, primes, degree, chunks):
        raise MedFabricError(Code.WIRE_MALFORMED, "its length is not what its header says")
    result = np.empty((chunks, kind.polynomials, len(primes), degree), dtype=np.uint64)
    raw = np.frombuffer(content, dtype=np.uint8)
    place = _HEADER.size
    for index in np.ndindex(result.shape[:3]):
        bits = primes[index[2]].bit_length()
        size = degree * bits // 8
        values = _unpack(raw[place : place + size], bits)
        if int(values.max()) >= primes[index[2]]:
            raise MedFabricError(
                Code.RESIDUE_RANGE, "a residue is not below its prime; ask the sender for its own"
            )
        result[index] = values
        place += size
    if kind is Kind.CIPHERTEXT and not result[:, 1].any(axis=(1, 2)).all():
        raise MedFabricError(
            Code.TRANSPARENT, "a ciphertext's second polynomial is zero: it encrypts nothing"
        )
    return result


def length(kind: Kind, primes: Sequence[int], degree: int, chunks: int) -> int:
    """Bytes of :func:`encode`'s result."""
    bits = sum(prime.bit_length() for prime in primes)
    return _HEADER.size + chunks * kind.polynomials * bits * degree // 8


def _check_header(
    content: bytes, kind: Kind, context: bytes, primes: int, degree: int, chunks: int
) -> None:
    if len(content) < _HEADER.size:
        raise MedFabricError(Code.WIRE_MALFORMED, f"{len(content)} bytes are no {kind.name}")
    magic, found, *shape, of_context = _HEADER.unpack_from(content)
    if magic != _MAGIC or content[5] != 0:
        raise MedFabricError(Code.WIRE_MALFORMED, "not in the residue format")
    if found != kind or shape != [primes, degree, chunks, kind.polynomials]:
        raise MedFabricError(
            Code.WIRE_MALFORMED, f"not a {kind.name} of this plan's size; ask the sender for one"
        )
    if of_context != context:
        raise MedFabricError(
            Code.WIRE_FOREIGN, "made under another plan's parameters; ask the sender for this one's"
        )


def _pack(values: Residues, bits: int) -> bytes:
    octets = np.ascontiguousarray(values, dtype="<u8").view(np.uint8).reshape(-1, 8)
    if bits % 8 == 0:
        return octets[:, : bits // 8].tobytes()
    digits = np.unpackbits(octets, axis=1, bitorder="little")[:, :bits]
    return np.packbits(digits.reshape(-1), bitorder="little").tobytes()


def _unpack(raw: NDArray[np.uint8], bits: int) -> Residues:
    number = raw.size * 8 // bits
    octets = np.zeros((number, 8), dtype=np.uint8)
    if bits % 8 == 0:
        octets[:, : bits // 8] = raw.reshape(number, bits // 8)
    else:
        digits = np.zeros((number, 64), dtype=np.uint8)
        digits[:, :bits] = np.unpackbits(raw, bitorder="little").reshape(number, bits)
        octets = np.packbits(digits, axis=1, bitorder="little")
    return octets.view("<u8").reshape(number).astype(np.uint64, copy=False)
