"""Content under a key, and that key for one recipient.

An envelope is ``MFE2``, a 32-byte salt, then the content in segments of 64 KiB (the last is
shorter, or empty), each under AES-256-GCM with its 16-byte tag (NIST SP 800-38D). Their key is the
content key's by HKDF-SHA256 (RFC 5869) with the salt; a segment's nonce is its number and whether
it is the last, so that none can be left out, moved or cut off (Hoang et al. 2015, "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", the construction STREAM). Any
segment is read by itself: :class:`EnvelopeFile` reads content of any size in constant memory, and
without a copy of it on disk.

A wrapped key is ``MFK1``, the sender's ephemeral P-256 point (65 bytes, uncompressed), a
12-byte nonce, the 32-byte key under AES-256-GCM with its tag: ECDH-ES with HKDF-SHA256.
The associated data of both is the digest of what they belong to on the ledger, so that neither
opens anywhere else. Both are exact in length; what is not, is refused before any key is used.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography import x509
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity

KEY_BYTES = 32
SEGMENT = 64 * 1024
"""Bytes of content in a segment."""
_ENVELOPE, _WRAPPED = b"MFE2", b"MFK1"
_SALT, _NONCE, _TAG, _POINT = 32, 12, 16, 65
_START = len(_ENVELOPE) + _SALT
_WRAPPED_BYTES = len(_WRAPPED) + _POINT + _NONCE + KEY_BYTES + _TAG


def new_key() -> bytes:
    """A content key, 32 bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def seal(content: bytes, key: bytes, belongs_to: bytes) -> bytes:
    """An envelope of the content.

    Args:
        belongs_to: digest of the binding on the ledger.
    """
    return b"".join(seal_stream([content], key, belongs_to))


def seal_stream(chunks: Iterable[bytes], key: bytes, belongs_to: bytes) -> Iterator[bytes]:
    """An envelope of content that comes in chunks of any size, segment by segment."""
    salt = os.urandom(_SALT)
    cipher = AESGCM(_segment_key(key, salt, belongs_to))
    yield _ENVELOPE + salt
    held, number = b"", 0
    for chunk in chunks:
        held += chunk
        while len(held) > SEGMENT:
            yield cipher.encrypt(_nonce(number, last=False), held[:SEGMENT], belongs_to)
            held, number = held[SEGMENT:], number + 1
    yield cipher.encrypt(_nonce(number, last=True), held, belongs_to)


def unseal(envelope: bytes, key: bytes, belongs_to: bytes) -> bytes:
    """The content of an envelope.

    Raises:
        MedFabricError: ``ENVELOPE_REFUSED``.
    """
    with EnvelopeFile(io.BytesIO(envelope), key, belongs_to) as content:
        return content.read()


class EnvelopeFile(io.RawIOBase):
    """An envelope's content as a file: read and sought in, a segment in memory at a time.

    Args:
        envelope: open for reading bytes; closed with this file.

    Raises:
        MedFabricError: ``ENVELOPE_REFUSED``, when made and at any read.
    """

    def __init__(self, envelope: BinaryIO, key: bytes, belongs_to: bytes) -> None:
        self._envelope, self._belongs_to = envelope, belongs_to
        sealed = envelope.seek(0, io.SEEK_END) - _START
        envelope.seek(0)
        head = envelope.read(_START)
        self._segments = max(1, -(-sealed // (SEGMENT + _TAG)))
        self.size = sealed - self._segments * _TAG
        """Bytes of content."""
        if not head.startswith(_ENVELOPE) or self.size < SEGMENT * (self._segments - 1):
            raise _refused("it is no envelope of this version")
        salt = head[len(_ENVELOPE) :]
        self._cipher = AESGCM(_segment_key(key, salt, belongs_to))
        self._place = 0
        self._kept: tuple[int, bytes] | None = None
        # Of no content, too, it is known that it is whole.
        self._segment(self._segments - 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._place >= self.size:
            return 0
        number, start = divmod(self._place, SEGMENT)
        some = self._segment(number)[start : start + len(buffer)]
        buffer[: len(some)] = some
        self._place += len(some)
        return len(some)

    def close(self) -> None:
        if not self.closed:
            self._envelope.close()
        super().close()

    def _segment(self, number: int) -> bytes:
        if self._kept is None or self._kept[0] != number:
            self._envelope.seek(_START + number * (SEGMENT + _TAG))
            sealed = self._envelope.read(SEGMENT + _TAG)
            nonce = _nonce(number, last=number == self._segments - 1)
            self._kept = number, _open(self._cipher, nonce, sealed, self._belongs_to)
        return self._kept[1]


def recipient(certificate_pem: bytes) -> tuple[ec.EllipticCurvePublicKey, str]:
    """A certificate's public key, and the SHA-256 that a node with it is registered by.

    Raises:
        MedFabricError: ``BAD_IDENTITY``.
    """
    try:
        key = x509.load_pem_x509_certificate(certificate_pem).public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise MedFabricError(Code.BAD_IDENTITY, "not a certificate of a P-256 key; name another")
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return key, hashlib.sha256(der).hexdigest()


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
    return _open(AESGCM(wrapping), nonce, sealed, belongs_to)


def _derive(shared: bytes, sent: bytes, recipient: bytes, belongs_to: bytes) -> bytes:
    info = b"medfabric content key v1" + sent + recipient + belongs_to
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(shared)


def _segment_key(key: bytes, salt: bytes, belongs_to: bytes) -> bytes:
    info = b"medfabric envelope v2" + belongs_to
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=salt, info=info).derive(key)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(_NONCE - 1, "big") + bytes([last])


def _open(cipher: AESGCM, nonce: bytes, sealed: bytes, belongs_to: bytes) -> bytes:
    if len(sealed) < _TAG:
        raise _refused("it ends too early")
    try:
        return cipher.decrypt(nonce, sealed, belongs_to)
    except InvalidTag:
        raise _refused("it was changed, belongs to another record, or is for another key") from None


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _refused(why: str) -> MedFabricError:
    return MedFabricError(
        Code.ENVELOPE_REFUSED, f"cannot open the envelope: {why}; get it from its owner again"
    )
