"""ECDSA as Fabric demands it: P-256, SHA-256, and s in the lower half of the order."""

from __future__ import annotations

import hashlib
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Signer(Protocol):
    """Signs with the private key of one identity, wherever that key is: here or in an HSM."""

    def sign(self, digest: bytes) -> bytes:
        """The DER signature (ECDSA P-256) of a SHA-256 digest of 32 bytes; s may be high."""


class KeySigner:
    """Signs with a key in this process."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, digest: bytes) -> bytes:
        """As :class:`Signer`."""
        return self._key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """The DER signature of a message."""
    return low_s(KeySigner(key).sign(hashlib.sha256(message).digest()))


def low_s(signature: bytes) -> bytes:
    """The one form of a DER signature that Fabric accepts.

    Raises:
        ValueError: it is no DER signature.
    """
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def verifies(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    """Whether the key's owner signed the message, in the one form that is accepted."""
    try:
        _, s = decode_dss_signature(signature)
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return s <= _P256_ORDER // 2
