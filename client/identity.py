"""Who signs: an enrolled identity and the TLS key it connects with, as kept on disk."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fabric_protos.msp import identities_pb2

from chaincode.schema.base import Role
from chaincode.schema.errors import Code, MedFabricError
from client import signing
from client.files import write_whole

_CERTIFICATE = "certificate.pem"
_PRIVATE_KEY = "private_key.pem"
_TLS_CERTIFICATE = "tls_certificate.pem"
_TLS_PRIVATE_KEY = "tls_private_key.pem"
_ABOUT = "identity.json"


@dataclass(frozen=True)
class Identity:
    """An identity of one hospital. Its keys are never printed, logged or put into an error.

    ``name`` is the certificate's common name: the node id on the ledger. ``roles`` are what the
    identity says of itself; the contracts go by the certificate's attribute.
    """

    msp_id: str
    name: str
    roles: tuple[Role, ...]
    certificate_pem: bytes = field(repr=False)
    private_key_pem: bytes = field(repr=False)
    tls_certificate_pem: bytes = field(repr=False)
    tls_private_key_pem: bytes = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", _signing_key(self.private_key_pem, self.certificate_pem))

    @classmethod
    def load(cls, folder: Path | str) -> Identity:
        """Read an identity's folder.

        Raises:
            MedFabricError: ``BAD_IDENTITY`` where a file is missing or is not what its name says,
                ``KEY_EXPOSED`` where others than the owner may read a private key.
        """
        folder = Path(folder)
        about = _about(folder / _ABOUT)
        try:
            return cls(
                msp_id=str(about["msp_id"]),
                name=str(about["name"]),
                roles=tuple(Role(role) for role in about["roles"]),
                certificate_pem=_read(folder / _CERTIFICATE),
                private_key_pem=_read_key(folder / _PRIVATE_KEY),
                tls_certificate_pem=_read(folder / _TLS_CERTIFICATE),
                tls_private_key_pem=_read_key(folder / _TLS_PRIVATE_KEY),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MedFabricError(
                Code.BAD_IDENTITY,
                f"{folder} is not a usable identity ({_why(error)}); enrol the node again or "
                "restore the folder from its backup",
            ) from None

    def save(self, folder: Path | str) -> None:
        """Write the identity's folder, private keys for the owner alone.

        Raises:
            MedFabricError: ``BAD_IDENTITY`` where the folder cannot be written.
        """
        folder = Path(folder)
        about = {"msp_id": self.msp_id, "name": self.name, "roles": list(self.roles)}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(folder / _PRIVATE_KEY, self.private_key_pem, mode=0o600)
            write_whole(folder / _TLS_PRIVATE_KEY, self.tls_private_key_pem, mode=0o600)
            write_whole(folder / _CERTIFICATE, self.certificate_pem)
            write_whole(folder / _TLS_CERTIFICATE, self.tls_certificate_pem)
            write_whole(folder / _ABOUT, json.dumps(about, indent=1).encode() + b"\n")
        except OSError as error:
            raise MedFabricError(
                Code.BAD_IDENTITY, f"cannot write {folder}: {error.strerror}; choose another folder"
            ) from None

    def serialize(self) -> bytes:
        """The ``msp.SerializedIdentity`` that goes into headers as creator."""
        identity = identities_pb2.SerializedIdentity(
            mspid=self.msp_id, id_bytes=self.certificate_pem
        )
        return bytes(identity.SerializeToString())

    def sign(self, message: bytes) -> bytes:
        """ECDSA P-256 over SHA-256 of the message, DER, with the low S that Fabric demands."""
        return signing.sign(self._key, message)

    @property
    def public_key_sha256(self) -> str:
        """Hex SHA-256 of the DER SubjectPublicKeyInfo, as a node is registered with."""
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()


def _signing_key(private_key_pem: bytes, certificate_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(private_key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{_PRIVATE_KEY} is not an ECDSA P-256 key")
    if x509.load_pem_x509_certificate(certificate_pem).public_key() != key.public_key():
        raise ValueError(f"{_PRIVATE_KEY} is not the key of {_CERTIFICATE}")
    return key


def _about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(_read(path))
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise MedFabricError(
            Code.BAD_IDENTITY, f"{path} is not a JSON object; restore the folder from its backup"
        )
    return about


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MedFabricError(
            Code.BAD_IDENTITY,
            f"cannot read {path}: {error.strerror}; name an identity's folder (users/NODE)",
        ) from None


def _read_key(path: Path) -> bytes:
    content = _read(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise MedFabricError(
            Code.KEY_EXPOSED,
            f"{path} can be read by others than its owner; enrol again if anybody may have, "
            f"else run: chmod 600 {path}",
        )
    return content


def _why(error: Exception) -> str:
    # Parsers of keys may quote their input; only our own words and field names are passed on.
    if isinstance(error, KeyError):
        return f"{_ABOUT} has no {error}"
    known = isinstance(error, ValueError) and str(error).startswith(_PRIVATE_KEY)
    return str(error) if known else "a file in it is damaged"
