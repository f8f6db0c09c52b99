"""Cryptographic material of our own, in the shape that Fabric and its certificate authority use.

Every hospital has two authorities, one for identities and one for TLS. Certificates say by
organisational unit what they are for (client, peer, admin, orderer), and carry the roles that
contracts ask for in the extension in which fabric-ca writes attributes. A transaction holds its
signer's certificate twice and one of every endorser: they say nothing that nobody reads.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from network.topology import HOST, Hospital, Layout

ATTRIBUTES = ObjectIdentifier("1.2.3.4.5.6.7.8.1")
ROLES = "medfabric.roles"
FIRST_USERS = {"node1": ("trainer", "validator"), "auditor": ("auditor",)}
"""Who a hospital begins with, beside its admin: names and roles."""
_YEARS_OF_AUTHORITY, _YEARS_OF_MEMBER = 15, 5
_SERIAL_BITS = 64
_SERVERS = ("orderer", "peer")
_NODE_OUS = ("client", "peer", "admin", "orderer")


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, both PEM."""

    certificate: bytes
    key: bytes


class Issuer(Protocol):
    """Gives out a hospital's identities: its own :class:`Authority`, or its fabric-ca-server."""

    def identity(self, common_name: str, unit: str, roles: Sequence[str] = ()) -> Pair:
        """A new key and its certificate. ``unit`` is one of client, peer, admin, orderer."""

    def renewed(self, name: str, unit: str, roles: Sequence[str]) -> Pair:
        """A further key and its certificate, of somebody who has an identity."""


class Authority:
    """A certificate authority whose key lies in a folder, readable by its owner alone."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, common_name: str, folder: Path, name: str) -> Authority:
        """Make an authority and keep it as ``name.pem`` and ``name.key``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(common_name)
        builder = _builder(subject, subject, key.public_key(), _YEARS_OF_AUTHORITY)
        own = x509.SubjectKeyIdentifier(_key_identifier(key.public_key()))
        builder = builder.add_extension(own, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
        builder = builder.add_extension(_usage(authority=True), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        write_secret(folder / f"{name}.key", private_pem(key))
        return cls(certificate, key)

    @classmethod
    def load(cls, folder: Path, name: str) -> Authority:
        """Open an authority that was created before."""
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())
        key = load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{folder / name}.key is no elliptic-curve key")
        return cls(certificate, key)

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def identity(self, common_name: str, unit: str, roles: Sequence[str] = ()) -> Pair:
        """A signing certificate. ``unit`` is one of client, peer, admin, orderer."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._member(_name(common_name, unit), key)
        if roles:
            attributes = {"attrs": {ROLES: ",".join(sorted(roles))}}
            content = json.dumps(attributes, separators=(",", ":")).encode()
            extension = x509.UnrecognizedExtension(ATTRIBUTES, content)
            builder = builder.add_extension(extension, critical=False)
        return self._signed(builder, key)

    def renewed(self, name: str, unit: str, roles: Sequence[str]) -> Pair:
        """A further signing certificate, of somebody who has one."""
        return self.identity(name, unit, roles)

    def tls(self, common_name: str, host: str = HOST) -> Pair:
        """A certificate for both ends of TLS, on the loopback interface and at a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._member(_name(common_name), key)
        builder = builder.add_extension(_usage(authority=False), critical=True)
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        names = [x509.DNSName("localhost"), *map(_host, dict.fromkeys((HOST, host)))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._signed(builder, key)

    def revocation_list(self, serial_numbers: Sequence[int]) -> bytes:
        """A PEM list that revokes these certificates from now on."""
        now = _now()
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
        builder = builder.last_update(now).next_update(now + datetime.timedelta(days=3650))
        # Fabric finds by it whose list this is.
        builder = builder.add_extension(self._identifier(), critical=False)
        for number in serial_numbers:
            entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _member(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        issuer = self._certificate.subject
        builder = _builder(subject, issuer, key.public_key(), _YEARS_OF_MEMBER)
        return builder.add_extension(self._identifier(), critical=False)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)

    def _signed(self, builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> Pair:
        certificate = builder.sign(self._key, hashes.SHA256())
        return Pair(certificate.public_bytes(Encoding.PEM), private_pem(key))


def create_hospital(layout: Layout, hospital: Hospital) -> None:
    """All material of one hospital, by its own authority."""
    create_authorities(layout, hospital)
    create_members(layout, hospital, own_authority(layout, hospital))


def create_authorities(layout: Layout, hospital: Hospital) -> None:
    """A hospital's two authorities, its MSP, and TLS for each of its servers."""
    home = layout.hospital(hospital.slug)
    signing = Authority.create(f"ca.{hospital.slug}", home / "ca", "signing")
    tls = Authority.create(f"tlsca.{hospital.slug}", home / "ca", "tls")
    write_msp(home / "msp", signing.pem, tls.pem)
    for unit in _SERVERS:
        write_msp(home / unit / "msp", signing.pem, tls.pem)
        _write_tls(home / unit / "tls", tls, f"{unit}.{hospital.slug}", hospital.host)
    _write_tls(home / "chaincode" / "tls", tls, f"chaincode.{hospital.slug}")
    _write_tls(home / "ca" / "server" / "tls", tls, f"ca.{hospital.slug}")


def create_members(layout: Layout, hospital: Hospital, issuer: Issuer) -> None:
    """The identities that a hospital begins with: its orderer, its peer, its first admin.

    The servers' are the authority's own, whoever issues the others: every transaction carries its
    endorsers' certificates, and fabric-ca's are a fifth longer by what nobody reads.
    """
    own = own_authority(layout, hospital)
    for unit in _SERVERS:
        folder = layout.hospital(hospital.slug) / unit / "msp"
        pair = own.identity(f"{unit}.{hospital.slug}", unit)
        _write(folder / "signcerts" / "cert.pem", pair.certificate)
        write_secret(folder / "keystore" / "key.pem", pair.key)
    enroll(layout, hospital, "admin", ("admin",), issuer)


def own_authority(layout: Layout, hospital: Hospital) -> Authority:
    """The hospital's own signing authority."""
    return Authority.load(layout.hospital(hospital.slug) / "ca", "signing")


def enroll(
    layout: Layout, hospital: Hospital, name: str, roles: Sequence[str], issuer: Issuer
) -> Path:
    """Make an identity of a hospital; returns its folder."""
    pair = issuer.identity(name, unit_of(roles), roles)
    return write_user(layout, hospital, name, roles, pair)


def unit_of(roles: Sequence[str]) -> str:
    """The organisational unit of a person or node with these roles."""
    return "admin" if "admin" in roles else "client"


def write_user(
    layout: Layout,
    hospital: Hospital,
    name: str,
    roles: Sequence[str],
    pair: Pair,
    folder: str | None = None,
) -> Path:
    """Write an identity, with a new TLS certificate, into the folder of its name or another one of
    the hospital's; returns where."""
    tls = Authority.load(layout.hospital(hospital.slug) / "ca", "tls")
    path = layout.user(hospital.slug, folder or name)
    _write(path / "certificate.pem", pair.certificate)
    write_secret(path / "private_key.pem", pair.key)
    pair = tls.tls(f"{name}.{hospital.slug}")
    _write(path / "tls_certificate.pem", pair.certificate)
    write_secret(path / "tls_private_key.pem", pair.key)
    about = {"msp_id": hospital.msp_id, "name": name, "roles": sorted(roles)}
    _write(path / "identity.json", json.dumps(about, indent=1).encode() + b"\n")
    return path


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, never open to others even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def write_msp(folder: Path, signing_pem: bytes, tls_pem: bytes) -> None:
    """A membership service's folder: whom a hospital's authorities vouch for."""
    _write(folder / "cacerts" / "ca.pem", signing_pem)
    _write(folder / "tlscacerts" / "ca.pem", tls_pem)
    units: dict[str, object] = {"Enable": True}
    units |= {
        f"{unit.capitalize()}OUIdentifier": {
            "Certificate": "cacerts/ca.pem",
            "OrganizationalUnitIdentifier": unit,
        }
        for unit in _NODE_OUS
    }
    # JSON is YAML.
    _write(folder / "config.yaml", json.dumps({"NodeOUs": units}, indent=1).encode())


def _write_tls(folder: Path, authority: Authority, common_name: str, host: str = HOST) -> None:
    pair = authority.tls(common_name, host)
    _write(folder / "ca.pem", authority.pem)
    _write(folder / "cert.pem", pair.certificate)
    write_secret(folder / "key.pem", pair.key)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, years: int
) -> x509.CertificateBuilder:
    start = _now() - datetime.timedelta(minutes=5)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(1 + secrets.randbits(_SERIAL_BITS))
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365 * years))
    )


def _key_identifier(key: ec.EllipticCurvePublicKey) -> bytes:
    """A short name of an authority's key (RFC 5280, 4.2.1.2)."""
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hashlib.sha256(point).digest()[:8]


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(common_name: str, unit: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if unit:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name(parts)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
