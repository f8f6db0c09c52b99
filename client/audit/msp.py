"""Identities of a channel: certificates checked against the hospitals' authorities.

As Fabric's MSP with node organisational units: a certificate is of exactly one kind (client, peer,
admin, orderer), issued by one of the MSP's authorities, not revoked by a list in the channel's
configuration that this authority signed. What an MSP's definition says beyond that is refused.
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
        if message.admins or message.organizational_unit_identifiers:
            raise ValueError(f"{self.msp_id} tells its members by more than their units")
        self._units = _units(self.msp_id, message.fabric_node_ous)
        roots = [x509.load_pem_x509_certificate(pem) for pem in message.root_certs]
        between = [x509.load_pem_x509_certificate(pem) for pem in message.intermediate_certs]
        self._parents = {authority: _parent(authority, roots) for authority in between}
        # An authority that has others below it issues no members.
        above = set(self._parents.values())
        self._issuers = [authority for authority in (*roots, *between) if authority not in above]
        self._revoked = _revoked((*roots, *between), message.revocation_list)
        if any(self._is_revoked(child, parent) for child, parent in self._parents.items()):
            raise ValueError(f"an authority of {self.msp_id} is revoked")

    def check(self, raw: bytes, certificate: x509.Certificate) -> Identity:
        """The identity behind a certificate, at any time.

        Raises:
            IdentityRefusedError: with the reason.
        """
        try:
            issuer = self._issuer(certificate)
        except ValueError as error:
            raise IdentityRefusedError("a certificate's extensions cannot be read") from error
        if self._is_revoked(certificate, issuer):
            raise IdentityRefusedError(f"a certificate of {self.msp_id} is revoked")
        return Identity(raw, self.msp_id, self._kind(certificate, issuer), certificate)

    def _issuer(self, certificate: x509.Certificate) -> x509.Certificate:
        # As Fabric asks: whether its authorities were valid when the certificate came into force.
        moment = certificate.not_valid_before_utc + datetime.timedelta(seconds=1)
        for authority in self._issuers:
            chain = [certificate, authority]
            if authority in self._parents:
                chain.append(self._parents[authority])
            valid = all(_valid(member, moment) for member in chain)
            if valid and not _is_authority(certificate) and _issued(certificate, authority):
                return authority
        raise IdentityRefusedError(f"a certificate was not issued by {self.msp_id}")

    def _is_revoked(self, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
        return (_key_identifier(issuer), certificate.serial_number) in self._revoked

    def _kind(self, certificate: x509.Certificate, issuer: x509.Certificate) -> str:
        units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        kinds = [str(unit.value) for unit in units if unit.value in KINDS]
        if len(kinds) != 1 or self._units[kinds[0]] not in (None, issuer):
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
    if not _valid(identity.certificate, moment):
        raise IdentityRefusedError(f"a certificate of {identity.msp_id} is not valid at this time")


def _valid(certificate: x509.Certificate, moment: datetime.datetime) -> bool:
    return certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _key_identifier(authority: x509.Certificate) -> bytes:
    try:
        found = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        raise ValueError("an authority's certificate does not identify its key") from None
    return found.value.digest


def _parent(authority: x509.Certificate, roots: Sequence[x509.Certificate]) -> x509.Certificate:
    for root in roots:
        if _issued(authority, root):
            return root
    raise ValueError("an intermediate authority was not issued by a root")


def _units(
    msp_id: str, node_ous: msp_config_pb2.FabricNodeOUs
) -> dict[str, x509.Certificate | None]:
    """The authority that must have issued members of each kind, None where any may."""
    if not node_ous.enable:
        raise ValueError(f"{msp_id} does not use node organisational units")
    units: dict[str, x509.Certificate | None] = {}
    for kind in KINDS:
        unit = getattr(node_ous, f"{kind}_ou_identifier")
        if unit.organizational_unit_identifier != kind:
            raise ValueError(f"{msp_id} has another name for the unit {kind}")
        pem = unit.certificate
        units[kind] = x509.load_pem_x509_certificate(pem) if pem else None
    return units


def _revoked(
    authorities: Sequence[x509.Certificate], lists: Sequence[bytes]
) -> frozenset[tuple[bytes, int]]:
    """Key identifiers of authorities, and serial numbers that they revoked.

    A list counts where the authority signed it; another's word revokes nobody, as in Fabric.
    """
    for authority in authorities:
        if not _is_authority(authority):
            raise ValueError("a certificate among the authorities is none of an authority")
    signers: dict[bytes | None, x509.Certificate] = {
        _key_identifier(authority): authority for authority in authorities
    }
    found = set()
    for revocations in map(x509.load_pem_x509_crl, lists):
        issuer = signers.get(_issuing_key(revocations))
        if issuer is not None and _signed(revocations, issuer):
            key = _key_identifier(issuer)
            found |= {(key, entry.serial_number) for entry in revocations}
    return frozenset(found)


def _issuing_key(revocations: x509.CertificateRevocationList) -> bytes | None:
    try:
        found = revocations.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        raise ValueError("a revocation list does not say whose it is") from None
    return found.value.key_identifier


def _signed(revocations: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    return revocations.is_signature_valid(key)
