"""Identities on disk and connection files: what is refused, and what is never shown."""

from __future__ import annotations

import json
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pki import make_identity

from chaincode.schema.errors import Code, MedFabricError
from client.connection import Connection, open_channel
from client.identity import Identity

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEYS = ("private_key.pem", "tls_private_key.pem")


@pytest.fixture
def folder(identity, tmp_path):
    identity.save(tmp_path / "node1")
    return tmp_path / "node1"


def refused(folder) -> MedFabricError:
    with pytest.raises(MedFabricError) as caught:
        Identity.load(folder)
    return caught.value


def test_an_identity_comes_back_as_saved(identity, folder):
    assert Identity.load(folder) == identity


@pytest.mark.parametrize("name", KEYS)
def test_private_keys_are_for_their_owner_alone(folder, name):
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_can_reach_is_refused(folder, name, mode):
    (folder / name).chmod(mode)

    error = refused(folder)

    assert error.code == Code.KEY_EXPOSED
    assert f"chmod 600 {folder / name}" in error.message


@pytest.mark.parametrize(
    "name",
    ["certificate.pem", "tls_certificate.pem", "identity.json", *KEYS],
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    error = refused(folder)

    assert error.code == Code.BAD_IDENTITY
    assert name in error.message


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"msp_id":"A","name":"n","roles":["king"]}', "\0"]
)
def test_a_damaged_description_is_refused(folder, content):
    (folder / "identity.json").write_text(content)

    assert refused(folder).code == Code.BAD_IDENTITY


def test_a_key_of_another_certificate_is_refused(folder, authority):
    other = make_identity(authority, "node2")
    (folder / "certificate.pem").write_bytes(other.certificate_pem)

    assert "not the key of" in refused(folder).message


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())]
)
def test_a_key_that_fabric_does_not_know_is_refused(folder, key):
    (folder / "private_key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )

    assert "P-256" in refused(folder).message


def test_keys_are_in_no_error_and_no_representation(identity, folder):
    secret = identity.private_key_pem.decode().splitlines()[1]
    (folder / "certificate.pem").write_text("damaged")

    assert secret not in str(refused(folder))
    assert secret not in repr(identity)
    assert "PRIVATE" not in repr(identity)


@settings(max_examples=50)
@given(st.binary(max_size=64))
def test_every_signature_has_a_low_s(identity, message):
    signature = identity.sign(message)

    assert decode_dss_signature(signature)[1] <= ORDER // 2
    key = x509.load_pem_x509_certificate(identity.certificate_pem).public_key()
    key.verify(signature, message, ec.ECDSA(hashes.SHA256()))


def test_connection_paths_are_relative_to_the_file(peer):
    connection = Connection.load(peer.connection_file)

    assert connection.gateway.tls_ca_file == peer.connection_file.parent / "ca.pem"
    assert connection.orderers[0].tls_ca_file.is_absolute()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"channel": 7}, "channel"),
        ({"gateway": {"address": "127.0.0.1:1"}}, "gateway.server_name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_connection_file_names_the_field(peer, change, named):
    content = json.loads(peer.connection_file.read_text())
    peer.connection_file.write_text(json.dumps({**content, **change}))

    with pytest.raises(MedFabricError) as caught:
        Connection.load(peer.connection_file)

    assert caught.value.code == Code.BAD_CONNECTION
    assert f": {named}: " in caught.value.message


def test_a_missing_connection_file_or_authority_is_named(peer, identity, tmp_path):
    with pytest.raises(MedFabricError, match="name a hospital's connection"):
        Connection.load(tmp_path / "nowhere.json")

    connection = Connection.load(peer.connection_file)
    connection.gateway.tls_ca_file.unlink()
    with pytest.raises(MedFabricError) as caught:
        open_channel(connection.gateway, identity)

    assert caught.value.code == Code.BAD_CONNECTION
