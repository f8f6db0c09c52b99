"""A proof that ciphertexts were made by the rules, which tells nothing of what they hold.

Whoever shares in a decryption multiplies a sum's second polynomial by its part of the key. A
ciphertext whose second polynomial c1 is a member's own choice makes that product tell the key. So
nothing is summed unless its sender proves that it knows short u_j, e_j with c1_j = a u_j + e_j.

Of each row: masks y, f, short and uniform; commitment w = a y + f; challenges X^(i_j), i_j from
the hash of all that was said (Fiat and Shamir 1986); answers z = y + sum_j X^(i_j) u_j and
v = f + sum_j X^(i_j) e_j. Everybody checks that they are short, and that a z + v - sum_j X^(i_j)
c1_j are the commitments. Masks are drawn again until every answer is as likely for any u and e
(Lyubashevsky 2012, "Lattice Signatures without Trapdoors").

Whoever can answer two challenges that differ at j knows (X^i - X^k) c1_j = a u + e, and as
2 / (X^i - X^k) has coefficients of -1, 0 and 1 alone (Benhamouda et al. 2014, "Better
Zero-Knowledge Proofs for Lattice Encryption and Their Application to Group Signatures", lemma 3.1),
2 c1_j = a u' + e' with u' and e' below 2 N 2^MASK_BITS in size: twice a ciphertext is what is
shown to be sound, and twice the sum is what is decrypted. Who can answer no more than one of the
2N challenges passes a row with probability 1/2N: ``rows`` make that 2^-128 or less.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.encryption import PROOF_MASK_BITS
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, Stream, derived
from trainer.privacy.wire import narrowed, widened

_HEADER = struct.Struct("<4sHHI32s32s")
HEADER_BYTES = _HEADER.size
_MAGIC = b"MFP1"
_BYTES = (PROOF_MASK_BITS + 1) // 8
_SOUNDNESS_BITS = 128

Short = NDArray[np.int64]
"""A polynomial of small signed coefficients: ``int64[N]``."""


@dataclass(frozen=True)
class Opening:
    """What whoever encrypts alone knows of c1 = a ``once`` + ``error``."""

    once: Short
    error: Short

    def __repr__(self) -> str:
        return "Opening(...)"


class WellFormed:
    """Makes and checks proofs about ``number`` ciphertexts under one public key.

    Format: magic ``MFP1``; rows (2 bytes, little-endian); ciphertexts (2); N (4); SHA-256 of the
    context (32); the challenges' hash (32); then z and v of each row, three bytes to a coefficient.

    Args:
        reference: a, ``int64[P, N]``, transformed.
        context: what the proof is bound to: SHA-256 of the parameters, and who sends it for what.
            A proof that is copied from another sender holds in no other context.
        number: at most 8: more would have masks drawn too often.
    """

    def __init__(self, rns: Rns, reference: Residues, context: bytes, number: int = 1) -> None:
        assert 1 <= number <= 8
        self._rns = rns
        self._reference = reference
        self.context = hashlib.sha256(b"MFP1 context" + context).digest()
        self._number = number
        self.rows = -(-_SOUNDNESS_BITS // rns.degree.bit_length())

    @property
    def length(self) -> int:
        """Bytes of a proof."""
        return HEADER_BYTES + 2 * self.rows * self._rns.degree * _BYTES

    def prove(
        self, ciphertexts: Sequence[Residues], openings: Sequence[Opening], stream: Stream
    ) -> bytes:
        """A proof about these ciphertexts, ``int64[2, P, N]`` each, transformed."""
        for _ in count():
            masks = [self._masks(stream) for _ in range(self.rows)]
            said = [self._committed(*mask) for mask in masks]
            digest = self._digest(ciphertexts, said)
            answers = [
                self._answers(mask, places, openings)
                for mask, places in zip(masks, self._challenges(digest), strict=True)
            ]
            if all(self._is_short(*answer) for answer in answers):
                return self._header.packed(digest) + b"".join(
                    _packed(part) for answer in answers for part in answer
                )
        raise AssertionError

    def check(self, proof: bytes, ciphertexts: Sequence[Residues]) -> None:
        """Whether the ciphertexts, ``int64[2, P, N]`` each, were made by the rules.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``, ``WIRE_FOREIGN``, or ``CIPHERTEXT_UNSOUND``.
        """
        digest = self._header.opened(proof, self.length)
        size = self._rns.degree * _BYTES
        places = range(HEADER_BYTES, self.length, 2 * size)
        plain = [self._rns.inverse(ciphertext[1]) for ciphertext in ciphertexts]
        said = []
        for place, exponents in zip(places, self._challenges(digest), strict=True):
            once, error = (_unpacked(proof[at : at + size]) for at in (place, place + size))
            if not self._is_short(once, error):
                raise _unsound("an answer of its proof is not short")
            said.append(self._commitment(once, error, plain, exponents))
        if self._digest(ciphertexts, said) != digest:
            raise _unsound("its proof does not hold")

    # inner workings

    def _masks(self, stream: Stream) -> tuple[Short, Short]:
        degree = self._rns.degree
        return stream.short(degree, PROOF_MASK_BITS), stream.short(degree, PROOF_MASK_BITS)

    def _answers(
        self, masks: tuple[Short, Short], places: Sequence[int], openings: Sequence[Opening]
    ) -> tuple[Short, Short]:
        once, error = masks
        for place, opening in zip(places, openings, strict=True):
            once = once + turned(opening.once, place)
            error = error + turned(opening.error, place)
        return once, error

    def _is_short(self, once: Short, error: Short) -> bool:
        """Whether answers could be of any opening, and so tell of none."""
        return all(
            bool((np.abs(values) < (1 << PROOF_MASK_BITS) - self._number * largest).all())
            for values, largest in ((once, 1), (error, LARGEST_ERROR))
        )

    def _committed(self, once: Short, error: Short) -> Residues:
        """a once + error, transformed."""
        product = self._rns.multiply(self._reference, self._rns.small(once))
        return self._rns.add(product, self._rns.small(error))

    def _commitment(
        self, once: Short, error: Short, plain: Sequence[Residues], places: Sequence[int]
    ) -> Residues:
        """What a row's commitment must have been: ``plain`` are the c1, not transformed."""
        product = self._rns.multiply(self._reference, self._rns.small(once))
        rest = self._rns.lift(error)
        for c1, place in zip(plain, places, strict=True):
            rest = self._rns.subtract(rest, self._rns.lift(turned(c1, place)))
        return self._rns.add(product, self._rns.forward(rest))

    def _challenges(self, digest: bytes) -> list[list[int]]:
        """For each row, the exponents of X below 2N."""
        bits = self._rns.degree.bit_length()
        drawn = derived(digest, b"MFP1 challenge").bytes(4 * self.rows * self._number)
        exponents = np.frombuffer(drawn, dtype="<u4") >> np.uint32(32 - bits)
        rows: list[list[int]] = exponents.reshape(self.rows, self._number).tolist()
        return rows

    def _digest(self, ciphertexts: Sequence[Residues], said: Sequence[Residues]) -> bytes:
        state = hashlib.sha256(b"MFP1 proof" + self.context + self._reference_sha256)
        for polynomials in (*ciphertexts, *said):
            state.update(polynomials.astype("<i8").tobytes())
        return state.digest()

    @cached_property
    def _reference_sha256(self) -> bytes:
        return hashlib.sha256(self._reference.astype("<i8").tobytes()).digest()

    @property
    def _header(self) -> Header:
        return Header(_MAGIC, self.rows, self._number, self._rns.degree, self.context)


@dataclass(frozen=True)
class Header:
    """What a proof begins with: its format and shape, and whom and what it is for."""

    magic: bytes
    rows: int
    number: int
    degree: int
    context: bytes

    def packed(self, digest: bytes) -> bytes:
        """The bytes of HEADER_BYTES, with the hash that the challenges follow from."""
        return _HEADER.pack(self.magic, self.rows, self.number, self.degree, self.context, digest)

    def opened(self, proof: bytes, length: int) -> bytes:
        """The hash in a proof of ``length`` bytes.

        Raises:
            MedFabricError: ``WIRE_MALFORMED`` or ``WIRE_FOREIGN``.
        """
        if len(proof) != length:
            raise MedFabricError(Code.WIRE_MALFORMED, f"{len(proof)} bytes are no proof")
        magic, *shape, context, digest = _HEADER.unpack_from(proof)
        if magic != self.magic or shape != [self.rows, self.number, self.degree]:
            raise MedFabricError(Code.WIRE_MALFORMED, "not in the proof format")
        if context != self.context:
            raise MedFabricError(
                Code.WIRE_FOREIGN,
                "a proof made by or for somebody else; ask the sender for its own",
            )
        return bytes(digest)


def turned(values: NDArray[np.int64], exponent: int) -> NDArray[np.int64]:
    """The polynomials ``int64[..., N]`` times X^``exponent``, modulo X^N + 1; 0 to 2N - 1."""
    degree = values.shape[-1]
    negated, shift = divmod(exponent, degree)
    result = np.roll(values, shift, axis=-1)
    result[..., :shift] *= -1
    return -result if negated else result


def _packed(values: Short) -> bytes:
    return narrowed(values + (1 << PROOF_MASK_BITS), _BYTES)


def _unpacked(raw: bytes) -> Short:
    return widened(raw, _BYTES).astype(np.int64) - (1 << PROOF_MASK_BITS)


def _unsound(why: str) -> MedFabricError:
    return MedFabricError(
        Code.CIPHERTEXT_UNSOUND,
        f"a ciphertext is not shown to be made by the rules: {why}; it is not added up",
    )
