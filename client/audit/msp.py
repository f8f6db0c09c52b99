"""Identities of a channel: certificates checked against the hospitals' authorities.

As Fabric's MSP with node organisational units: a certificate is of exactly one kind (client, peer,
admin, orderer), issued by one of the MSP's authorities, not revoked by a list in the channel's
configuration.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_protos.msp import identities_pb2, msp_config_pb2

from client import signing

KINDS = ("client", "peer", "admin", "orderer")


class IdentityRefusedError(Exception):
    """A certificate that the channel does not accept; the text says why."""


@dataclass(frozen=True)
class Identity:
    """An accepted identity. ``raw`` is its ``SerializedIdentity``; ``kind`` one of KINDS."""

    raw: bytes
    msp_id: str
    kind: str
    certificate: x509.Certificate

    @cached_property
    def common_name(self) -> str:
        names = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this identity signed the message: ECDSA with SHA-256, s in its lower half."""
        key = self.certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        return signing.verifies(key, message, signature)


class Msp:
    """One hospital's membership, from ``FabricMSPConfig`` bytes.

    Raises:
        ValueError: not a configuration that is understood here.
    """

    def __init__(self, config: bytes) -> None:
        message = msp_config_pb2.FabricMSPConfig.FromString(config)
        self.msp_id: str = message.name
        if not message.fabric_node_ous.enable:
            raise ValueError(f"{self.msp_id} does not use node organisational units")
        authorities = (*message.root_certs, *message.intermediate_certs)
        self._roots = [x509.load_pem_x509_certificate(pem) for pem in message.root_certs]
        self._authorities = [x509.load_pem_x509_certificate(pem) for pem in authorities]
        self._revoked = _revoked(message.revocation_list)

    def check(self, raw: bytes, certificate: x509.Certificate) -> Identity:
        """The identity behind a certificate, at any time.

        Raises:
            IdentityRefusedError: with the reason.
        """
        issuer = self._issuer(certificate)
        if (issuer.subject.public_bytes(), certificate.serial_number) in self._revoked:
            raise IdentityRefusedError(f"a certificate of {self.msp_id} is revoked")
        return Identity(raw, self.msp_id, self._kind(certificate), certificate)

    def _issuer(self, certificate: x509.Certificate) -> x509.Certificate:
        for authority in self._authorities:
            if not _issued(certificate, authority):
                continue
            if authority in self._roots or any(_issued(authority, r) for r in self._roots):
                return authority
        raise IdentityRefusedError(f"a certificate was not issued by {self.msp_id}")

    def _kind(self, certificate: x509.Certificate) -> str:
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        kinds = [str(unit.value) for unit in units if unit.value in KINDS]
        if len(kinds) != 1:
            raise IdentityRefusedError(f"a certificate of {self.msp_id} is not of exactly one kind")
        return kinds[0]


class Members:
    """All hospitals of a channel."""

    def __init__(self, msps: Sequence[Msp]) -> None:
        self._msps = {msp.msp_id: msp for msp in msps}
        self._known: dict[bytes, Identity] = {}

    def identity(self, raw: bytes, at: int | None = None) -> Identity:
        """The identity that ``SerializedIdentity`` bytes name; each is checked once.

        Args:
            at: the time, seconds of the epoch, at which its certificate must be valid. None does
                not ask, as peers do not when they validate blocks: what was signed stays valid.

        Raises:
            IdentityRefusedError: unknown MSP, malformed, or refused by the MSP.
        """
        if raw not in self._known:
            self._known[raw] = self._check(raw)
        identity = self._known[raw]
        if at is not None:
            _check_time(identity, at)
        return identity

    def _check(self, raw: bytes) -> Identity:
        try:
            message = identities_pb2.SerializedIdentity.FromString(raw)
            certificate = x509.load_pem_x509_certificate(message.id_bytes)
        except Exception as error:
            raise IdentityRefusedError("an identity cannot be read") from error
        msp = self._msps.get(message.mspid)
        if msp is None:
            raise IdentityRefusedError(f"{message.mspid!r} is no member of the channel")
        return msp.check(raw, certificate)


def _check_time(identity: Identity, at: int) -> None:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    certificate = identity.certificate
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise IdentityRefusedError(f"a certificate of {identity.msp_id} is not valid at this time")


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _revoked(lists: Sequence[bytes]) -> frozenset[tuple[bytes, int]]:
    return frozenset(
        (revocations.issuer.public_bytes(), entry.serial_number)
        for revocations in map(x509.load_pem_x509_crl, lists)
        for entry in revocations
    )
