"""Keys that are elsewhere: signers in place of keys, and requests that travel to be signed."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema.errors import Code, MedFabricError
from client.connection import Connection
from client.gateway import (
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    Form,
    Gateway,
    SubmitError,
)
from client.identity import Identity

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Hsm:
    """Signs digests alone, always with a high s, as many devices do every other time."""

    def __init__(self, private_key_pem: bytes) -> None:
        self._key = serialization.load_pem_private_key(private_key_pem, None)
        self.signed: list[bytes] = []

    def sign(self, digest: bytes) -> bytes:
        assert len(digest) == 32
        self.signed.append(digest)
        r, s = decode_dss_signature(self._key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return encode_dss_signature(r, max(s, ORDER - s))


@pytest.fixture
def hsm(identity) -> Hsm:
    return Hsm(identity.private_key_pem)


@pytest.fixture
def gateway(peer, identity):
    """A gateway whose identity has no key here."""
    keyless = dataclasses.replace(identity, private_key_pem=None)
    with Gateway.connect(Connection.load(peer.connection_file), keyless) as opened:
        yield opened


def verify(identity: Identity, message: bytes, signature: bytes) -> None:
    assert decode_dss_signature(signature)[1] <= ORDER // 2
    key = x509.load_pem_x509_certificate(identity.certificate_pem).public_key()
    key.verify(signature, message, ec.ECDSA(hashes.SHA256()))


def test_a_signer_signs_every_stage_in_place_of_a_key(peer, identity, hsm):
    keyless = dataclasses.replace(identity, private_key_pem=None, signer=hsm)

    with Gateway.connect(Connection.load(peer.connection_file), keyless) as gateway:
        committed = gateway.submit([b"plan:Advance", b"{}"])

    assert committed.block_number == 7
    assert len(hsm.signed) == 3
    proposed = peer.service.asked["Endorse"][0].proposed_transaction
    verify(identity, proposed.proposal_bytes, proposed.signature)
    envelope = peer.service.asked["Submit"][0].prepared_transaction
    verify(identity, envelope.payload, envelope.signature)
    asked = peer.service.asked["CommitStatus"][0]
    verify(identity, asked.request, asked.signature)


def test_a_transaction_goes_through_all_stages_signed_off_line(peer, identity, hsm, gateway):
    proposal = gateway.proposal([b"plan:Advance", b"{}"], organizations=["Hospital2MSP"])
    proposal = gateway.signed_proposal(proposal.to_bytes(), hsm.sign(proposal.digest))
    transaction = proposal.endorse()
    transaction = gateway.signed_transaction(transaction.to_bytes(), hsm.sign(transaction.digest))
    commit = transaction.submit()
    commit = gateway.signed_commit(commit.to_bytes(), hsm.sign(commit.digest))

    status = commit.status()

    assert (status.successful, status.block_number) == (True, 7)
    assert transaction.result == peer.service.answer
    asked = peer.service.asked["Endorse"][0]
    assert list(asked.endorsing_organizations) == ["Hospital2MSP"]
    ids = {proposal.transaction_id, transaction.transaction_id, commit.transaction_id}
    assert ids == {asked.transaction_id}
    verify(
        identity, asked.proposed_transaction.proposal_bytes, asked.proposed_transaction.signature
    )
    envelope = peer.service.asked["Submit"][0].prepared_transaction
    verify(identity, envelope.payload, envelope.signature)
    status_request = peer.service.asked["CommitStatus"][0]
    verify(identity, status_request.request, status_request.signature)


def test_a_query_is_signed_off_line(peer, identity, hsm, gateway):
    proposal = gateway.proposal([b"plan:Get", b"{}"])

    signed = gateway.signed_proposal(proposal.to_bytes(), hsm.sign(proposal.digest))

    assert signed.evaluate() == peer.service.answer


def test_events_are_asked_for_with_an_off_line_signature(peer, identity, hsm, gateway):
    request = gateway.events_request(start_block=3)

    list(gateway.signed_events_request(request.to_bytes(), hsm.sign(request.digest)).open())

    asked = peer.service.asked["ChaincodeEvents"][0]
    verify(identity, asked.request, asked.signature)
    content = gateway_pb2.ChaincodeEventsRequest.FromString(asked.request)
    assert content.start_position.specified.number == 3


@pytest.mark.parametrize("form", list(Form))
def test_blocks_are_asked_for_with_an_off_line_signature(identity, hsm, gateway, form):
    request = gateway.block_events_request(form=form, start_block=3)

    signed = gateway.signed_block_events_request(
        request.to_bytes(), hsm.sign(request.digest), form=form
    )

    envelope = common_pb2.Envelope.FromString(signed.to_bytes())
    verify(identity, envelope.payload, envelope.signature)


def test_nothing_is_sent_unsigned(peer, gateway, hsm):
    proposal = gateway.proposal([b"plan:Advance", b"{}"])
    signed = gateway.signed_proposal(proposal.to_bytes(), hsm.sign(proposal.digest))
    transaction = signed.endorse()
    committing = gateway.signed_transaction(
        transaction.to_bytes(), hsm.sign(transaction.digest)
    ).submit()
    unsigned = [
        (proposal.evaluate, EvaluateError),
        (proposal.endorse, EndorseError),
        (transaction.submit, SubmitError),
        (committing.status, CommitStatusError),
        (gateway.events, EventsError),
        (gateway.block_events, EventsError),
        (gateway.height, EvaluateError),
    ]
    sent = {method: len(requests) for method, requests in peer.service.asked.items()}

    for send, error in unsigned:
        with pytest.raises(error) as caught:
            send()
        assert caught.value.code == Code.UNSIGNED

    assert {method: len(requests) for method, requests in peer.service.asked.items()} == sent


def test_an_identity_without_a_key_is_read_and_written(identity, hsm, tmp_path):
    dataclasses.replace(identity, private_key_pem=None).save(tmp_path / "node1")

    assert not (tmp_path / "node1" / "private_key.pem").exists()
    verify(identity, b"x", Identity.load(tmp_path / "node1", signer=hsm).sign(b"x"))
    offline = Identity.load(tmp_path / "node1", offline=True)
    assert not offline.can_sign
    assert offline.public_key_sha256 == identity.public_key_sha256
    with pytest.raises(MedFabricError) as caught:
        offline.sign(b"x")
    assert caught.value.code == Code.UNSIGNED
    with pytest.raises(MedFabricError) as caught:
        Identity.load(tmp_path / "node1")
    assert caught.value.code == Code.BAD_IDENTITY


def test_an_identity_has_a_key_or_a_signer(identity, hsm):
    with pytest.raises(ValueError, match="not both"):
        dataclasses.replace(identity, signer=hsm)


def test_a_signer_that_gives_no_signature_is_named(identity):
    class Broken:
        def sign(self, digest: bytes) -> bytes:
            return b"not a signature"

    broken = dataclasses.replace(identity, private_key_pem=None, signer=Broken())

    with pytest.raises(MedFabricError, match="signer of node1") as caught:
        broken.sign(b"x")

    assert caught.value.code == Code.BAD_IDENTITY


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_foreign_bytes_and_signatures_are_refused_or_taken_as_they_are(
    offline_gateway, content, signature
):
    gateway = offline_gateway
    for take in (
        gateway.signed_proposal,
        gateway.signed_transaction,
        gateway.signed_commit,
        gateway.signed_events_request,
        gateway.signed_block_events_request,
    ):
        with contextlib.suppress(MedFabricError):
            take(content, signature)


def test_a_signature_that_is_none_is_refused(gateway):
    proposal = gateway.proposal([b"plan:Get", b"{}"])

    for signature in (b"", b"\x30", b"signed"):
        with pytest.raises(MedFabricError) as caught:
            gateway.signed_proposal(proposal.to_bytes(), signature)
        assert caught.value.code == Code.BAD_ARGUMENT


@pytest.fixture(scope="module")
def offline_gateway(identity):
    import grpc

    with grpc.insecure_channel("127.0.0.1:1") as channel:
        yield Gateway(channel, identity, channel_name="medfabric", chaincode="medfabric")
