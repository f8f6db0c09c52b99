"""Content under a key, and that key for one recipient.

An envelope is ``MFE1``, a 12-byte nonce, AES-256-GCM ciphertext with its 16-byte tag (NIST SP
800-38D). A wrapped key is ``MFK1``, the sender's ephemeral P-256 point (65 bytes, uncompressed), a
12-byte nonce, the 32-byte key under AES-256-GCM with its tag: ECDH-ES with HKDF-SHA256 (RFC 5869).
The associated data of both is the digest of what they belong to on the ledger, so that neither
opens anywhere else. Both are exact in length; what is not, is refused before any key is used.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity

KEY_BYTES = 32
_ENVELOPE, _WRAPPED = b"MFE1", b"MFK1"
_NONCE, _TAG, _POINT = 12, 16, 65
_WRAPPED_BYTES = len(_WRAPPED) + _POINT + _NONCE + KEY_BYTES + _TAG


def new_key() -> bytes:
    """A content key, 32 bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def seal(content: bytes, key: bytes, belongs_to: bytes) -> bytes:
    """An envelope of the content.

    Args:
        belongs_to: digest of the binding on the ledger.
    """
    nonce = os.urandom(_NONCE)
    return _ENVELOPE + nonce + AESGCM(key).encrypt(nonce, content, belongs_to)


def unseal(envelope: bytes, key: bytes, belongs_to: bytes) -> bytes:
    """The content of an envelope.

    Raises:
        MedFabricError: ``ENVELOPE_REFUSED``.
    """
    start = len(_ENVELOPE) + _NONCE
    if not envelope.startswith(_ENVELOPE) or len(envelope) < start + _TAG:
        raise _refused("it is no envelope of this version")
    return _open(key, envelope[len(_ENVELOPE) : start], envelope[start:], belongs_to)


def wrap(key: bytes, recipient: ec.EllipticCurvePublicKey, belongs_to: bytes) -> bytes:
    """A content key that the recipient's private key alone opens."""
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    sent, nonce = _point(ephemeral.public_key()), os.urandom(_NONCE)
    shared = ephemeral.exchange(ec.ECDH(), recipient)
    wrapping = _derive(shared, sent, _point(recipient), belongs_to)
    return _WRAPPED + sent + nonce + AESGCM(wrapping).encrypt(nonce, key, belongs_to)


def unwrap(wrapped: bytes, recipient: Identity, belongs_to: bytes) -> bytes:
    """The content key that was wrapped for this identity.

    Raises:
        MedFabricError: ``ENVELOPE_REFUSED``.
    """
    if not wrapped.startswith(_WRAPPED) or len(wrapped) != _WRAPPED_BYTES:
        raise _refused("it is no wrapped key of this version")
    rest = wrapped[len(_WRAPPED) :]
    sent, nonce, sealed = rest[:_POINT], rest[_POINT : _POINT + _NONCE], rest[_POINT + _NONCE :]
    try:
        ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sent)
    except ValueError:
        raise _refused("the sender's key is no point of the curve") from None
    shared = recipient.agree(ephemeral)
    wrapping = _derive(shared, sent, _point(recipient.public_key), belongs_to)
    return _open(wrapping, nonce, sealed, belongs_to)


def _derive(shared: bytes, sent: bytes, recipient: bytes, belongs_to: bytes) -> bytes:
    info = b"medfabric content key v1" + sent + recipient + belongs_to
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(shared)


def _open(key: bytes, nonce: bytes, sealed: bytes, belongs_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, sealed, belongs_to)
    except InvalidTag:
        raise _refused("it was changed, belongs to another record, or is for another key") from None


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _refused(why: str) -> MedFabricError:
    return MedFabricError(
        Code.ENVELOPE_REFUSED, f"cannot open what was shared: {why}; have its owner grant it again"
    )
