"""Who submitted a transaction, as its certificate says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier
from fabric_protos.msp import identities_pb2
from google.protobuf.message import DecodeError

ATTRIBUTES = ObjectIdentifier("1.2.3.4.5.6.7.8.1")
"""Extension in which Fabric's certificate authority writes attributes, as JSON."""


@dataclass(frozen=True)
class ClientIdentity:
    """A transaction's creator. The peer has checked its signature and its certificate chain.

    ``raw`` is the ``SerializedIdentity`` as signed.
    """

    raw: bytes
    msp_id: str
    certificate: x509.Certificate

    @classmethod
    def parse(cls, raw: bytes) -> ClientIdentity:
        """Read a ``SerializedIdentity``.

        Raises:
            ValueError: not an X.509 identity.
        """
        try:
            message = identities_pb2.SerializedIdentity.FromString(raw)
        except DecodeError as error:
            raise ValueError("the creator is not a serialised identity") from error
        return cls(raw, message.mspid, x509.load_pem_x509_certificate(message.id_bytes))

    @cached_property
    def common_name(self) -> str:
        """Subject common name: the enrolment id. Empty if there is none."""
        names = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """Attributes that the hospital's authority put into the certificate.

        Raises:
            ValueError: the extension is there but is not ``{"attrs": {name: text}}``.
        """
        try:
            extension = self.certificate.extensions.get_extension_for_oid(ATTRIBUTES)
        except x509.ExtensionNotFound:
            return {}
        value = extension.value
        raw = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
        content = json.loads(raw)
        attributes = content.get("attrs", {}) if isinstance(content, dict) else None
        if not isinstance(attributes, dict):
            raise ValueError("the certificate's attributes are not a JSON object")
        return {str(name): str(text) for name, text in attributes.items()}

    @cached_property
    def public_key_sha256(self) -> str:
        """Hex SHA-256 of the DER SubjectPublicKeyInfo."""
        key = self.certificate.public_key()
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()
