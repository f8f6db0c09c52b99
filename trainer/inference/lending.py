"""A model that its owner lends encrypted: another hospital's node scores its own records by it.

The model is linear (architecture ``logistic``). The owner encrypts every weight under a key of its
own; the node multiplies the ciphertexts by its records, which it has in the clear, and hands back
encrypted scores. Slots are records, as in :mod:`~trainer.inference.private`; a weight is the same
in all of them.

What the owner could read out of an answer beyond the scores, the node hides: it adds an encryption
of zero under the owner's key, which comes with a proof that it is a key (:mod:`~trainer.privacy
.dealing`), drops all primes but one, and adds noise, so that no coefficient of an answer tells more
than KEPT_BITS bits. Second polynomials follow from a public seed, so that nobody chooses
them, and are not sent. No foreign byte reaches a library.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.inference.private import DEGREE, MOST_IMAGES, decoded, encoded
from trainer.privacy import ring
from trainer.privacy.dealing import KeyDealing, KeySecret
from trainer.privacy.encryptor import Encryptor
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import derived, fresh
from trainer.privacy.seal import Seal
from trainer.privacy.wire import Form, Kind

TERMS = EncryptionTerms(poly_modulus_degree=8192, modulus_bits=(48, 48))
"""96 bits at degree 8192, of 218 that 128-bit security allows."""
WEIGHT_BITS = 62
RECORD_BITS = 22
FLOOD_BITS = 20
"""Of the noise in an answer's coefficients, after the primes are dropped."""
KEPT_BITS = 48 - (FLOOD_BITS + 1)
"""Of a coefficient of an answer, whatever the model was made to tell."""
LARGEST_SCORE = 1 << 9
LARGEST_WEIGHT = 1 << 9
_SHIFT = 8


@dataclass(frozen=True)
class Shape:
    """How many inputs the model takes, and how many scores it gives."""

    features: int
    classes: int

    @property
    def values(self) -> int:
        """Weights and biases."""
        return self.classes * (self.features + 1)


@dataclass(frozen=True)
class Lent:
    """An encrypted model, and what opens the scores: it stays with its owner."""

    content: bytes
    secret: KeySecret

    @property
    def sha256(self) -> str:
        """What an answer is bound to."""
        return hashlib.sha256(self.content).hexdigest()


def lend(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Lent:
    """Encrypt a linear model under a key of its own.

    Args:
        weight: ``float32[classes, features]``.
        bias: ``float32[classes]``.

    Raises:
        MedFabricError: ``NOT_PRIVATE`` where a weight is not finite or beyond LARGEST_WEIGHT, or
            the model has no more inputs than scores.
    """
    shape = Shape(weight.shape[1], weight.shape[0])
    _check_shape(shape)
    values = np.concatenate([weight, bias[:, None]], axis=1).astype(np.float64)
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST_WEIGHT:
        raise MedFabricError(
            Code.NOT_PRIVATE, f"a weight is not finite or beyond {LARGEST_WEIGHT}; train it anew"
        )
    rns, form, secret = _ring(), model_form(shape), KeySecret(fresh().bytes(32))
    dealing = _dealing(shape)
    key = rns.small(dealing.secret_polynomial(secret))
    parts = [dealing.make(secret, 1), form.header()]
    for number, value in enumerate(values.reshape(-1).tolist()):
        masked = rns.multiply(_reference(shape, 1 + number), key)
        masked = rns.add(masked, rns.small(fresh().error(DEGREE)))
        # A constant's transform is that constant. In whole numbers: a double holds 53 bits.
        constant = rns.residues(round(value * 2**40) << (WEIGHT_BITS - 40))
        parts.append(form.pack([rns.subtract(np.broadcast_to(constant, masked.shape), masked)]))
    return Lent(b"".join(parts), secret)


def score(content: bytes, records: NDArray[np.float32], shape: Shape) -> bytes:
    """Score records by a lent model, encrypted as it is.

    Args:
        records: ``float32[n, features]`` in [-1, 1], n at most MOST_IMAGES.

    Raises:
        MedFabricError: the model is malformed or of another shape, its key is none
            (``KEY_SHARE_INVALID``), or the records are not such (``NOT_PRIVATE``).
    """
    _check_shape(shape)
    if not 1 <= len(records) <= MOST_IMAGES or records.shape[1:] != (shape.features,):
        raise MedFabricError(
            Code.NOT_PRIVATE,
            f"from 1 to {MOST_IMAGES} records of {shape.features} values, not {records.shape}",
        )
    public, weights = _parsed(content, shape)
    one = _ring().residues(1 << RECORD_BITS)
    inputs = [*map(_slots, records.T), np.broadcast_to(one, public.shape)]
    form = score_form(shape, hashlib.sha256(content).hexdigest())
    parts = [form.header()]
    for row in range(shape.classes):
        first = row * len(inputs)
        parts.append(form.pack(_hidden(_weighted(weights, inputs, first, shape), public, shape)))
    return b"".join(parts)


def read(
    content: bytes, secret: KeySecret, records: int, shape: Shape, model_sha256: str
) -> NDArray[np.float64]:
    """The scores, by the model's owner: ``float64[records, classes]``.

    Args:
        model_sha256: of the encrypted model that was lent.

    Raises:
        MedFabricError: the answer is malformed or to another model, or ``DECODE_RANGE``.
    """
    last = Rns(DEGREE, _ring().primes[:1])
    key = last.small(_dealing(shape).secret_polynomial(secret))
    scale = 2.0 ** (WEIGHT_BITS + RECORD_BITS - _SHIFT) / _ring().primes[1]
    scores = []
    for c0, c1 in score_form(shape, model_sha256).read(io.BytesIO(content)):
        whole = last.rounded(last.add(c0, last.multiply(c1, key)), _SHIFT, 46)
        values = decoded(whole.astype(np.float64))[:records] / scale
        if np.abs(values).max() > LARGEST_SCORE:
            raise MedFabricError(
                Code.DECODE_RANGE, "the answer decrypts to no scores; ask the node again"
            )
        scores.append(values)
    return np.stack(scores, axis=1)


def model_form(shape: Shape) -> Form:
    """The one form that the weights of a lent model have, after its key."""
    return Form(Kind.MODEL, _context(shape), _ring().primes, DEGREE, shape.values, 1)


def score_form(shape: Shape, model_sha256: str) -> Form:
    """The one form that scores by a lent model have."""
    bound = _context(shape) + bytes.fromhex(model_sha256)
    context = hashlib.sha256(b"MFI1 scores" + bound).digest()
    return Form(Kind.SCORES, context, _ring().primes[:1], DEGREE, shape.classes, 2)


def _parsed(content: bytes, shape: Shape) -> tuple[Residues, list[Residues]]:
    """The owner's public key, proven to be one, and the weights."""
    form = model_form(shape)
    if len(content) <= form.length:
        raise MedFabricError(Code.WIRE_MALFORMED, "its length is not that of a lent model")
    document, weights = content[: -form.length], content[-form.length :]
    found = [chunk[0] for chunk in form.read(io.BytesIO(weights))]
    return _dealing(shape).check(document, 1), found


def _weighted(
    weights: list[Residues], inputs: list[Residues], first: int, shape: Shape
) -> tuple[Residues, Residues]:
    """One encrypted score of every record."""
    rns = _ring()
    c0 = c1 = np.zeros_like(weights[0])
    for number, values in enumerate(inputs, first):
        c0 = rns.add(c0, rns.multiply(weights[number], values))
        c1 = rns.add(c1, rns.multiply(_reference(shape, 1 + number), values))
    return c0, c1


def _hidden(score: tuple[Residues, Residues], public: Residues, shape: Shape) -> Iterator[Residues]:
    """The score alone: under fresh randomness and noise, to the last prime."""
    rns = _ring()
    owner = np.stack([public, _reference(shape, 0)])
    blind, _ = Encryptor(rns, owner).zero(fresh())
    for number, part in enumerate(score):
        last = _dropped(rns.inverse(rns.add(part, blind[number])))
        if number == 0:
            last = ring.lift(last + fresh().short(DEGREE, FLOOD_BITS), rns.column[:1])
        yield Rns(DEGREE, rns.primes[:1]).forward(last)


def _dropped(coefficients: Residues) -> Residues:
    """Divided by the second prime and rounded, modulo the first: ``int64[1, N]``."""
    first, second = _ring().primes
    rest = coefficients[1] - np.where(coefficients[1] > second // 2, second, 0)
    difference = ring.subtract(coefficients[0], ring.lift(rest, first), first)
    return ring.multiply(difference, pow(second, -1, first), first)[None]


def _slots(values: NDArray[np.float32]) -> Residues:
    slots = np.zeros(MOST_IMAGES)
    slots[: len(values)] = values
    return _ring().small(encoded(slots * 2.0**RECORD_BITS))


def _check_shape(shape: Shape) -> None:
    if shape.features <= shape.classes:
        raise MedFabricError(
            Code.NOT_PRIVATE,
            f"a model that gives {shape.classes} scores of {shape.features} values tells them",
        )


@lru_cache(maxsize=1)
def _ring() -> Rns:
    return Rns(DEGREE, Seal(TERMS).primes)


def _context(shape: Shape) -> bytes:
    return hashlib.sha256(b"MFI1 lent %d %d" % (shape.features, shape.classes)).digest()


def _reference(shape: Shape, number: int) -> Residues:
    """A second polynomial, the same for everybody: nobody knows anything of it."""
    label = b"MFI1 reference %d" % number
    return derived(_context(shape), label).uniform(DEGREE, _ring().primes)


def _dealing(shape: Shape) -> KeyDealing:
    return KeyDealing(_ring(), _reference(shape, 0), _context(shape), 1, 1)
