"""Who submitted a transaction, as its certificate says."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier
from fabric_protos.msp import identities_pb2
from google.protobuf.message import DecodeError

ATTRIBUTES = ObjectIdentifier("1.2.3.4.5.6.7.8.1")
"""Extension in which Fabric's certificate authority writes attributes, as JSON."""


_SHOWN = {
    NameOID.SERIAL_NUMBER: "SERIALNUMBER",
    NameOID.COMMON_NAME: "CN",
    NameOID.POSTAL_CODE: "POSTALCODE",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.COUNTRY_NAME: "C",
}
"""What an identity's name shows of a distinguished name, in this order; the rest is left out."""


class AttributeMismatchError(Exception):
    """The caller's certificate lacks an attribute that was asked for."""


@dataclass(frozen=True)
class ClientIdentity:
    """A transaction's creator. The peer has checked its signature and its certificate chain.

    ``raw`` is the ``SerializedIdentity`` as signed.
    """

    raw: bytes
    msp_id: str
    certificate: x509.Certificate

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(raw: bytes) -> ClientIdentity:
        """Read a ``SerializedIdentity``. What was read is kept: callers call again.

        Raises:
            ValueError: not an X.509 identity.
        """
        try:
            message = identities_pb2.SerializedIdentity.FromString(raw)
        except DecodeError as error:
            raise ValueError("the creator is not a serialised identity") from error
        certificate = x509.load_pem_x509_certificate(message.id_bytes)
        return ClientIdentity(raw, message.mspid, certificate)

    @cached_property
    def common_name(self) -> str:
        """Subject common name: the enrolment id. Empty if there is none."""
        names = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    @cached_property
    def id(self) -> str:
        """A name unique within the MSP that a renewed certificate keeps: base64 of
        ``x509::SUBJECT::ISSUER``, the same text as Fabric's other chaincode libraries give."""
        names = (self.certificate.subject, self.certificate.issuer)
        text = "::".join(["x509", *(_distinguished(name) for name in names)])
        return base64.b64encode(text.encode()).decode()

    @cached_property
    def organizational_units(self) -> tuple[str, ...]:
        """The subject's units, in the certificate's order."""
        found = self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        return tuple(str(unit.value) for unit in found)

    def has_organizational_unit(self, unit: str) -> bool:
        """Whether the subject has this unit."""
        return unit in self.organizational_units

    def require_attribute(self, name: str, value: str) -> None:
        """Go on only if the certificate has this attribute with this value.

        Raises:
            AttributeMismatchError: it has not; the message does not tell what it has.
            ValueError: as :attr:`attributes`.
        """
        if self.attributes.get(name) != value:
            raise AttributeMismatchError(f"the caller's certificate lacks {name}={value}")

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


def _distinguished(name: x509.Name) -> str:
    """The name in RFC 2253's form, of several values of one kind one after another by ``+``."""
    parts = []
    for kind, label in _SHOWN.items():
        if values := name.get_attributes_for_oid(kind):
            parts.append("+".join(f"{label}={_escaped(str(one.value))}" for one in values))
    return ",".join(parts)


def _escaped(value: str) -> str:
    escaped = "".join("\\" + mark if mark in ',+"\\<>;' else mark for mark in value)
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    if value[1:].endswith(" "):
        escaped = escaped[:-1] + "\\ "
    return escaped
