"""CKKS for private prediction: queries, answers, and what the server computes between them.

A query has one ciphertext per pixel, its slots being the images (up to N / 2 of them at once), so
that nothing is ever rotated; and there is one multiplication of ciphertexts, whose third polynomial
the owner of the key decrypts by the square of its secret, so that nothing is ever key-switched: the
server needs no key at all. Weights are small integers, so that nothing is rescaled. What the server
does is exact arithmetic on residues, in numpy: the same query and model give the same bytes on
every server, and two servers' answers can be compared. SEAL (TenSEAL's) encrypts; its loaders never
see foreign bytes.

Slots are the values of a polynomial at the odd powers of a primitive 2N-th root of unity (Cheon et
al. 2017, "Homomorphic Encryption for Arithmetic of Approximate Numbers").
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.inference.network import WEIGHT_BITS, Network, Terms
from trainer.privacy import ring
from trainer.privacy.dealing import KeySecret
from trainer.privacy.ring import Residues
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import fresh
from trainer.privacy.seal import Seal
from trainer.privacy.wire import Form, Kind

TERMS = EncryptionTerms(poly_modulus_degree=8192, modulus_bits=(48, 48, 48))
"""144 bits at degree 8192, of 218 that 128-bit security allows."""
SCALE_BITS = 34
DEGREE = 8192
MOST_IMAGES = DEGREE // 2
_KEPT_BITS = 40
"""Binary places of a decrypted value."""
_LARGEST = 1 << 14
"""Bound on a decrypted score."""


@dataclass(frozen=True)
class Query:
    """Encrypted images, and what opens the answer to them: it stays with who asked."""

    content: bytes
    secret: KeySecret
    images: int

    @property
    def sha256(self) -> str:
        """What an answer is bound to."""
        return hashlib.sha256(self.content).hexdigest()


def ask(images: NDArray[np.float32], network: Network, model_sha256: str) -> Query:
    """Encrypt images under a key of their own.

    Args:
        images: ``float32[n, pixels]`` in [-1, 1], n at most MOST_IMAGES.

    Raises:
        MedFabricError: ``NOT_PRIVATE`` where they are too many, none, or of another size.
    """
    if not 1 <= len(images) <= MOST_IMAGES or images.shape[1:] != (network.pixels,):
        raise MedFabricError(
            Code.NOT_PRIVATE,
            f"from 1 to {MOST_IMAGES} images of {network.pixels} values, not {images.shape}",
        )
    seal, rns = _ring()
    secret = KeySecret(fresh().bytes(32))
    reference = fresh().uniform(DEGREE, rns.primes)
    error = rns.small(fresh().error(DEGREE))
    masked = rns.add(rns.multiply(reference, _secret(secret, model_sha256)), error)
    public = np.stack([rns.subtract(np.zeros_like(masked), masked), reference])
    encryptor, form = seal.encryptor(public), query_form(network, model_sha256)
    parts = [form.header()]
    for pixel in images.T:
        slots = np.zeros(MOST_IMAGES)
        slots[: len(images)] = pixel
        zero = encryptor.zero()
        message = rns.small(encoded(slots * 2.0**SCALE_BITS))
        parts.append(form.pack((rns.add(zero[0], message), zero[1])))
    return Query(b"".join(parts), secret, len(images))


def answer(query: BinaryIO, network: Network, model_sha256: str) -> bytes:
    """What the network predicts of a query's images, encrypted as they are.

    Raises:
        MedFabricError: the query is malformed, or for another model.
    """
    _, rns = _ring()
    pixels = np.stack(list(query_form(network, model_sha256).read(query)))
    units = np.stack(list(_units(pixels, network, rns)))
    query.seek(0)
    digest = hashlib.file_digest(query, "sha256").hexdigest()  # type: ignore[arg-type]
    form = answer_form(network, model_sha256, digest)
    parts, places = [form.header()], np.arange(len(units))
    for row, bias in zip(network.dense, network.dense_bias, strict=True):
        score = _weighted(units, (places, row), rns)
        score[0] = rns.add(score[0], _constant(bias, _answer_scale(network), rns))
        parts.append(form.pack(score))
    return b"".join(parts)


def open_answer(
    content: bytes, secret: KeySecret, images: int, network: Network, model_sha256: str, query: str
) -> NDArray[np.float64]:
    """The scores: ``float64[images, classes]``.

    Args:
        query: SHA-256 of the query that was asked.

    Raises:
        MedFabricError: the answer is malformed, to another query or of another model; or
            ``DECODE_RANGE`` where it decrypts to no scores.
    """
    _, rns = _ring()
    key = _secret(secret, model_sha256)
    square, scale = rns.multiply(key, key), _answer_scale(network)
    shift = scale.bit_length() - 1 - _KEPT_BITS
    scores = []
    for c0, c1, c2 in answer_form(network, model_sha256, query).read(io.BytesIO(content)):
        total = rns.add(c0, rns.add(rns.multiply(c1, key), rns.multiply(c2, square)))
        whole = rns.rounded(total, shift, shift + 60)
        values = decoded(whole.astype(np.float64))[:images] * (2.0**shift / scale)
        if np.abs(whole).max() >= 1 << 60 or np.abs(values).max() > _LARGEST:
            raise MedFabricError(
                Code.DECODE_RANGE, "the answer decrypts to no scores; ask another server"
            )
        scores.append(values)
    return np.stack(scores, axis=1)


def query_form(network: Network, model_sha256: str) -> Form:
    """The one form that a query to a model has."""
    context = hashlib.sha256(b"MFI1 query" + bytes.fromhex(model_sha256)).digest()
    return Form(Kind.QUERY, context, _ring()[1].primes, DEGREE, network.pixels, 2)


def answer_form(network: Network, model_sha256: str, query_sha256: str) -> Form:
    """The one form that the answer to a query has."""
    bound = bytes.fromhex(model_sha256) + bytes.fromhex(query_sha256)
    context = hashlib.sha256(b"MFI1 answer" + bound).digest()
    return Form(Kind.ANSWER, context, _ring()[1].primes, DEGREE, network.classes, 3)


@lru_cache(maxsize=1)
def _ring() -> tuple[Seal, Rns]:
    seal = Seal(TERMS)
    return seal, Rns(DEGREE, seal.primes)


def _secret(secret: KeySecret, model_sha256: str) -> Residues:
    _, rns = _ring()
    stream = secret.stream(bytes.fromhex(model_sha256), b"inference")
    return rns.small(stream.ternary(DEGREE))


def _units(pixels: Residues, network: Network, rns: Rns) -> Iterator[Residues]:
    """Squares of the averages: ``int64[3, P, N]`` each."""
    scale = 1 << (SCALE_BITS + WEIGHT_BITS)
    for filter_, terms in network.convolution():
        c0, c1 = _weighted(pixels, terms, rns)
        # An average is kept as the sum over its window, and so is the bias.
        bias = network.bias[filter_] * network.window
        c0 = rns.add(c0, _constant(bias, scale, rns))
        cross = rns.multiply(c0, c1)
        yield np.stack([rns.multiply(c0, c0), rns.add(cross, cross), rns.multiply(c1, c1)])


def _answer_scale(network: Network) -> int:
    average = network.window << (SCALE_BITS + WEIGHT_BITS)
    return average * average << WEIGHT_BITS


def _constant(value: float, scale: int, rns: Rns) -> Residues:
    # A constant's transform is that constant. In whole numbers: a double holds 53 bits.
    return rns.residues(round(value * 2**40) * scale >> 40)


def _weighted(values: Residues, terms: Terms, rns: Rns) -> Residues:
    """The sum of residues times integer weights."""
    places, weights = terms
    total = np.zeros_like(values[0])
    room = bound = (1 << 62) >> 48
    for place, weight in zip(places.tolist(), weights.tolist(), strict=True):
        # Residues are below 2^48: what has come together stays below 2^62.
        if (room := room - abs(weight)) < 1:
            total, room = ring.lift(total, rns.column), bound - abs(weight) - 1
        total += values[place] * weight
    return ring.lift(total, rns.column)


@lru_cache(maxsize=1)
def _twist() -> NDArray[np.complex128]:
    return np.asarray(np.exp(1j * np.pi * np.arange(DEGREE) / DEGREE))


def encoded(slots: NDArray[np.float64]) -> NDArray[np.int64]:
    """Coefficients whose polynomial has these values at the first half of the odd powers."""
    values = np.concatenate([slots, slots[::-1]])
    coefficients = np.fft.fft(values) / DEGREE * _twist().conj()
    return np.rint(coefficients.real).astype(np.int64)


def decoded(coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse: ``float64[N / 2]``."""
    values = np.fft.ifft(coefficients * _twist()) * DEGREE
    return np.asarray(values[:MOST_IMAGES].real)
