"""A proof that an update's masked values open under the key that is encrypted beside them.

It stands where :mod:`trainer.privacy.wellformed` does, and shows more. Said is, for a key k and
short u, e, e', and m_j for every chunk j:

    c0 = b u + e + D k    and    c1 = a u + e'    modulo the ciphertext's modulus, D its scale;
    y_j = a_j k + m_j                             modulo the masks'.

**Folds.** All chunks are hashed with the ciphertext; of that hash follow exponents, one for each
chunk and fold. Fold r is Y_r = sum_j X^(i_rj) y_j, and A_r likewise of the a_j: Y_r = A_r k + V_r
with V_r = sum_j X^(i_rj) m_j, short where every m_j is. Where an m_j is not, few exponents make V_r
short, whatever the others are. For if more than 2^v of the 2N do, two of them agree modulo 2^v, and
the difference of their V_r is X^i (1 - X^s) m_j, s a multiple of 2^v; and 2 / (1 - X^s) is a sum of
at most N / 2^v powers of X (Benhamouda et al. 2014, lemma 3.1). So 2 m_j is below 2 N / 2^v times
the bound on V_r.

**Answers** z = r + X^i u and z' = r' + X^i k, for challenges X^i and short uniform r and r', are
drawn until they tell nothing of u and k (Lyubashevsky 2012). For errors and for the V_r there are
no answers: what is hashed for a challenge is b r + D r', a r and the A_r r' without their low bits,
and b z + D z' - X^i c0, a z - X^i c1 and the A_r z' - X^i Y_r, which everybody computes, differ
from these by X^i times e, e' and V_r: by no more than low bits (Bai and Galbraith 2014, "An
Improved Compression Technique for Signatures Based on Learning with Errors"). All is drawn again,
too, where an honest error might carry into the high bits; whether it might is seen from what
everybody computes, and so tells nothing.

**What is shown.** Who can answer two challenges of a row knows u', k' and errors, N times the
bounds in size, with 2 c0 = b u' + D k' + ..., 2 c1 = a u' + ... and 2 Y_r = A_r k' + V'_r for every
fold at once; of one ciphertext there is no more than one such k', for D is far above the errors. So
2 y_j - a_j k' is, by the folds, half of something short: k' may be odd, and so may four times the
values be. The bounds are those of :class:`chaincode.schema.tied.Tie`; they are far beyond the clip.
All folds together let a longer value pass, and all rows a false fold, with a probability of 2^-128
or less each. Rows and folds are not paired: who may choose after each hash would else need to be
lucky with half of them only (Attema, Fehr, Klooss 2022, "Fiat-Shamir Transformation of Multi-Round
Interactive Proofs").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.encryption import PROOF_MASK_BITS
from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy import ring
from trainer.privacy.kahe import TiedMasks
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, Stream, derived
from trainer.privacy.wellformed import HEADER_BYTES, Header, Short, turned
from trainer.privacy.wire import narrowed, widened

_MAGIC = b"MFT1"
_ERROR_BITS = PROOF_MASK_BITS + 1
"""Low bits that a ciphertext's errors stay in."""
_SUMMED = 1 << 12
"""Residues that are added up before they are reduced."""

Answer = tuple[Short, Short]


@dataclass(frozen=True)
class PublicKey:
    """What an update's key is encrypted with.

    ``halves``: (b, a), ``int64[2, P, N]``, transformed. ``scale``: D, ``int64[P, 1]``.
    """

    halves: Residues
    scale: Residues


@dataclass(frozen=True)
class _Said:
    """What a proof is about.

    ``digest``: of all that the folds follow from. ``halves``: the ciphertext, ``int64[P, 2, N]``.
    ``public``: the A_r, ``int64[folds, P', N]``, transformed. ``folds``: the Y_r, ``int64[P',
    folds, N]``. What is not said to be transformed is not.
    """

    digest: bytes
    halves: Residues
    public: Residues
    folds: Residues


class Tied:
    """Makes and checks proofs about one sender's update.

    Format: magic ``MFT1``; rows (2 bytes, little-endian); folds (2); N (4); SHA-256 of the context
    (32); the challenges' hash (32); then each row's answers about u, three bytes to a coefficient,
    and about k, as many bytes as these need.

    Args:
        context: what the proof is bound to: SHA-256 of the parameters, and who sends it for what.
    """

    def __init__(self, rns: Rns, key: PublicKey, masks: TiedMasks, context: bytes) -> None:
        self._rns = rns
        self._key = key
        self._masks = masks
        self._tie = masks.tie
        self.context = hashlib.sha256(b"MFT1 context" + context).digest()

    @property
    def length(self) -> int:
        """Bytes of a proof."""
        return HEADER_BYTES + self._tie.rows * self._rns.degree * sum(self._widths)

    def prove(
        self,
        ciphertext: Residues,
        masked_sha256: bytes,
        secrets: Answer,
        messages: Iterable[NDArray[np.int64]],
        stream: Stream,
    ) -> bytes:
        """A proof about a ciphertext, ``int64[2, P, N]``, transformed, and masked chunks.

        Args:
            masked_sha256: of the chunks, as they are sent.
            secrets: u and k.
            messages: the m_j, ``int64[N]`` each.
        """
        said = self._hidden(ciphertext, masked_sha256, secrets[1], messages)
        # What answers leave is what masks give, without errors times the challenge.
        halves, folds = self._left(said, self._images(said, secrets), 0)
        errors = replace(said, halves=-halves, folds=-folds)
        bits = (PROOF_MASK_BITS, self._tie.key_bits)
        for _ in count():
            masks = [self._drawn(stream, bits) for _ in range(self._tie.rows)]
            images = [self._images(said, mask) for mask in masks]
            digest = self._digest(said, images)
            places = self._challenges(digest)
            answers = [self._answer(*pair, secrets) for pair in zip(masks, places, strict=True)]
            if all(map(self._is_short, answers)) and all(
                self._tells_nothing(self._left(errors, *pair))
                for pair in zip(images, places, strict=True)
            ):
                return self._header.packed(digest) + b"".join(map(self._packed, answers))
        raise AssertionError

    def check(
        self,
        proof: bytes,
        ciphertext: Residues,
        masked_sha256: bytes,
        chunks: Iterable[Residues],
    ) -> None:
        """Whether the masked chunks, ``int64[P', N]`` each, open under the encrypted key.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``, ``WIRE_FOREIGN``, or ``CIPHERTEXT_UNSOUND``.
        """
        digest = self._header.opened(proof, self.length)
        answers = list(self._unpacked(proof))
        if not all(map(self._is_short, answers)):
            raise _unsound("an answer of its proof is not short")
        said = self._open(ciphertext, masked_sha256, chunks)
        images = (
            self._left(said, self._images(said, answer), place)
            for answer, place in zip(answers, self._challenges(digest), strict=True)
        )
        if self._digest(said, images) != digest:
            raise _unsound("its proof does not hold")

    # what is proven

    def _hidden(
        self,
        ciphertext: Residues,
        masked_sha256: bytes,
        key: Short,
        messages: Iterable[NDArray[np.int64]],
    ) -> _Said:
        """By whoever knows the key: masks need not be made again."""
        digest = self._bound(ciphertext, masked_sha256)
        public, rns = self._public(digest), self._masks.rns
        transformed = rns.small(key)
        left = self._folded(digest, messages, rns.lift)
        folds = [
            rns.add(rns.inverse(rns.multiply(a, transformed)), rns.lift(v))
            for a, v in zip(public, left, strict=True)
        ]
        return _Said(digest, self._plain(ciphertext), public, np.stack(folds, axis=1))

    def _open(
        self, ciphertext: Residues, masked_sha256: bytes, chunks: Iterable[Residues]
    ) -> _Said:
        digest = self._bound(ciphertext, masked_sha256)
        folds = self._folded(digest, chunks, self._masks.rns.lift)
        halves, public = self._plain(ciphertext), self._public(digest)
        return _Said(digest, halves, public, folds.transpose(1, 0, 2))

    def _public(self, digest: bytes) -> Residues:
        rns, chunks = self._masks.rns, range(self._tie.chunks)
        folds = self._folded(digest, map(self._masks.public, chunks), rns.lift)
        return np.stack([rns.forward(fold) for fold in folds])

    def _plain(self, ciphertext: Residues) -> Residues:
        return np.stack([self._rns.inverse(half) for half in ciphertext], axis=1)

    def _bound(self, ciphertext: Residues, masked_sha256: bytes) -> bytes:
        """The hash that the folds follow from."""
        state = hashlib.sha256(b"MFT1 update" + self.context + self._key_sha256)
        state.update(ciphertext.astype("<i8").tobytes())
        state.update(masked_sha256)
        return state.digest()

    def _folded(
        self,
        digest: bytes,
        parts: Iterable[NDArray[np.int64]],
        lift: Callable[[Residues], Residues],
    ) -> NDArray[np.int64]:
        """Folds of what there is of each chunk, one after the other: ``int64[folds, ..., N]``."""
        if not self._tie.folded:
            return np.stack(list(parts))
        total = np.zeros(0, dtype=np.int64)
        for chunk, part in enumerate(parts):
            if not chunk:
                total = np.zeros((self._tie.folds, *part.shape), dtype=np.int64)
            for fold, exponent in enumerate(self._exponents(digest, chunk)):
                total[fold] += turned(part, exponent)
            if chunk % _SUMMED == 0 and part.ndim > 1:
                total = lift(total)
        return lift(total) if total.ndim > 2 else total

    def _exponents(self, digest: bytes, chunk: int) -> list[int]:
        stream = derived(digest, b"MFT1 fold" + chunk.to_bytes(8, "little"))
        return _powers(stream, self._tie.folds, self._rns.degree)

    # a row

    def _images(self, said: _Said, answer: Answer) -> tuple[Residues, Residues]:
        """b z + D z' and a z, ``int64[P, 2, N]``; and the A_r z', ``int64[P', folds, N]``."""
        rns, masks = self._rns, self._masks.rns
        once, key = map(rns.small, answer)
        b, a = (rns.multiply(half, once) for half in self._key.halves)
        scaled = rns.add(b, rns.multiply(key, self._key.scale))
        halves = np.stack([rns.inverse(scaled), rns.inverse(a)], axis=1)
        transformed = masks.small(answer[1])
        folds = [masks.inverse(masks.multiply(part, transformed)) for part in said.public]
        return halves, np.stack(folds, axis=1)

    def _left(
        self, said: _Said, images: tuple[Residues, Residues], place: int
    ) -> tuple[Residues, Residues]:
        """What is left of images without what was sent, times the challenge."""
        halves, folds = (
            ring.lift(image - turned(sent, place), rns.column[:, None])
            for rns, image, sent in zip(
                (self._rns, self._masks.rns), images, (said.halves, said.folds), strict=True
            )
        )
        return halves, folds

    def _tells_nothing(self, left: tuple[Residues, Residues]) -> bool:
        """Whether no honest errors carry into high bits."""
        return all(
            np.array_equal(
                rns.high(rns.subtract(part, rns.residues(largest)), bits),
                rns.high(rns.add(part, rns.residues(largest)), bits),
            )
            for rns, part, largest, bits in self._parts(left, LARGEST_ERROR, self._tie.largest_fold)
        )

    def _parts(
        self, images: tuple[Residues, Residues], *largest: int
    ) -> Iterator[tuple[Rns, Residues, int, int]]:
        """Each ring, what there is of it as ``int64[primes, M]``, a bound, and its low bits."""
        rings = (self._rns, self._masks.rns)
        bits = (_ERROR_BITS, self._tie.fold_bits)
        for rns, image, bound, low in zip(rings, images, largest, bits, strict=True):
            yield rns, image.reshape(len(image), -1), bound, low

    def _digest(self, said: _Said, images: Iterable[tuple[Residues, Residues]]) -> bytes:
        state = hashlib.sha256(b"MFT1 proof" + said.digest)
        for row in images:
            for rns, part, _, bits in self._parts(row, 0, 0):
                state.update(rns.high(part, bits).astype("<i4").tobytes())
        return state.digest()

    def _challenges(self, digest: bytes) -> list[int]:
        """For each row, an exponent of X below 2N."""
        return _powers(derived(digest, b"MFT1 challenge"), self._tie.rows, self._rns.degree)

    def _drawn(self, stream: Stream, bits: tuple[int, int]) -> Answer:
        degree = self._rns.degree
        return stream.short(degree, bits[0]), stream.short(degree, bits[1])

    def _answer(self, mask: Answer, place: int, secrets: Answer) -> Answer:
        return mask[0] + turned(secrets[0], place), mask[1] + turned(secrets[1], place)

    def _is_short(self, answer: Answer) -> bool:
        """Whether answers could be of any secrets, and so tell of none."""
        bounds = (1 << PROOF_MASK_BITS) - 1, (1 << self._tie.key_bits) - self._tie.tail
        return all(
            bool((np.abs(values) < bound).all())
            for values, bound in zip(answer, bounds, strict=True)
        )

    # bytes

    @property
    def _widths(self) -> tuple[int, int]:
        """Bytes of a coefficient of each answer, which has a sign."""
        return (PROOF_MASK_BITS + 8) // 8, (self._tie.key_bits + 8) // 8

    def _packed(self, answer: Answer) -> bytes:
        bits = (PROOF_MASK_BITS, self._tie.key_bits)
        return b"".join(
            narrowed(values + (1 << size), width)
            for values, size, width in zip(answer, bits, self._widths, strict=True)
        )

    def _unpacked(self, proof: bytes) -> Iterator[Answer]:
        degree, bits = self._rns.degree, self._tie.key_bits
        once, key = (width * degree for width in self._widths)
        for place in range(HEADER_BYTES, self.length, once + key):
            first = widened(proof[place : place + once], self._widths[0]).astype(np.int64)
            second = proof[place + once : place + once + key]
            values = widened(second, self._widths[1]).astype(np.int64)
            yield first - (1 << PROOF_MASK_BITS), values - (1 << bits)

    @cached_property
    def _key_sha256(self) -> bytes:
        state = hashlib.sha256(self._key.halves.astype("<i8").tobytes())
        state.update(self._key.scale.astype("<i8").tobytes())
        return state.digest()

    @property
    def _header(self) -> Header:
        tie = self._tie
        return Header(_MAGIC, tie.rows, tie.folds, self._rns.degree, self.context)


def _powers(stream: Stream, number: int, degree: int) -> list[int]:
    drawn = np.frombuffer(stream.bytes(4 * number), dtype="<u4")
    found: list[int] = (drawn >> np.uint32(32 - degree.bit_length())).tolist()
    return found


def _unsound(why: str) -> MedFabricError:
    return MedFabricError(
        Code.CIPHERTEXT_UNSOUND,
        "an update is not shown to be made by the rules, and to open under the key that it "
        f"encrypts: {why}; it is not added up",
    )
