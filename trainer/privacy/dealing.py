"""How a hospital shows its part of a plan's key, and deals it to the others.

Dealer j has a short secret s_j and publishes b_j = -(a s_j + e_j). For a threshold t below n it
shares s_j by f_j(X) = s_j + r_1 X + ... + r_(t-1) X^(t-1), the r uniform, and hospital i gets
f_j(i) (Shamir 1979, over each prime of the modulus and each place of the transform).

One proof shows possession of s_j and that what is dealt lies on one polynomial through it: three
masks g = y + rho_1 X + ..., y short; every pair (f(i), g(i)) is bound by hash; challenges c are
sparse ternary polynomials from the hash of all that was said (Fiat and Shamir 1986); the answers
h = g + c f and z = y_e + c e are published. Everybody checks that h(0) and z are short and that
-(a h(0) + z) - c b is the masks' own b (Lyubashevsky 2012); hospital i checks that
(f(i), h(i) - c f(i)) has the hash. A dealing that lies on no polynomial passes with probability
about 1/p per mask, p being a prime of the modulus. As with every such proof, what it shows to be
short is s_j times a difference of challenges.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, Stream, derived
from trainer.privacy.wire import Form, Kind

_MASKS = 3
_MASK_BITS = 34
_CHALLENGE_WEIGHT = 32


@dataclass(frozen=True)
class KeySecret:
    """A hospital's part of the secret key, as the 32 bytes that all of it follows from. It never
    leaves its node."""

    seed: bytes

    @classmethod
    def from_bytes(cls, raw: bytes) -> KeySecret:
        """Read what the node's folder holds.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``.
        """
        if len(raw) != 32:
            raise MedFabricError(
                Code.WIRE_MALFORMED, "the key secret is damaged; restore the node's folder"
            )
        return cls(raw)

    def stream(self, context: bytes, purpose: bytes) -> Stream:
        """Randomness of one purpose in one plan."""
        return derived(self.seed, context + purpose)

    def __repr__(self) -> str:
        return "KeySecret(...)"


class KeyDealing:
    """Makes and checks the hospitals' parts of one plan's key.

    Args:
        reference: a, ``int64[P, N]``.
        context: SHA-256 of the plan's parameters.
        hospitals: n. Hospital i of the plan, counted from 1, stands at point i.
        threshold: t, or n where every hospital's share is needed: nothing is then dealt.
    """

    def __init__(
        self, rns: Rns, reference: Residues, context: bytes, hospitals: int, threshold: int
    ) -> None:
        self._rns = rns
        self._reference = reference
        self._context = context
        self._hospitals = hospitals
        self._dealt = threshold < hospitals
        self._terms = threshold if self._dealt else 1
        form = (context, rns.primes, rns.degree)
        self._key = Form(Kind.KEY, *form, chunks=1)
        self._proof = Form(Kind.PROOF, *form, chunks=_MASKS, polynomials=self._terms + 1)

    @property
    def dealt(self) -> bool:
        """Whether the secrets are dealt: some hospitals may then be missing from a decryption."""
        return self._dealt

    def secret_polynomial(self, secret: KeySecret) -> NDArray[np.int64]:
        """s_j: ``int64[N]`` of -1, 0, 1."""
        return secret.stream(self._context, b"secret").ternary(self._rns.degree)

    def make(self, secret: KeySecret, dealer: int) -> bytes:
        """The public part of hospital ``dealer``: the same bytes each time."""
        # Masks are drawn again until every answer hides its secret (Lyubashevsky 2012): about one
        # draw in a thousand is rejected.
        for attempt in count():
            if (document := self._attempt(secret, dealer, attempt)) is not None:
                return document
        raise AssertionError

    def subshare(self, secret: KeySecret, recipient: int) -> Residues:
        """f_j(recipient): ``int64[P, N]``, for that hospital's eyes alone."""
        return self._at(self._polynomial(secret), recipient)

    def check(self, document: bytes, dealer: int) -> Residues:
        """b_j, where the public part of hospital ``dealer`` is sound: ``int64[P, N]``.

        Raises:
            MedFabricError: ``KEY_SHARE_INVALID``, or the wire format's codes.
        """
        parts = self._parse(document)
        for answer, challenge in zip(parts.answers, self._challenges(parts.digest), strict=True):
            if not self._is_short(answer):
                raise _invalid("an answer of its proof is not short")
            parts.commitments.append(self._commitment(parts.key, answer, challenge))
        digest = self._digest(dealer, parts.key, parts.hashes, parts.commitments)
        if digest != parts.digest:
            raise _invalid("its proof of possession does not hold")
        return parts.key

    def check_subshare(
        self, document: bytes, dealer: int, recipient: int, subshare: Residues
    ) -> None:
        """Whether what hospital ``recipient`` got from ``dealer`` is what its public part binds.

        Raises:
            MedFabricError: ``SUBSHARE_WRONG``, or the wire format's codes.
        """
        parts = self._parse(document)
        masks = [
            self._rns.subtract(
                self._at(list(answer[:-1]), recipient), self._rns.multiply(challenge, subshare)
            )
            for answer, challenge in zip(parts.answers, self._challenges(parts.digest), strict=True)
        ]
        bound = parts.hashes[32 * (recipient - 1) : 32 * recipient]
        if self._subshare_hash(dealer, recipient, subshare, masks) != bound:
            raise MedFabricError(
                Code.SUBSHARE_WRONG,
                f"what hospital {dealer} of the plan dealt to hospital {recipient} is not on the "
                "polynomial that its public part binds; complain on the ledger",
            )

    # inner workings

    def _attempt(self, secret: KeySecret, dealer: int, attempt: int) -> bytes | None:
        """A public part from one draw of masks; None where an answer is not short."""
        polynomial = self._polynomial(secret)
        noise = self._rns.small(secret.stream(self._context, b"error").error(self._rns.degree))
        key = self._public(polynomial[0], noise)
        stream = secret.stream(self._context, b"masks" + struct.pack("<I", attempt))
        masks = [self._mask(stream) for _ in range(_MASKS)]
        hashes = self._hashes(dealer, polynomial, masks) if self._dealt else b""
        commitments = [self._public(mask[0], mask[-1]) for mask in masks]
        digest = self._digest(dealer, key, hashes, commitments)
        answers = [
            self._answer(mask, challenge, [*polynomial, noise])
            for mask, challenge in zip(masks, self._challenges(digest), strict=True)
        ]
        if not all(self._is_short(answer) for answer in answers):
            return None
        own = self._key.encode(key[None, None])
        return own + hashes + digest + self._proof.encode(np.stack(answers))

    def _mask(self, stream: Stream) -> list[Residues]:
        """g's coefficients, and the mask of the error."""
        short = self._rns.small(stream.short(self._rns.degree, _MASK_BITS))
        high = [self._uniform(stream) for _ in range(self._terms - 1)]
        return [short, *high, self._rns.small(stream.short(self._rns.degree, _MASK_BITS))]

    def _answer(
        self, mask: list[Residues], challenge: Residues, hidden: list[Residues]
    ) -> Residues:
        products = [self._rns.multiply(challenge, part) for part in hidden]
        return np.stack([self._rns.add(*pair) for pair in zip(mask, products, strict=True)])

    def _is_short(self, answer: Residues) -> bool:
        """Whether an answer's first and last polynomials are, and so hide what they carry."""
        return all(
            self._rns.within(short, (1 << _MASK_BITS) - _CHALLENGE_WEIGHT * largest - 1)
            for short, largest in ((answer[0], 1), (answer[-1], LARGEST_ERROR))
        )

    def _hashes(
        self, dealer: int, polynomial: list[Residues], masks: list[list[Residues]]
    ) -> bytes:
        """What binds the subshares of all hospitals."""
        return b"".join(
            self._subshare_hash(
                dealer,
                recipient,
                self._at(polynomial, recipient),
                [self._at(mask[:-1], recipient) for mask in masks],
            )
            for recipient in range(1, self._hospitals + 1)
        )

    def _polynomial(self, secret: KeySecret) -> list[Residues]:
        """f_j's coefficients."""
        stream = secret.stream(self._context, b"dealing")
        high = [self._uniform(stream) for _ in range(self._terms - 1)]
        return [self._rns.small(self.secret_polynomial(secret)), *high]

    def _uniform(self, stream: Stream) -> Residues:
        return stream.uniform(self._rns.degree, self._rns.primes)

    def _at(self, coefficients: Sequence[Residues], point: int) -> Residues:
        """A polynomial's value, by Horner's rule."""
        scalar = self._rns.residues(point)
        value = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            value = self._rns.add(self._rns.multiply(value, scalar), coefficient)
        return value

    def _public(self, short: Residues, error: Residues) -> Residues:
        """-(a short + error)."""
        rns = self._rns
        product = rns.multiply(self._reference, short)
        return rns.subtract(np.zeros_like(product), rns.add(product, error))

    def _commitment(self, key: Residues, answer: Residues, challenge: Residues) -> Residues:
        public = self._public(answer[0], answer[-1])
        return self._rns.subtract(public, self._rns.multiply(challenge, key))

    def _challenges(self, digest: bytes) -> list[Residues]:
        return [self._challenge(derived(digest, bytes([number]))) for number in range(_MASKS)]

    def _challenge(self, stream: Stream) -> Residues:
        """A polynomial with 32 coefficients of -1 or 1, all others 0."""
        values = np.zeros(self._rns.degree, dtype=np.int64)
        left = _CHALLENGE_WEIGHT
        while left:
            (drawn,) = struct.unpack("<I", stream.bytes(4))
            place = (drawn >> 1) % self._rns.degree
            if not values[place]:
                values[place] = 1 - 2 * (drawn & 1)
                left -= 1
        return self._rns.small(values)

    def _digest(
        self, dealer: int, key: Residues, hashes: bytes, commitments: Sequence[Residues]
    ) -> bytes:
        text = b"MFR2 key proof" + self._context + struct.pack("<I", dealer) + hashes
        for polynomial in (key, *commitments):
            text += hashlib.sha256(polynomial.astype("<i8").tobytes()).digest()
        return hashlib.sha256(text).digest()

    def _subshare_hash(
        self, dealer: int, recipient: int, subshare: Residues, masks: Sequence[Residues]
    ) -> bytes:
        state = hashlib.sha256(b"MFR2 subshare" + self._context)
        state.update(struct.pack("<II", dealer, recipient))
        for polynomial in (subshare, *masks):
            state.update(polynomial.astype("<i8").tobytes())
        return state.digest()

    def _parse(self, document: bytes) -> _Parts:
        size = self._key.length + self._hashes_length + 32 + self._proof.length
        if len(document) != size:
            raise MedFabricError(Code.WIRE_MALFORMED, "not a key share of this plan's size")
        place = self._key.length
        key = self._key.decode(document[:place])[0, 0]
        hashes = document[place : place + self._hashes_length]
        place += self._hashes_length
        answers = self._proof.decode(document[place + 32 :])
        return _Parts(key, hashes, document[place : place + 32], answers, [])

    @property
    def _hashes_length(self) -> int:
        return 32 * self._hospitals if self._dealt else 0


@dataclass(frozen=True)
class _Parts:
    """A public part as read. ``answers``: ``int64[masks, t + 1, P, N]``, the error's last."""

    key: Residues
    hashes: bytes
    digest: bytes
    answers: Residues
    commitments: list[Residues]


def _invalid(why: str) -> MedFabricError:
    return MedFabricError(
        Code.KEY_SHARE_INVALID, f"a hospital's key share is unsound: {why}; do not confirm the key"
    )
