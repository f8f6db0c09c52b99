"""Certificates and identities for tests."""

from __future__ import annotations

import datetime
import ipaddress
import json
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chaincode.schema.base import Role
from chaincode.shim.identity import ATTRIBUTES
from client.identity import Identity

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that issues what tests need."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str, roles: str = "") -> tuple[bytes, bytes]:
        """Certificate and private key, PEM; ``roles`` as fabric-ca writes them."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject
        return _certificate(name, key, issuer, self.key, roles=roles), _pem(key)


def make_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    pem = _certificate("ca", key, subject, key, is_ca=True)
    return Authority(key, x509.load_pem_x509_certificate(pem))


def make_identity(
    authority: Authority,
    name: str = "node1",
    *,
    msp_id: str = "Hospital1MSP",
    roles: tuple[Role, ...] = (Role.TRAINER, Role.VALIDATOR),
) -> Identity:
    certificate, key = authority.issue(name, ",".join(roles))
    tls_certificate, tls_key = authority.issue(name)
    return Identity(
        msp_id=msp_id,
        name=name,
        roles=roles,
        certificate_pem=certificate,
        private_key_pem=key,
        tls_certificate_pem=tls_certificate,
        tls_private_key_pem=tls_key,
    )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool = False,
    roles: str = "",
) -> bytes:
    attributes = json.dumps({"attrs": {"medfabric.roles": roles}}).encode()
    now = datetime.datetime.now(datetime.UTC)
    # Python 3.13 and newer verify strictly: they ask for identifiers, and for what a key is for.
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(own, critical=False)
        .add_extension(above, critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.UnrecognizedExtension(ATTRIBUTES, attributes), critical=False)
    )
    if is_ca:
        usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign": True, "crl_sign": True}
        built = built.add_extension(x509.KeyUsage(**usage), critical=True)
    return built.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
