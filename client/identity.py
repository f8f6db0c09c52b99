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
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from fabric_protos.msp import identities_pb2

from chaincode.schema.base import Role
from chaincode.schema.errors import Code, MedFabricError
from client import signing
from client.files import write_whole
from client.signing import KeySigner, Signer

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

    It signs with its ``private_key_pem``, or with a ``signer`` where the key is elsewhere, in an
    HSM; with neither, what it asks for is signed off-line. The TLS key only secures connections,
    and grpc takes it in this process.
    """

    msp_id: str
    name: str
    roles: tuple[Role, ...]
    certificate_pem: bytes = field(repr=False)
    tls_certificate_pem: bytes = field(repr=False)
    tls_private_key_pem: bytes = field(repr=False)
    private_key_pem: bytes | None = field(default=None, repr=False)
    signer: Signer | None = field(default=None, repr=False, compare=False)
    _signer: Signer | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.private_key_pem is not None and self.signer is not None:
            raise ValueError("an identity has a private key or a signer, not both")
        signer = self.signer
        if self.private_key_pem is not None:
            signer = KeySigner(_signing_key(self.private_key_pem, self.certificate_pem))
        else:
            _public_key(self.certificate_pem)
        object.__setattr__(self, "_signer", signer)

    @classmethod
    def load(
        cls, folder: Path | str, *, signer: Signer | None = None, offline: bool = False
    ) -> Identity:
        """Read an identity's folder.

        Args:
            signer: signs in place of the folder's private key, which is then not read and need
                not be there.
            offline: nothing signs here; the private key is not read.

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
                tls_certificate_pem=_read(folder / _TLS_CERTIFICATE),
                tls_private_key_pem=_read_key(folder / _TLS_PRIVATE_KEY),
                private_key_pem=(
                    None if signer is not None or offline else _read_key(folder / _PRIVATE_KEY)
                ),
                signer=signer,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MedFabricError(
                Code.BAD_IDENTITY,
                f"{folder} is not a usable identity ({_why(error)}); enrol the node again or "
                "restore the folder from its backup",
            ) from None

    def save(self, folder: Path | str) -> None:
        """Write the identity's folder, private keys for the owner alone; of a key that is
        elsewhere, nothing.

        Raises:
            MedFabricError: ``BAD_IDENTITY`` where the folder cannot be written.
        """
        folder = Path(folder)
        about = {"msp_id": self.msp_id, "name": self.name, "roles": list(self.roles)}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.private_key_pem is not None:
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

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The certificate's P-256 key.

        Raises:
            MedFabricError: ``BAD_IDENTITY`` where it has a key of another kind.
        """
        key = _public_key(self.certificate_pem)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise MedFabricError(
                Code.BAD_IDENTITY, f"{self.name} has no P-256 key; enrol the node again"
            )
        return key

    def agree(self, other: ec.EllipticCurvePublicKey) -> bytes:
        """The secret (32 bytes) that this key and another have in common, by ECDH.

        Raises:
            MedFabricError: ``BAD_IDENTITY`` where the private key is not here.
        """
        if self.private_key_pem is None:
            raise MedFabricError(
                Code.BAD_IDENTITY,
                f"the key of {self.name} is elsewhere and only signs; share with another node",
            )
        return _signing_key(self.private_key_pem, self.certificate_pem).exchange(ec.ECDH(), other)

    @property
    def can_sign(self) -> bool:
        """Whether it signs here: it has a private key, or a signer."""
        return self._signer is not None

    def sign(self, message: bytes) -> bytes:
        """ECDSA P-256 over SHA-256 of the message, DER, with the low S that Fabric demands.

        Raises:
            MedFabricError: ``UNSIGNED`` where nothing signs here, ``BAD_IDENTITY`` where the
                signer gives something else than a signature.
        """
        if self._signer is None:
            raise MedFabricError(
                Code.UNSIGNED,
                f"{self.name} of {self.msp_id} signs elsewhere; have the request signed off-line",
            )
        try:
            return signing.low_s(self._signer.sign(hashlib.sha256(message).digest()))
        except ValueError:
            raise MedFabricError(
                Code.BAD_IDENTITY,
                f"the signer of {self.name} gave no DER signature; check what it signs with",
            ) from None

    @property
    def public_key_sha256(self) -> str:
        """Hex SHA-256 of the DER SubjectPublicKeyInfo, as a node is registered with."""
        der = _public_key(self.certificate_pem).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()


def _signing_key(private_key_pem: bytes, certificate_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(private_key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{_PRIVATE_KEY} is not an ECDSA P-256 key")
    if _public_key(certificate_pem) != key.public_key():
        raise ValueError(f"{_PRIVATE_KEY} is not the key of {_CERTIFICATE}")
    return key


def _public_key(certificate_pem: bytes) -> CertificatePublicKeyTypes:
    return x509.load_pem_x509_certificate(certificate_pem).public_key()


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
