"""Certificates of our own: their shape, their chain, and who may read the keys."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from chaincode.schema.base import Role
from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity
from network import crypto, topology
from network.base import open_network
from network.topology import Hospital, Kind, Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("consortium"))
    crypto.create_hospital(made, _hospital())
    authority = crypto.own_authority(made, _hospital())
    crypto.enroll(made, _hospital(), "node1", ("validator", "trainer"), authority)
    return made


def test_only_the_owner_may_read_a_key(layout: Layout) -> None:
    keys = [p for p in layout.folder.rglob("*") if p.suffix == ".key" or "key" in p.stem]

    files = [path for path in keys if path.is_file()]
    assert len(files) >= 11
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_an_identity_loads_and_signs(layout: Layout) -> None:
    identity = Identity.load(layout.user("hospital1", "node1"))

    assert identity.msp_id == "Hospital1MSP"
    assert identity.roles == (Role.TRAINER, Role.VALIDATOR)
    assert identity.sign(b"words")


def test_roles_travel_as_fabric_ca_writes_them(layout: Layout) -> None:
    certificate = _certificate(layout.user("hospital1", "node1") / "certificate.pem")

    value = certificate.extensions.get_extension_for_oid(crypto.ATTRIBUTES).value
    assert isinstance(value, x509.UnrecognizedExtension)
    assert json.loads(value.value)["attrs"] == {"medfabric.roles": "trainer,validator"}


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("orderer/msp/signcerts/cert.pem", "orderer"),
        ("peer/msp/signcerts/cert.pem", "peer"),
        ("users/admin/certificate.pem", "admin"),
        ("users/node1/certificate.pem", "client"),
    ],
)
def test_the_unit_says_what_a_certificate_is_for(layout: Layout, path: str, unit: str) -> None:
    certificate = _certificate(layout.hospital("hospital1") / path)

    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    assert [attribute.value for attribute in units] == [unit]
    certificate.verify_directly_issued_by(
        _certificate(layout.hospital("hospital1") / "msp/cacerts/ca.pem")
    )


@pytest.mark.parametrize(
    ("path", "most"),
    [("peer/msp/signcerts/cert.pem", 345), ("users/node1/certificate.pem", 405)],
)
def test_a_member_s_certificate_says_nothing_that_nobody_reads(
    layout: Layout, path: str, most: int
) -> None:
    certificate = _certificate(layout.hospital("hospital1") / path)

    read = {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, crypto.ATTRIBUTES}
    assert {extension.oid for extension in certificate.extensions} <= read
    assert certificate.version is x509.Version.v3
    assert len(certificate.public_bytes(Encoding.DER)) <= most


@pytest.mark.parametrize(
    "path", ["orderer/tls/cert.pem", "peer/tls/cert.pem", "users/node1/tls_certificate.pem"]
)
def test_tls_certificates_serve_both_ends_on_this_machine(layout: Layout, path: str) -> None:
    certificate = _certificate(layout.hospital("hospital1") / path)

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    certificate.verify_directly_issued_by(
        _certificate(layout.hospital("hospital1") / "msp/tlscacerts/ca.pem")
    )


def test_identities_and_tls_have_different_authorities(layout: Layout) -> None:
    msp = layout.hospital("hospital1") / "msp"

    signing, tls = (_certificate(msp / f"{name}/ca.pem") for name in ("cacerts", "tlscacerts"))

    assert signing.public_key() != tls.public_key()
    assert signing.subject != tls.subject


def test_keys_are_p256_and_fit_their_certificates(layout: Layout) -> None:
    folder = layout.user("hospital1", "admin")

    key = load_pem_private_key((folder / "private_key.pem").read_bytes(), None)

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == _certificate(folder / "certificate.pem").public_key()


def test_a_revocation_list_names_the_revoked_and_verifies(layout: Layout) -> None:
    authority = crypto.Authority.load(layout.hospital("hospital1") / "ca", "signing")
    revoked = _certificate(layout.user("hospital1", "node1") / "certificate.pem").serial_number

    made = x509.load_pem_x509_crl(authority.revocation_list([revoked]))

    assert [entry.serial_number for entry in made] == [revoked]
    ca = _certificate(layout.hospital("hospital1") / "msp/cacerts/ca.pem")
    key = ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert made.is_signature_valid(key)


def _hospital() -> Hospital:
    return Hospital(
        slug="hospital1",
        msp_id="Hospital1MSP",
        consenter_id=1,
        ports=topology.create(Kind.DEVNET, 2).hospitals[0].ports,
    )


def _certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_an_identity_is_renewed_beside_itself(tmp_path: Path) -> None:
    made = topology.create(Kind.DEVNET, 2)
    topology.save(made, tmp_path)
    network = open_network(tmp_path)
    network.furnish(made.hospitals[0])
    before = Identity.load(network.layout.user("hospital1", "node1"))

    after = Identity.load(network.renew("hospital1", "node1"))

    assert (after.name, after.roles, after.msp_id) == (before.name, before.roles, before.msp_id)
    assert after.public_key_sha256 != before.public_key_sha256
    kept = Identity.load(network.layout.user("hospital1", "node1"))
    assert kept.public_key_sha256 == before.public_key_sha256
    for name, why in (("node1", "node1-new is there already"), ("node9", "has no node9")):
        with pytest.raises(MedFabricError, match=why) as refusal:
            network.renew("hospital1", name)
        assert refusal.value.code == Code.CA_REFUSED
