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
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import LARGEST_ERROR, Stream, derived
from trainer.privacy.shareproof import Part, Shorts
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


@dataclass(frozen=True)
class Hidden:
    """What a dealer proves to know: f's coefficients, the constant first, and short polynomials."""

    polynomial: list[Residues]
    shorts: list[Residues]

    def __repr__(self) -> str:
        return "Hidden(...)"


class Dealing(ABC):
    """Makes and checks what is dealt of a secret, of which a linear image is public.

    Args:
        context: what proofs and dealings are bound to.
        hospitals: n, to whom is dealt. Hospital i of the plan, counted from 1, stands at point i.
        terms: coefficients of f.
        largest: bounds on the coefficients of the constant, 0 where it is not short, and of each
            of the short polynomials.

    Raises:
        MedFabricError: ``PARAMETERS_REFUSED`` for a ring that is too small for challenges.
    """

    def __init__(
        self, rns: Rns, context: bytes, hospitals: int, terms: int, largest: tuple[int, ...]
    ) -> None:
        if rns.degree < _CHALLENGE_WEIGHT:
            raise MedFabricError(
                Code.PARAMETERS_REFUSED,
                f"a challenge has {_CHALLENGE_WEIGHT} coefficients, and the ring {rns.degree}; "
                "choose a larger degree",
            )
        self._rns = rns
        self._context = context
        self._hospitals = hospitals
        self._terms = terms
        self._largest = largest
        shape = (context, rns.primes, rns.degree)
        polynomials = terms + len(largest) - 1
        self._proof = Form(Kind.PROOF, *shape, chunks=_MASKS, polynomials=polynomials)

    @property
    def dealt(self) -> bool:
        """Whether the secret is dealt: some hospitals may then be missing from a decryption."""
        return bool(self._hospitals)

    def make(self, secret: KeySecret, dealer: int) -> bytes:
        """The public part of hospital ``dealer``: the same bytes each time."""
        # Masks are drawn again until every answer hides its secret (Lyubashevsky 2012): about one
        # draw in a thousand is rejected.
        hidden = self._hidden(secret)
        image = self._image(hidden.polynomial[0], hidden.shorts)
        for attempt in count():
            stream = secret.stream(self._context, b"masks" + struct.pack("<I", attempt))
            if (said := self._attempt(hidden, image, dealer, stream)) is not None:
                return self._shown(image) + said
        raise AssertionError

    def subshares(self, secret: KeySecret) -> list[Residues]:
        """f_j(i) of every hospital: ``int64[P, N]`` each, for that hospital's eyes alone."""
        polynomial = self._hidden(secret).polynomial
        return [self._at(polynomial, i) for i in range(1, self._hospitals + 1)]

    def check(self, document: bytes, dealer: int) -> Residues:
        """What is public of the secret of hospital ``dealer``, where its public part is sound:
        ``int64[P, N]`` each.

        Raises:
            MedFabricError: ``KEY_SHARE_INVALID``, or the wire format's codes.
        """
        parts = self._parse(document)
        for answer, challenge in zip(parts.answers, self._challenges(parts.digest), strict=True):
            if not self._is_short(answer):
                raise _invalid("an answer of its proof is not short")
            parts.commitments.append(self._commitment(parts.image, answer, challenge))
        digest = self._digest(dealer, parts.image, parts.hashes, parts.commitments)
        if digest != parts.digest:
            raise _invalid("its proof of possession does not hold")
        return parts.image

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
                self._at(list(answer[: self._terms]), recipient),
                self._rns.multiply(challenge, subshare),
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

    # what the secret is

    @abstractmethod
    def _hidden(self, secret: KeySecret) -> Hidden: ...

    @abstractmethod
    def _image(self, constant: Residues, shorts: list[Residues]) -> Residues:
        """The public image, a linear one: ``int64[..., P, N]``."""

    @abstractmethod
    def _shown(self, image: Residues) -> bytes:
        """The image, as a public part begins with it."""

    @abstractmethod
    def _read(self, document: bytes) -> tuple[Residues, bytes]:
        """The image, and the rest of a public part."""

    # inner workings

    def _attempt(
        self, hidden: Hidden, image: Residues, dealer: int, stream: Stream
    ) -> bytes | None:
        """A proof from one draw of masks; None where an answer is not short."""
        masks = [self._mask(stream) for _ in range(_MASKS)]
        hashes = self._hashes(dealer, hidden.polynomial, masks)
        commitments = [self._image(mask[0], mask[self._terms :]) for mask in masks]
        digest = self._digest(dealer, image, hashes, commitments)
        answers = [
            self._answer(mask, challenge, [*hidden.polynomial, *hidden.shorts])
            for mask, challenge in zip(masks, self._challenges(digest), strict=True)
        ]
        if not all(self._is_short(answer) for answer in answers):
            return None
        return hashes + digest + self._proof.encode(np.stack(answers))

    def _mask(self, stream: Stream) -> list[Residues]:
        """g's coefficients, and the masks of the short polynomials."""
        constant, *shorts = [
            self._short(stream) if bound else self.uniform(stream) for bound in self._largest
        ]
        return [constant, *self._high(stream), *shorts]

    def _answer(
        self, mask: list[Residues], challenge: Residues, hidden: list[Residues]
    ) -> Residues:
        products = [self._rns.multiply(challenge, part) for part in hidden]
        return np.stack([self._rns.add(*pair) for pair in zip(mask, products, strict=True)])

    def _is_short(self, answer: Residues) -> bool:
        """Whether those of an answer's polynomials are that hide what is short."""
        places = (0, *range(self._terms, len(answer)))
        return all(
            self._rns.within(answer[place], (1 << _MASK_BITS) - _CHALLENGE_WEIGHT * largest - 1)
            for place, largest in zip(places, self._largest, strict=True)
            if largest
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
                [self._at(mask[: self._terms], recipient) for mask in masks],
            )
            for recipient in range(1, self._hospitals + 1)
        )

    def _high(self, stream: Stream) -> list[Residues]:
        """Coefficients that hide the constant."""
        return [self.uniform(stream) for _ in range(self._terms - 1)]

    def uniform(self, stream: Stream) -> Residues:
        """Any polynomial."""
        return stream.uniform(self._rns.degree, self._rns.primes)

    def _short(self, stream: Stream) -> Residues:
        return self._rns.small(stream.short(self._rns.degree, _MASK_BITS))

    def _at(self, coefficients: Sequence[Residues], point: int) -> Residues:
        """A polynomial's value, by Horner's rule."""
        scalar = self._rns.residues(point)
        value = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            value = self._rns.add(self._rns.multiply(value, scalar), coefficient)
        return value

    def _commitment(self, image: Residues, answer: Residues, challenge: Residues) -> Residues:
        public = self._image(answer[0], list(answer[self._terms :]))
        return self._rns.subtract(public, self._rns.multiply(challenge, image))

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
        self, dealer: int, image: Residues, hashes: bytes, commitments: Sequence[Residues]
    ) -> bytes:
        text = b"MFR2 key proof" + self._context + struct.pack("<I", dealer) + hashes
        for polynomials in (image, *commitments):
            text += hashlib.sha256(polynomials.astype("<i8").tobytes()).digest()
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
        image, rest = self._read(document)
        size = 32 * self._hospitals
        if len(rest) != size + 32 + self._proof.length:
            raise MedFabricError(Code.WIRE_MALFORMED, "not a key share of this plan's size")
        answers = self._proof.decode(rest[size + 32 :])
        return _Parts(image, rest[:size], rest[size : size + 32], answers, [])


class KeyDealing(Dealing):
    """Of the hospitals' own secrets, whose images add up to one plan's key.

    Args:
        reference: a, ``int64[P, N]``.
        context: SHA-256 of the plan's parameters.
        threshold: t, or n where every hospital's share is needed: nothing is then dealt.
        of: the context under which the secrets were made, where that was for another plan: they
            are then dealt again, to any number of hospitals.
    """

    def __init__(
        self,
        rns: Rns,
        reference: Residues,
        context: bytes,
        hospitals: int,
        threshold: int,
        of: bytes | None = None,
    ) -> None:
        dealt = threshold < hospitals or of is not None
        terms = threshold if dealt else 1
        super().__init__(rns, context, hospitals if dealt else 0, terms, (1, LARGEST_ERROR))
        self._reference = reference
        self._of = of or context
        self._key = Form(Kind.KEY, context, rns.primes, rns.degree, chunks=1)

    def secret_polynomial(self, secret: KeySecret) -> NDArray[np.int64]:
        """s_j: ``int64[N]`` of -1, 0, 1."""
        return secret.stream(self._of, b"secret").ternary(self._rns.degree)

    def opening(self, secret: KeySecret) -> Shorts:
        """s_j and e_j: ``int64[2, N]``."""
        error = secret.stream(self._of, b"error").error(self._rns.degree)
        return np.stack([self.secret_polynomial(secret), error])

    def part(self, image: Residues) -> Part:
        """What b_j = -(a s_j + e_j) tells of s_j."""
        nothing = np.zeros_like(image)
        one = np.broadcast_to(self._rns.residues(1), image.shape)
        negated = self._rns.subtract(nothing, image)
        return Part(negated, self._reference[None], nothing, one[None], LARGEST_ERROR)

    def _hidden(self, secret: KeySecret) -> Hidden:
        high = self._high(secret.stream(self._context, b"dealing"))
        short, error = self.opening(secret)
        polynomial = [self._rns.small(short), *high]
        return Hidden(polynomial, [self._rns.small(error)])

    def _image(self, constant: Residues, shorts: list[Residues]) -> Residues:
        """b = -(a s + e)."""
        rns = self._rns
        product = rns.multiply(self._reference, constant)
        return rns.subtract(np.zeros_like(product), rns.add(product, shorts[0]))

    def _shown(self, image: Residues) -> bytes:
        return self._key.encode(image[None, None])

    def _read(self, document: bytes) -> tuple[Residues, bytes]:
        length = self._key.length
        return self._key.decode(document[:length])[0, 0], document[length:]


@dataclass(frozen=True)
class _Parts:
    """A public part as read. ``answers``: ``int64[masks, polynomials, P, N]``: f's coefficients,
    then the short polynomials."""

    image: Residues
    hashes: bytes
    digest: bytes
    answers: Residues
    commitments: list[Residues]


def _invalid(why: str) -> MedFabricError:
    return MedFabricError(
        Code.KEY_SHARE_INVALID, f"a hospital's key share is unsound: {why}; do not confirm the key"
    )
