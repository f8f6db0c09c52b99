"""Keys, identities, proposals and the clock guard."""

import base64
import datetime
import hashlib
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_protos.msp import identities_pb2
from hypothesis import given
from hypothesis import strategies as st
from support.memory_stub import MemoryLedger, creator, proposal_bytes

from chaincode.shim import (
    AttributeMismatchError,
    ClientIdentity,
    Response,
    Stub,
    composite_key,
    split_composite_key,
)
from chaincode.shim.clock import ClockGuard
from chaincode.shim.stub import Proposal

PARTS = st.text(st.characters(exclude_characters="\x00\U0010ffff", exclude_categories=["Cs"]))


def stub(creator_bytes: bytes = b"", **transient: bytes) -> Stub:
    proposal = Proposal(proposal_bytes(creator_bytes, 17, "tx", transient))
    return Stub("tx", "medfabric", [b"f"], proposal, MemoryLedger())


# keys


@given(PARTS.filter(bool), st.lists(PARTS, max_size=4))
def test_composite_keys_are_split_into_what_they_were_made_of(
    kind: str, attributes: list[str]
) -> None:
    assert split_composite_key(composite_key(kind, attributes)) == (kind, tuple(attributes))


@given(PARTS.filter(bool), st.lists(PARTS, max_size=3), st.lists(PARTS, max_size=3))
def test_different_parts_make_different_keys(kind: str, one: list[str], other: list[str]) -> None:
    assert (composite_key(kind, one) == composite_key(kind, other)) == (one == other)


@pytest.mark.parametrize(("kind", "part"), [("", "a"), ("k", "a\x00b"), ("k", "\U0010ffff")])
def test_parts_that_would_break_the_order_are_refused(kind: str, part: str) -> None:
    with pytest.raises(ValueError, match="composite key"):
        composite_key(kind, [part])


@pytest.mark.parametrize("key", ["", "plain", "\x00", "\x00\x00", "\x00open"])
def test_other_keys_are_not_split(key: str) -> None:
    with pytest.raises(ValueError, match="not a composite key"):
        split_composite_key(key)


def test_bad_keys_values_and_pages_are_refused_before_anything_is_asked() -> None:
    one = stub()
    for call in (
        lambda: one.get_state(""),
        lambda: one.put_state("", b"v"),
        lambda: one.put_state("k", b""),
        lambda: one.del_state(""),
        lambda: one.set_event("", b""),
        lambda: one.get_state_by_range("\x00vote", ""),
        lambda: one.get_state_by_range_page("", "", 0, ""),
        lambda: one.get_private_data("", "k"),
        lambda: one.get_private_data("c", ""),
        lambda: one.get_multiple_private_data("", ["k"]),
        lambda: one.get_private_data_hash("", "k"),
        lambda: one.get_private_data_by_range("", "", ""),
        lambda: one.get_private_data_by_range("c", "\x00vote", ""),
        lambda: one.get_private_data_by_partial_composite_key("", "vote", []),
        lambda: one.get_private_data_validation_parameter("", "k"),
        lambda: one.put_private_data("", "k", b"v"),
        lambda: one.put_private_data("c", "", b"v"),
        lambda: one.put_private_data("c", "k", b""),
        lambda: one.del_private_data("", "k"),
        lambda: one.purge_private_data("", "k"),
        lambda: one.set_private_data_validation_parameter("", "k", b"p"),
    ):
        with pytest.raises(ValueError, match=r".+"):
            call()
    assert one.writes == []


# the proposal


def test_the_proposal_gives_time_transient_data_and_binding() -> None:
    one = stub(b"somebody", secret=b"s")

    assert one.seconds == 17
    assert one.transient == {"secret": b"s"}
    # nonce, creator, epoch as eight bytes, least first
    assert one.binding == hashlib.sha256(b"n" * 24 + b"somebody" + bytes(8)).digest()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_proposal_or_a_value_error(raw: bytes) -> None:
    try:
        Proposal(raw)
    except ValueError:
        return


# identities


def test_an_identity_gives_name_hospital_roles_and_key() -> None:
    raw = creator("Hospital1MSP", "node1", "trainer,validator")

    identity = stub(raw).creator

    assert (identity.msp_id, identity.common_name) == ("Hospital1MSP", "node1")
    assert identity.attributes == {"medfabric.roles": "trainer,validator"}
    assert len(bytes.fromhex(identity.public_key_sha256)) == 32
    other = ClientIdentity.parse(creator("Hospital1MSP", "node1", "trainer,validator", "other"))
    assert other.public_key_sha256 != identity.public_key_sha256


def subject(*parts: tuple[x509.ObjectIdentifier, str]) -> bytes:
    """A serialised identity of this subject, issued by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now, now.replace(year=2036))
    ).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return identities_pb2.SerializedIdentity(mspid="OneMSP", id_bytes=pem).SerializeToString()


def test_an_identitys_name_and_units_are_those_of_its_certificate() -> None:
    raw = subject(
        (NameOID.COUNTRY_NAME, "CH"),
        (NameOID.ORGANIZATION_NAME, "One, Two"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "client"),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "ward 1"),
        (NameOID.EMAIL_ADDRESS, "left@out"),
        (NameOID.COMMON_NAME, "#user "),
    )

    identity = ClientIdentity.parse(raw)

    name = r"CN=\#user\ ,OU=client+OU=ward 1,O=One\, Two,C=CH"
    assert base64.b64decode(identity.id).decode() == f"x509::{name}::{name}"
    assert identity.organizational_units == ("client", "ward 1")
    assert identity.has_organizational_unit("client")
    assert not identity.has_organizational_unit("clien")


def test_an_attribute_is_asserted_by_name_and_value() -> None:
    identity = ClientIdentity.parse(creator("Hospital1MSP", "node1", "trainer"))

    identity.require_attribute("medfabric.roles", "trainer")
    for name, value in (("medfabric.roles", "admin"), ("other", "trainer"), ("other", "")):
        with pytest.raises(AttributeMismatchError):
            identity.require_attribute(name, value)


def test_a_stub_tells_all_of_its_proposal() -> None:
    raw = proposal_bytes(b"", 17, "tx")
    made = Stub(
        "tx",
        "medfabric",
        [b"f", "ä".encode()],
        Proposal(raw),
        MemoryLedger(),
        signature=b"signed",
        decorations={"by": b"the peer"},
    )

    assert (made.function, made.parameters) == ("f", ("ä",))
    assert (made.proposal_bytes, made.signature) == (raw, b"signed")
    assert made.decorations == {"by": b"the peer"}
    assert (made.seconds, made.nanos) == (17, 0)


@given(st.binary(max_size=100))
def test_any_bytes_are_an_identity_or_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        ClientIdentity.parse(raw)


@pytest.mark.parametrize("content", ["[]", '{"attrs": 3}', "not json", '"attrs"'])
def test_attributes_that_are_none_are_a_value_error(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "dumps", lambda *_args, **_kw: content)
    raw = creator("Hospital1MSP", content, "garbled")
    with pytest.raises(ValueError, match=r".+"):
        _ = ClientIdentity.parse(raw).attributes


def test_a_certificate_without_the_extension_has_no_attributes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(x509.CertificateBuilder, "add_extension", lambda self, *_a, **_kw: self)
    raw = creator("Hospital1MSP", "plain", "none")
    identity = ClientIdentity.parse(raw)
    assert identity.attributes == {}
    assert identity.raw == raw
    assert identities_pb2.SerializedIdentity.FromString(raw).mspid == "Hospital1MSP"


# the clock guard


class Reached:
    def invoke(self, stub: Stub) -> Response:
        return Response.success(b"reached")


@pytest.mark.parametrize(
    ("offset", "status"), [(0, 200), (250, 200), (-250, 200), (400, 400), (-400, 400)]
)
def test_a_proposal_too_far_off_the_clock_is_declined(offset: int, status: int) -> None:
    ledger = MemoryLedger()
    seconds = int(time.time()) + offset

    response = ledger.invoke(ClockGuard(Reached(), 300), b"somebody", "f", None, seconds)

    assert response.status == status
    assert (response.payload == b"reached") == (status == 200)
    assert response.message.startswith("MF-1501") == (status == 400)
