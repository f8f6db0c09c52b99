"""What one hospital deals to another, encrypted on its way through the store.

Both have made a key pair on P-256 for this one ceremony; the agreed secret (ECDH, SP 800-56A) gives
an AES-256-GCM key of this dealer and this recipient by HKDF-SHA-256, used once. Format: magic
``MFD2``, SHA-256 of the plan's parameters, number of hospitals (2 bytes, little-endian), then for
each hospital in the plan's order the sealed subshare, all of one length.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from chaincode.schema.errors import Code, MedFabricError
from trainer.privacy.dealing import KeySecret

_HEADER = struct.Struct("<4s32sH")
_MAGIC = b"MFD2"
_TAG = 16
# The order of P-256 (SP 800-186, 3.2.1.3).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class TransportKey:
    """A hospital's key pair of one ceremony."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(number, ec.SECP256R1())

    @classmethod
    def of(cls, secret: KeySecret, context: bytes, dealer: int = 0) -> TransportKey:
        """The one that follows from a hospital's secret.

        Args:
            dealer: the only one from whom it receives; 0: it receives from all, and deals.
        """
        purpose = b"transport" + (struct.pack("<I", dealer) if dealer else b"")
        drawn = secret.stream(context, purpose).bytes(48)
        return cls(int.from_bytes(drawn, "big") % (ORDER - 1) + 1)

    @classmethod
    def opened(cls, secret_hex: str) -> TransportKey:
        """From what its owner opened on the ledger.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``.
        """
        number = int(secret_hex, 16)
        if not 0 < number < ORDER:
            raise MedFabricError(Code.WIRE_MALFORMED, "the opened transport secret is no key")
        return cls(number)

    @property
    def public_hex(self) -> str:
        """For the ledger."""
        form = serialization.PublicFormat.UncompressedPoint
        encoding = serialization.Encoding.X962
        return self._key.public_key().public_bytes(encoding, form).hex()

    @property
    def secret_hex(self) -> str:
        """What opens all that was dealt to its owner: for an accusation alone."""
        return f"{self._key.private_numbers().private_value:064x}"

    def __repr__(self) -> str:
        return "TransportKey(...)"

    def agreed(self, context: bytes, info: bytes, public_hex: str) -> bytes:
        """32 bytes that only the two keys' owners know, for one purpose."""
        public = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), bytes.fromhex(public_hex)
        )
        secret = self._key.exchange(ec.ECDH(), public)
        return HKDF(hashes.SHA256(), 32, salt=context, info=info).derive(secret)

    def seal(
        self, context: bytes, dealer: int, recipients: Sequence[str], subshares: Sequence[bytes]
    ) -> bytes:
        """A whole dealing, to the hospitals with these public keys in the plan's order."""
        sealed = [
            self._cipher(context, dealer, recipient, public).encrypt(bytes(12), subshare, None)
            for recipient, (public, subshare) in enumerate(
                zip(recipients, subshares, strict=True), 1
            )
        ]
        return _HEADER.pack(_MAGIC, context, len(sealed)) + b"".join(sealed)

    def open(
        self,
        content: bytes,
        context: bytes,
        dealer: int,
        dealer_public: str,
        place: tuple[int, int],
        length: int,
    ) -> bytes:
        """What a dealing holds for this key's owner.

        Args:
            place: the recipient's number and how many there are.
            length: bytes of a subshare.

        Raises:
            MedFabricError: ``WIRE_MALFORMED``, ``WIRE_FOREIGN`` or ``SUBSHARE_WRONG``.
        """
        recipient, hospitals = place
        each = length + _TAG
        if len(content) != _HEADER.size + hospitals * each:
            raise MedFabricError(Code.WIRE_MALFORMED, "not a dealing of this plan's size")
        magic, of_context, number = _HEADER.unpack_from(content)
        if magic != _MAGIC or number != hospitals:
            raise MedFabricError(Code.WIRE_MALFORMED, "not in the dealing format")
        if of_context != context:
            raise MedFabricError(Code.WIRE_FOREIGN, "dealt for another plan")
        first = _HEADER.size + (recipient - 1) * each
        try:
            cipher = self._cipher(context, dealer, recipient, dealer_public)
            return cipher.decrypt(bytes(12), content[first : first + each], None)
        except (InvalidTag, ValueError):
            raise MedFabricError(
                Code.SUBSHARE_WRONG,
                f"what hospital {dealer} of the plan dealt to hospital {recipient} does not open; "
                "accuse it on the ledger",
            ) from None

    def _cipher(self, context: bytes, dealer: int, recipient: int, public_hex: str) -> AESGCM:
        # The key serves one message: a fixed nonce never meets it twice.
        info = b"MFD2 subshare" + struct.pack("<II", dealer, recipient)
        return AESGCM(self.agreed(context, info, public_hex))
