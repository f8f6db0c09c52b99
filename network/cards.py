"""A hospital's card: what the others must know of it before there is a channel. Nothing is secret.

Cards go from hospital to hospital by any means. What a card says is signed by nobody: that all have
the same cards shows in the genesis block, which follows from them and whose hash hospitals compare.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from pathlib import Path
from typing import Annotated, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chaincode.schema.errors import Code, MedFabricError
from network import crypto
from network.topology import SLUG, Hospital, Layout, Ports, msp_id

MOST_BYTES = 64 * 1024
"""Of a card: four certificates and a few words."""
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NO_CERTIFICATE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.ExtensionNotFound,
)

Port = Annotated[int, Field(ge=1, le=65535)]
Pem = Annotated[str, Field(min_length=1, max_length=16 * 1024)]


class Card(BaseModel):
    """Certificates are PEM: the authorities of identities and of TLS, and the orderer's own two."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    version: Literal[1]
    hospital: Annotated[str, Field(pattern=SLUG)]
    host: Annotated[str, Field(min_length=1, max_length=253)]
    peer_port: Port
    orderer_port: Port
    identity_authority: Pem
    tls_authority: Pem
    orderer_identity: Pem
    orderer_tls: Pem


def of(layout: Layout, hospital: Hospital) -> Card:
    """The card of a hospital whose material is in the folder."""
    home = layout.hospital(hospital.slug)

    def pem(path: str) -> str:
        return (home / path).read_text()

    return Card(
        version=1,
        hospital=hospital.slug,
        host=hospital.host,
        peer_port=hospital.ports.peer,
        orderer_port=hospital.ports.orderer,
        identity_authority=pem("msp/cacerts/ca.pem"),
        tls_authority=pem("msp/tlscacerts/ca.pem"),
        orderer_identity=pem("orderer/msp/signcerts/cert.pem"),
        orderer_tls=pem("orderer/tls/cert.pem"),
    )


def read(path: Path) -> Card:
    """A card from its file.

    Raises:
        MedFabricError: ``CARD_REFUSED``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise _refused(path, f"is larger than {MOST_BYTES} bytes")
    try:
        card = Card.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _refused(path, f"{field}: {first['msg']}") from None
    if wrong := problem(card):
        raise _refused(path, wrong)
    return card


def check_host(host: str) -> str | None:
    """What is wrong with the name or IPv4 address of a machine, if anything."""
    if _is_ipv6(host):
        # Anchor peers and consenters: Fabric joins both as "%s:%d".
        return (
            f"{host} is an IPv6 address, and Fabric joins host and port by a colon, without the "
            "brackets that it needs; give a name that leads to it, and --listen :: to answer there"
        )
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        # What has digits alone at its end is meant as an address.
        if not _NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
            return f"{host!r} is neither the name nor the IPv4 address of a machine"
    return None


def check_listen(address: str) -> str | None:
    """What is wrong with an address to listen on, if anything: it must be this machine's own."""
    try:
        family = socket.AF_INET6 if _is_ipv6(address) else socket.AF_INET
        ipaddress.ip_address(address)
        with socket.socket(family) as trying:
            trying.bind((address, 0))
    except (ValueError, OSError):
        return f"{address!r} is no IP address of this machine"
    return None


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def problem(card: Card) -> str | None:
    """What is wrong with a card, if anything: its certificates must be what they are for."""
    if wrong := check_host(card.host):
        return f"host: {wrong}"
    if card.peer_port == card.orderer_port:
        return "orderer_port: peer and orderer cannot share a port"
    try:
        identities, tls = _root(card.identity_authority), _root(card.tls_authority)
        orderer = _issued(card.orderer_identity, identities)
        server = _issued(card.orderer_tls, tls)
        units = orderer.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        if [unit.value for unit in units] != ["orderer"]:
            return "orderer_identity: is no orderer's certificate"
        if not _names(server, card.host):
            return f"orderer_tls: is not for {card.host}"
    except _NO_CERTIFICATE as error:
        return f"a certificate is not what it must be: {error or type(error).__name__}"
    return None


def hospital(card: Card, consenter_id: int) -> Hospital:
    """The hospital as others know it."""
    known = {"peer": card.peer_port, "orderer": card.orderer_port}
    return Hospital(
        slug=card.hospital,
        msp_id=msp_id(card.hospital),
        consenter_id=consenter_id,
        ports=Ports(**{**dict.fromkeys(Ports.model_fields, 0), **known}),
        host=card.host,
    )


def put(card: Card, layout: Layout) -> None:
    """Write the public material of another hospital."""
    home = layout.hospital(card.hospital)
    crypto.write_msp(home / "msp", card.identity_authority.encode(), card.tls_authority.encode())
    for path, content in (
        ("orderer/msp/signcerts/cert.pem", card.orderer_identity),
        ("orderer/tls/cert.pem", card.orderer_tls),
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text(content)


def _root(pem: str) -> x509.Certificate:
    """An authority's certificate, signed by itself."""
    certificate = _certificate(pem)
    certificate.verify_directly_issued_by(certificate)
    if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
        raise ValueError("an authority's certificate is none of an authority")
    return certificate


def _issued(pem: str, authority: x509.Certificate) -> x509.Certificate:
    certificate = _certificate(pem)
    certificate.verify_directly_issued_by(authority)
    return certificate


def _certificate(pem: str) -> x509.Certificate:
    found = x509.load_pem_x509_certificates(pem.encode())
    if len(found) != 1:
        raise ValueError("one certificate is needed, and no more")
    key = found[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError("keys are of the curve P-256")
    return found[0]


def _names(certificate: x509.Certificate, host: str) -> bool:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    return host in (*found.get_values_for_type(x509.DNSName), *addresses)


def _refused(path: Path, why: str) -> MedFabricError:
    return MedFabricError(Code.CARD_REFUSED, f"{path} {why}; ask the hospital for its card again")
