"""A proof that a decryption share is what it should be, made where shares decode to nothing.

Of the part k of the key that a hospital holds, the ledger has an image: short s_j and a short error
e with tau = sum_j h_j s_j + e and k = kappa + sum_j g_j s_j. A share is d = m k + f: m is the sum's
second polynomial, times Lagrange's factor where the key is dealt, and f the flooding noise. Proven
is that there are s_j, e and f of these sizes for both:

    tau = sum_j h_j s_j + e    and    d - m kappa = sum_j m g_j s_j + f.

Where a share is of the first coefficients of the sum alone, as in a study, the second equation is
of those.

**Rows.** Each has masks of all that is hidden, drawn from a seed, and is hashed with what both
equations make of the masks. Of that hash follows which half of the rows is answered: there, the
masks plus what is hidden are sent; of the others, the seeds. Everybody checks that answers are
within bounds, and computes the hash again. Where no such s_j, e and f exist, each row can be sent
in one of the two ways alone, for whoever could send it in both would have them as the difference.
So a false proof takes that the hash falls on one of C(rows, rows / 2) halves, 2^-128 or less
(:data:`~chaincode.schema.encryption.SHARE_PROOF_ROWS`). As nothing is divided, nothing is lost:
what is proven are whole numbers, each at most the largest answer and the largest mask together, and
for those the modulus has room (:func:`chaincode.schema.encryption.largest_noise`). Shares that all
have proofs therefore open every sum of updates that are tied to their keys.

**What it tells.** Of the s_j and e nothing: all is drawn again until no answer tells of them
(Lyubashevsky 2012, "Lattice Signatures without Trapdoors"). Flooding noise is too wide for that: a
mask that hides it wholly would be thousands of times wider, and so would what is proven. It is
hidden as it hides itself: masks are :data:`~chaincode.schema.encryption.SHARE_MASK_BITS` bits
wider, and what share and answers tell together of the sum's own noise is counted, by their Fisher
information, in :func:`chaincode.schema.encryption.statistical_bits`. So a proof is made once, kept,
and of one share there is no second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.encryption import (
    SHARE_ANSWER_BITS,
    SHARE_MASK_BITS,
    SHARE_PROOF_ROWS,
    largest_flood,
)
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy import sampling
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import Stream, derived
from trainer.privacy.wellformed import HEADER_BYTES, Header
from trainer.privacy.wire import Form, Kind, narrowed, widened

_MAGIC = b"MFS1"
_SEED_BYTES = 32
_BYTES = (SHARE_ANSWER_BITS + 8) // 8

Shorts = NDArray[np.int64]
"""The s_j and, last, e: ``int64[shorts + 1, N]``."""


@dataclass(frozen=True)
class Part:
    """What everybody knows of a hospital's part of the key; all transformed.

    ``image``: tau, ``int64[P, N]``. ``factors``: the h_j, ``int64[shorts, P, N]``. ``known``:
    kappa, ``int64[P, N]``. ``ties``: the g_j, ``int64[shorts, P, N]``. ``largest``: bound on the
    coefficients of the s_j and of e, where its holder is honest.
    """

    image: Residues
    factors: Residues
    known: Residues
    ties: Residues
    largest: int


@dataclass(frozen=True)
class Shared:
    """``share``: its first M coefficients, ``int64[P, M]``, not transformed. ``times``: what the
    part is multiplied by in it, m, transformed: ``int64[P, N]``."""

    share: Residues
    times: Residues


@dataclass(frozen=True)
class _Answer:
    """``shorts``: as :data:`Shorts`. ``flood``: ``int64[P, M]``, not transformed."""

    shorts: Shorts
    flood: Residues


class ShareProof:
    """Makes and checks proofs about one hospital's share in one decryption.

    Format: magic ``MFS1``; rows (2 bytes, little-endian); the s_j (2); N (4); SHA-256 of the
    context (32); the challenge's hash (32); the seeds of those rows that are not answered (32
    each); then, row by row, the answers about the s_j and e, four bytes to a coefficient, and about
    the flooding noise, as residues.

    Args:
        context: what the proof is bound to: SHA-256 of the parameters, who shares, and in what.
        flood_bits: of the plan's flooding noise.
    """

    def __init__(
        self, rns: Rns, part: Part, shared: Shared, context: bytes, flood_bits: int
    ) -> None:
        self._rns = rns
        self._part = part
        self._flood_bits = flood_bits
        self._context = hashlib.sha256(b"MFS1 context" + context).digest()
        self._told = shared.share.shape[1]
        self._residues = Form(Kind.PROOF, self._context, rns.primes, self._told, chunks=1)
        self.rows = SHARE_PROOF_ROWS
        self._shorts = len(part.factors) + 1
        ties = np.stack([rns.multiply(shared.times, tie) for tie in part.ties])
        self._factors = np.stack([part.factors, ties])
        known = rns.multiply(shared.times, part.known)
        self._targets = part.image, rns.subtract(shared.share, self._cut(known))

    @property
    def length(self) -> int:
        """Bytes of a proof."""
        return HEADER_BYTES + self.rows // 2 * (_SEED_BYTES + self._row_bytes)

    def prove(self, shorts: Shorts, stream: Stream) -> bytes:
        """A proof, by whoever knows the s_j and e.

        Raises:
            MedFabricError: ``SHARE_UNPROVEN``: the share is none of this part.
        """
        hidden = _Answer(shorts, self._flooding(shorts))
        if not self._rns.bounded(hidden.flood, largest_flood(self._flood_bits)):
            raise _unproven("it is not made of this hospital's part of the key")
        for _ in count():
            seeds = [stream.bytes(_SEED_BYTES) for _ in range(self.rows)]
            digest = self._digest(
                image for seed in seeds for image in self._images(self._mask(seed))
            )
            answered = self._answered(digest)
            answers = [self._sum(self._mask(seeds[row]), hidden) for row in answered]
            if all(map(self._is_short, answers)):
                opened = [seed for row, seed in enumerate(seeds) if row not in answered]
                parts = (*opened, *map(self._packed, answers))
                return self._header.packed(digest) + b"".join(parts)
        raise AssertionError

    def check(self, proof: bytes) -> None:
        """Whether the share is what it should be.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``, ``WIRE_FOREIGN``, ``RESIDUE_RANGE``, or
                ``SHARE_UNPROVEN``.
        """
        digest = self._header.opened(proof, self.length)
        answers = list(self._unpacked(proof))
        if not all(map(self._is_short, answers)):
            raise _unproven("an answer of its proof is not short")
        if self._digest(self._said(proof, digest, answers)) != digest:
            raise _unproven("its proof does not hold")

    # inner workings

    def _said(self, proof: bytes, digest: bytes, answers: list[_Answer]) -> Iterator[Residues]:
        """What each row's masks must have been made into."""
        answered, given = set(self._answered(digest)), iter(answers)
        place = HEADER_BYTES
        for row in range(self.rows):
            if row in answered:
                images = self._images(next(given))
                yield from map(self._rns.subtract, images, self._targets)
            else:
                yield from self._images(self._mask(proof[place : place + _SEED_BYTES]))
                place += _SEED_BYTES

    def _flooding(self, shorts: Shorts) -> Residues:
        """What a share is more than its part of the key times the sum."""
        nothing = _Answer(shorts, np.zeros_like(self._targets[1]))
        return self._rns.subtract(self._targets[1], self._images(nothing)[1])

    def _mask(self, seed: bytes) -> _Answer:
        stream, degree = derived(seed, b"MFS1 mask"), self._rns.degree
        shorts = [stream.short(degree, SHARE_ANSWER_BITS) for _ in range(self._shorts)]
        digits = stream.flood(degree, self._flood_bits + SHARE_MASK_BITS)
        flood = self._rns.joined(digits, sampling.LIMB_BITS)[:, : self._told]
        return _Answer(np.stack(shorts), flood)

    def _sum(self, mask: _Answer, hidden: _Answer) -> _Answer:
        return _Answer(mask.shorts + hidden.shorts, self._rns.add(mask.flood, hidden.flood))

    def _is_short(self, answer: _Answer) -> bool:
        """Whether answers are within their bounds; those about short polynomials then could be of
        any, and so tell of none."""
        bound = (1 << SHARE_ANSWER_BITS) - self._part.largest
        largest = largest_flood(self._flood_bits)
        return bool((np.abs(answer.shorts) < bound).all()) and self._rns.bounded(
            answer.flood, largest + (largest << SHARE_MASK_BITS)
        )

    def _images(self, answer: _Answer) -> tuple[Residues, Residues]:
        """What both equations make of it, as the targets are."""
        rns = self._rns
        *shorts, error = map(rns.small, answer.shorts)
        image, share = error, np.zeros_like(error)
        for first, second, short in zip(*self._factors, shorts, strict=True):
            image = rns.add(image, rns.multiply(first, short))
            share = rns.add(share, rns.multiply(second, short))
        return image, rns.add(self._cut(share), answer.flood)

    def _cut(self, values: Residues) -> Residues:
        """The coefficients that a share is of."""
        return self._rns.inverse(values)[:, : self._told]

    def _digest(self, said: Iterator[Residues]) -> bytes:
        state = hashlib.sha256(b"MFS1 proof" + self._context)
        for polynomials in (self._factors, *self._targets, *said):
            state.update(hashlib.sha256(polynomials.astype("<i8").tobytes()).digest())
        return state.digest()

    def _answered(self, digest: bytes) -> list[int]:
        """Rows that are answered, in order: half of them."""
        drawn = derived(digest, b"MFS1 rows").bytes(8 * self.rows)
        order = np.argsort(np.frombuffer(drawn, dtype="<u8"), kind="stable")
        rows: list[int] = np.sort(order[: self.rows // 2]).tolist()
        return rows

    # bytes

    @property
    def _row_bytes(self) -> int:
        return self._shorts * self._rns.degree * _BYTES + self._residues.chunk_length

    def _packed(self, answer: _Answer) -> bytes:
        shorts = narrowed(answer.shorts + (1 << SHARE_ANSWER_BITS), _BYTES)
        return shorts + self._residues.pack(answer.flood[None])

    def _unpacked(self, proof: bytes) -> Iterator[_Answer]:
        size = self._row_bytes - self._residues.chunk_length
        first = HEADER_BYTES + self.rows // 2 * _SEED_BYTES
        for place in range(first, self.length, self._row_bytes):
            shorts = widened(proof[place : place + size], _BYTES).astype(np.int64)
            shorts = shorts.reshape(self._shorts, -1) - (1 << SHARE_ANSWER_BITS)
            raw = proof[place + size : place + self._row_bytes]
            yield _Answer(shorts, self._residues.unpack(raw)[0])

    @property
    def _header(self) -> Header:
        shape = (self.rows, self._shorts - 1, self._rns.degree)
        return Header(_MAGIC, *shape, self._context)


def _unproven(why: str) -> MedFabricError:
    return MedFabricError(
        Code.SHARE_UNPROVEN, f"a decryption share is not shown to be right: {why}; name its sender"
    )
