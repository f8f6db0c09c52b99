"""Fabric's semantics on the devnet, with a small chaincode that does what contracts never do."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import hashlib
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.msp import identities_pb2, msp_config_pb2
from fabric_protos.orderer import ab_pb2, ab_pb2_grpc
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.schema.errors import Code, MedFabricError
from chaincode.shim.chaincode import Response
from chaincode.shim.endorsement import owner_and_majority
from chaincode.shim.server import Server, ServerConfig
from chaincode.shim.stub import Stub
from client import blocks as client_blocks
from client import configuration as changes
from client import hfc_binding
from client.audit.transactions import sets_config
from client.connection import Connection, Endpoint, open_channel
from client.gateway import CommitError, EndorseError, Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network import chaincode, configuration, crypto, genesis, lifecycle, topology
from network.devnet.network import DevNetwork
from network.devnet.orderer import NotOrderedError
from network.devnet.server import Devnet
from network.devnet.store import Blocks
from network.topology import Kind, Layout

MSPS = tuple(f"Hospital{number}MSP" for number in range(1, 5))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Toy:
    """Each function is a transaction; ``msp_id`` is the hospital whose service this is."""

    def __init__(self, msp_id: str) -> None:
        self._msp_id = msp_id
        self.reached = threading.Event()
        self.released = threading.Event()

    def invoke(self, stub: Stub) -> Response:
        name, *args = (arg.decode() for arg in stub.args)
        answer = getattr(self, name)(stub, *args)
        return Response.success(answer or b"")

    def put(self, stub: Stub, *pairs: str) -> None:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            stub.put_state(key, value.encode())
        stub.set_event("put", b"here")

    def fill(self, stub: Stub, prefix: str, number: str) -> None:
        for index in range(int(number)):
            stub.put_state(f"{prefix}{index:04d}", b"x")

    def drop(self, stub: Stub, key: str) -> None:
        stub.del_state(key)

    def count(self, stub: Stub, prefix: str, into: str = "") -> bytes:
        total = str(sum(1 for _ in stub.get_state_by_range(prefix, prefix + "\x7f"))).encode()
        if into:
            stub.put_state(into, total)
        return total

    def first(self, stub: Stub, prefix: str) -> bytes:
        return next(iter(stub.get_state_by_range(prefix, prefix + "\x7f"))).key.encode()

    def past(self, stub: Stub, key: str) -> bytes:
        return b",".join(
            b"gone" if entry.is_delete else entry.value for entry in stub.get_history_for_key(key)
        )

    def own(self, stub: Stub, key: str, msp_id: str) -> None:
        stub.set_state_validation_parameter(key, owner_and_majority(msp_id, MSPS))

    def differ(self, stub: Stub, *liars: str) -> None:
        stub.put_state("differs", b"false" if self._msp_id in liars else b"true")

    def wait(self, stub: Stub) -> None:
        self.reached.set()
        self.released.wait(20)


class Consortium:
    """Four hospitals in this process, each with its chaincode service."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder)
        self.topology = topology.create(Kind.DEVNET, 4)
        self._network = DevNetwork(folder, self.topology)
        folder.mkdir(parents=True)
        for hospital in self.topology.hospitals:
            crypto.create_hospital(self.layout, hospital)
        self.layout.genesis.write_bytes(genesis.block(self.topology, self.layout))
        self._network.write_connections()
        self._network.prepare()
        self.toys: dict[str, Toy] = {}
        self.services: dict[str, Server] = {}
        self._gateways: list[Gateway] = []

    def start(self) -> Consortium:
        for hospital in self.topology.hospitals:
            self.serve(hospital.slug)
        self.devnet = Devnet(self.topology, self.layout)
        return self

    def serve(self, slug: str, package_id: str = "") -> None:
        hospital = self.topology.hospital(slug)
        tls = self.layout.hospital(slug) / "chaincode" / "tls"
        (contracts,) = chaincode.definitions(self.topology)
        config = ServerConfig(
            address=f"127.0.0.1:{hospital.ports.chaincode}",
            package_id=package_id or lifecycle.package_id(contracts),
            tls_cert_file=tls / "cert.pem",
            tls_key_file=tls / "key.pem",
            client_ca_file=tls / "ca.pem",
        )
        self.toys[slug] = Toy(hospital.msp_id)
        self.services[slug] = Server(self.toys[slug], config)

    def stop(self) -> None:
        for toy in self.toys.values():
            toy.released.set()
        for gateway in self._gateways:
            gateway.close()
        self.devnet.close()
        for service in self.services.values():
            service.stop(0)

    def gateway(self, number: int = 1, identity: Identity | None = None) -> Gateway:
        slug = f"hospital{number}"
        connection = Connection.load(self.layout.connection(slug))
        gateway = Gateway.connect(connection, identity or self.admin(number))
        self._gateways.append(gateway)
        return gateway

    def admin(self, number: int = 1) -> Identity:
        return Identity.load(self.layout.user(f"hospital{number}", "admin"))

    def propose(self, *args: str, number: int = 1, organizations: Sequence[str] = ()) -> Proposal:
        arguments = [arg.encode() for arg in args]
        return Proposal(self.gateway(number), arguments, organizations=organizations)

    def submit(self, *args: str, number: int = 1) -> None:
        self.propose(*args, number=number).endorse().submit().status().check()

    def blocks(self) -> list[common_pb2.Block]:
        store = Blocks(self.layout.folder / "devnet.sqlite")
        try:
            return list(store.all())
        finally:
            store.close()

    def with_certificate(self, pair: crypto.Pair, name: str) -> Identity:
        return dataclasses.replace(
            self.admin(), name=name, certificate_pem=pair.certificate, private_key_pem=pair.key
        )

    def authority(self) -> crypto.Authority:
        return crypto.Authority.load(self.layout.hospital("hospital1") / "ca", "signing")


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    made = Consortium(tmp_path_factory.mktemp("semantics") / "consortium").start()
    yield made
    made.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Consortium]:
    made = Consortium(tmp_path / "consortium").start()
    yield made
    made.stop()


def test_hospitals_that_disagree_do_not_endorse_together(consortium: Consortium) -> None:
    with pytest.raises(EndorseError) as caught:
        consortium.propose("differ", *MSPS[1:3]).endorse()

    assert caught.value.status == "ABORTED"
    assert {detail.msp_id for detail in caught.value.details} == set(MSPS[1:3])
    assert all("do not match" in detail.message for detail in caught.value.details)


def test_one_hospital_that_disagrees_is_left_out(consortium: Consortium) -> None:
    consortium.submit("differ", MSPS[1])

    endorsers = _endorsers(consortium.blocks()[-1].data.data[0])
    assert MSPS[1] not in endorsers
    assert len(endorsers) >= 3


def test_no_more_hospitals_endorse_than_the_policy_asks_for(consortium: Consortium) -> None:
    consortium.submit("put", "plain", "1", number=3)

    endorsers = _endorsers(consortium.blocks()[-1].data.data[0])
    assert len(endorsers) == 3
    assert MSPS[2] in endorsers


def test_owner_of_a_key_is_asked_for_its_endorsement(consortium: Consortium) -> None:
    consortium.submit("put", "owned", "1")
    consortium.submit("own", "owned", MSPS[3])

    consortium.submit("put", "owned", "2")

    assert MSPS[3] in _endorsers(consortium.blocks()[-1].data.data[0])


def test_key_without_its_owner_s_endorsement_is_not_written(consortium: Consortium) -> None:
    consortium.submit("put", "kept", "1")
    consortium.submit("own", "kept", MSPS[3])

    others = consortium.propose("put", "kept", "2", organizations=MSPS[:3]).endorse()
    with pytest.raises(CommitError) as caught:
        others.submit().status().check()

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"
    assert consortium.propose("past", "kept").evaluate() == b"1"


def test_setting_a_policy_reads_nothing(consortium: Consortium) -> None:
    consortium.submit("put", "unread", "1")
    consortium.submit("own", "unread", MSPS[0])

    sets = _sets(consortium.blocks()[-1].data.data[0])
    assert not sets.reads
    assert [write.key for write in sets.metadata_writes] == ["unread"]


def test_phantom_in_a_range_is_a_conflict(consortium: Consortium) -> None:
    consortium.submit("fill", "phantom", "3")
    counted = consortium.propose("count", "phantom", "total").endorse()
    consortium.submit("put", "phantom9", "late")

    with pytest.raises(CommitError) as caught:
        counted.submit().status().check()

    assert caught.value.validation == "PHANTOM_READ_CONFLICT"


def test_key_deleted_from_a_range_is_a_conflict(consortium: Consortium) -> None:
    consortium.submit("fill", "vanish", "3")
    counted = consortium.propose("count", "vanish", "total").endorse()
    consortium.submit("drop", "vanish0001")

    with pytest.raises(CommitError) as caught:
        counted.submit().status().check()

    assert caught.value.validation == "PHANTOM_READ_CONFLICT"


@pytest.mark.parametrize("number", [99, 100, 101, 200, 250])
def test_ranges_of_any_length_are_read_whole(consortium: Consortium, number: int) -> None:
    consortium.submit("fill", f"range{number}-", str(number))

    assert consortium.propose("count", f"range{number}-").evaluate() == str(number).encode()


def test_range_that_is_not_read_to_its_end_leaves_nothing_open(consortium: Consortium) -> None:
    consortium.submit("fill", "partly", "150")

    assert consortium.propose("first", "partly").evaluate() == b"partly0000"


def test_history_is_newest_first_with_deletions(consortium: Consortium) -> None:
    consortium.submit("put", "old", "one")
    consortium.submit("put", "old", "two")
    consortium.submit("drop", "old")

    assert consortium.propose("past", "old").evaluate() == b"gone,two,one"


def test_exception_in_the_chaincode_stalls_nothing(consortium: Consortium) -> None:
    with pytest.raises(EndorseError):
        consortium.propose("no such function").endorse()

    consortium.submit("put", "after", "1")


@pytest.mark.parametrize("name", ["other", "qscc", ""])
def test_chaincode_that_is_not_defined_does_not_run(consortium: Consortium, name: str) -> None:
    gateway = consortium.gateway()
    gateway.chaincode = name

    with pytest.raises(EndorseError, match="No metadata was found for chaincode"):
        Proposal(gateway, [b"put", b"key", b"value"]).endorse()
    with pytest.raises(EndorseError, match="not found"):
        Proposal(gateway, [b"put", b"key", b"value"], organizations=MSPS[:3]).endorse()


def test_signature_in_its_upper_half_is_refused(consortium: Consortium) -> None:
    proposal = consortium.propose("put", "high", "1")
    signed = proposal.signed
    r, s = decode_dss_signature(signed.signature)
    signed.signature = encode_dss_signature(r, P256_ORDER - s)

    assert "signature is false" in _refused(consortium, signed)


def test_expired_certificate_is_refused(consortium: Consortium) -> None:
    now = datetime.datetime.now(datetime.UTC)
    pair = _issue(consortium, "late", now - datetime.timedelta(minutes=1))

    proposal = _by(consortium, consortium.with_certificate(pair, "late"))

    assert "expired" in _refused(consortium, proposal.signed)


def test_expired_certificate_does_not_pass_by_an_old_timestamp(consortium: Consortium) -> None:
    now = datetime.datetime.now(datetime.UTC)
    identity = consortium.with_certificate(
        _issue(consortium, "backdated", now - datetime.timedelta(minutes=1)), "backdated"
    )
    signed = _by(consortium, identity).signed
    proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
    header = common_pb2.Header.FromString(proposal.header)
    channel = common_pb2.ChannelHeader.FromString(header.channel_header)
    channel.timestamp.FromDatetime(now - datetime.timedelta(days=1))
    header.channel_header = channel.SerializeToString()
    proposal.header = header.SerializeToString()
    signed.proposal_bytes = proposal.SerializeToString()
    signed.signature = identity.sign(signed.proposal_bytes)

    assert "expired" in _refused(consortium, signed)


def test_orderer_s_certificate_may_not_propose(consortium: Consortium) -> None:
    pair = consortium.authority().identity("stray", "orderer")

    proposal = _by(consortium, consortium.with_certificate(pair, "stray"))

    assert "Writers" in _refused(consortium, proposal.signed)


def test_revoked_certificate_is_refused(tmp_path: Path) -> None:
    made = Consortium(tmp_path / "consortium")
    authority = made.authority()
    pair = authority.identity("gone", "client")
    serial = x509.load_pem_x509_certificate(pair.certificate).serial_number
    block = common_pb2.Block.FromString(made.layout.genesis.read_bytes())
    _revoke(block, MSPS[0], authority.revocation_list([serial]))
    made.layout.genesis.write_bytes(block.SerializeToString(deterministic=True))
    made.start()
    try:
        proposal = _by(made, made.with_certificate(pair, "gone"))

        assert "revoked" in _refused(made, proposal.signed)
    finally:
        made.stop()


def test_endorsed_proposal_cannot_be_endorsed_again(consortium: Consortium) -> None:
    proposal = consortium.propose("put", "again", "1")
    proposal.endorse().submit().status().check()

    with pytest.raises(EndorseError, match="duplicate"):
        proposal.endorse()


def _forge_endorsement(action: transaction_pb2.ChaincodeActionPayload) -> None:
    for endorsement in action.action.endorsements:
        endorsement.signature = endorsement.signature[:-1] + bytes((endorsement.signature[-1] ^ 1,))


def _drop_endorsements(action: transaction_pb2.ChaincodeActionPayload) -> None:
    del action.action.endorsements[1:]


def _repeat_endorsement(action: transaction_pb2.ChaincodeActionPayload) -> None:
    first = action.action.endorsements[0]
    del action.action.endorsements[1:]
    action.action.endorsements.extend([first, first])


def _change_results(action: transaction_pb2.ChaincodeActionPayload) -> None:
    raw = action.action.proposal_response_payload
    response = proposal_response_pb2.ProposalResponsePayload.FromString(raw)
    response.extension = response.extension.replace(b"forged?", b"forged!")
    action.action.proposal_response_payload = response.SerializeToString()


@pytest.mark.parametrize(
    "forge", [_forge_endorsement, _drop_endorsements, _repeat_endorsement, _change_results]
)
def test_forged_transaction_is_ordered_and_not_valid(
    consortium: Consortium, forge: Callable[[Any], None]
) -> None:
    gateway = consortium.gateway()
    key = f"forged-{forge.__name__}"
    proposal = Proposal(gateway, [b"put", key.encode(), b"forged?"])
    envelope = proposal.endorse()._envelope()
    payload = common_pb2.Payload.FromString(envelope.payload)
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    forge(action)
    transaction.actions[0].payload = action.SerializeToString()
    payload.data = transaction.SerializeToString()
    forged = payload.SerializeToString()

    _send(gateway, proposal, forged, gateway.identity.sign(forged))

    result = _status(gateway, proposal)
    assert result == transaction_pb2.TxValidationCode.ENDORSEMENT_POLICY_FAILURE
    assert consortium.propose("past", key).evaluate() == b""


def test_transaction_that_its_creator_did_not_sign_is_not_ordered(consortium: Consortium) -> None:
    gateway = consortium.gateway()
    proposal = Proposal(gateway, [b"put", b"unsigned", b"1"])
    envelope = proposal.endorse()._envelope()

    with pytest.raises(grpc.RpcError) as caught:
        _send(gateway, proposal, envelope.payload, gateway.identity.sign(b"something else"))

    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert b"FORBIDDEN" in dict(error.trailing_metadata())["grpc-status-details-bin"]


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\x0a\x7f", bytes(range(256))])
def test_garbage_is_refused_and_stops_nothing(consortium: Consortium, raw: bytes) -> None:
    gateway = consortium.gateway()
    envelope = common_pb2.Envelope(payload=raw, signature=b"x")
    signed = proposal_pb2.SignedProposal(proposal_bytes=raw, signature=raw)
    status = gateway_pb2.SignedCommitStatusRequest(request=raw, signature=raw)

    for call, request in (
        (gateway.stub.Submit, gateway_pb2.SubmitRequest(prepared_transaction=envelope)),
        (gateway.stub.Endorse, gateway_pb2.EndorseRequest(proposed_transaction=signed)),
        (gateway.stub.Evaluate, gateway_pb2.EvaluateRequest(proposed_transaction=signed)),
        (gateway.stub.CommitStatus, status),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=10)
        error: Any = caught.value
        assert error.code() is not grpc.StatusCode.UNKNOWN

    consortium.submit("put", "unharmed", "1")


def test_damaged_transactions_are_judged_and_never_valid(consortium: Consortium) -> None:
    gateway = consortium.gateway()
    envelope = Proposal(gateway, [b"put", b"damaged", b"1"]).endorse()._envelope()
    random = Random(1)
    envelopes = []
    for _ in range(300):
        payload = bytearray(envelope.payload)
        for _ in range(random.choice((1, 1, 8))):
            payload[random.randrange(len(payload))] = random.randrange(256)
        if bytes(payload) != envelope.payload:
            # Signed by its creator, so that what it holds is looked at.
            signature = gateway.identity.sign(bytes(payload))
            damaged = common_pb2.Envelope(payload=bytes(payload), signature=signature)
            envelopes.append(damaged.SerializeToString())
    block = common_pb2.Block(data=common_pb2.BlockData(data=envelopes))

    judged = consortium.devnet._ledger._validator.judge(block)

    assert len(judged) == len(envelopes)
    assert not any(one.valid for one in judged)


def test_transaction_in_flight_fails_when_its_chaincode_ends(fresh: Consortium) -> None:
    outcome: list[MedFabricError] = []

    def endorse() -> None:
        with pytest.raises(EndorseError) as caught:
            fresh.propose("wait").endorse()
        outcome.append(caught.value)

    thread = threading.Thread(target=endorse)
    thread.start()
    assert fresh.toys["hospital1"].reached.wait(10)
    fresh.services["hospital1"].stop(0)
    thread.join(10)

    assert not thread.is_alive()
    assert "hospital1" in outcome[0].message


def test_service_that_is_not_the_installed_one_is_not_talked_to(fresh: Consortium) -> None:
    fresh.services["hospital1"].stop(0)
    fresh.serve("hospital1", package_id="medfabric_1:another")

    with pytest.raises(EndorseError, match="not connected"):
        fresh.propose("put", "key", "1").endorse()

    assert not fresh.toys["hospital1"].reached.is_set()
    fresh.submit("put", "key", "1", number=2)


def test_what_waits_is_judged_again_after_a_change_of_the_configuration(fresh: Consortium) -> None:
    fresh.submit("put", "before", "1")
    puts = [fresh.propose("put", f"key{n}", "1", number=n).endorse() for n in (3, 2, 1)]
    first, revoked, last = (put._envelope().SerializeToString() for put in puts)
    change = _revoking(fresh, 2).SerializeToString()
    orderer, ledger = fresh.devnet._orderer, fresh.devnet._ledger

    # A reader holds the block of the first back; what comes meanwhile is admitted and waits.
    with ledger.reading():
        for envelope in (first, change, change, revoked, last):
            orderer.submit(envelope)
    assert ledger.wait_for_block(5, 10)

    blocks = fresh.blocks()[3:]
    assert [list(block.data.data) for block in (blocks[0], blocks[2])] == [[first], [last]]
    assert sets_config(blocks[1])
    assert len(blocks) == 3
    with pytest.raises(NotOrderedError, match="FORBIDDEN"):
        orderer.submit(revoked)


def _revoking(consortium: Consortium, number: int) -> common_pb2.Envelope:
    """A change that revokes a hospital's admin, signed by that admin."""
    hospital, admin = consortium.topology.hospitals[number - 1], consortium.admin(number)
    present = consortium.devnet._ledger.channel.config
    serial = x509.load_pem_x509_certificate(admin.certificate_pem).serial_number
    authority = crypto.own_authority(consortium.layout, hospital)
    revocations = authority.revocation_list([serial])
    wanted = configuration.with_revocations(present, hospital, revocations)
    change = changes.sign(changes.prepare(present, wanted, "medfabric"), admin)
    payload = common_pb2.Payload.FromString(change.payload)
    about = common_pb2.SignatureHeader(creator=admin.serialize(), nonce=b"nonce")
    payload.header.signature_header = about.SerializeToString()
    raw = payload.SerializeToString()
    return common_pb2.Envelope(payload=raw, signature=admin.sign(raw))


def test_orderer_answers_broadcasts_as_fabric_s(consortium: Consortium) -> None:
    port = consortium.topology.hospitals[0].ports.orderer
    tls = consortium.layout.hospital("hospital1") / "msp" / "tlscacerts" / "ca.pem"
    endpoint = Endpoint(address=f"127.0.0.1:{port}", server_name="localhost", tls_ca_file=tls)
    admin = consortium.admin()
    unsigned = _revoking(consortium, 2)
    unsigned.signature = b"false"
    nothing = common_pb2.Envelope(payload=b"\xff")
    newest = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    seek = client_blocks.seek_request("medfabric", admin, newest, newest)

    with open_channel(endpoint, admin) as channel:
        stub: Any = ab_pb2_grpc.AtomicBroadcastStub(channel)
        answers = [answer.status for answer in stub.Broadcast(iter([unsigned, nothing]))]
        delivered = [answer.WhichOneof("Type") for answer in stub.Deliver(iter([seek]))]

    assert answers == [common_pb2.Status.FORBIDDEN, common_pb2.Status.BAD_REQUEST]
    assert delivered == ["block", "status"]


def test_hfc_reads_signs_and_submits_a_change_that_was_prepared_here(
    fresh: Consortium, tmp_path: Path
) -> None:
    present = fresh.devnet._ledger.channel.config
    wanted = configuration.with_policy(present, "Application/Endorsement", "ALL")
    path = tmp_path / "change.pb"
    changes.write(changes.prepare(present, wanted, "medfabric"), path)

    sequence = asyncio.run(_with_hfc(fresh, path))

    assert sequence == "0"
    assert fresh.devnet._ledger.wait_for_block(2, 10)
    assert fresh.devnet._ledger.channel.config.sequence == 1
    fresh.submit("put", "after", "1")
    assert len(_endorsers(fresh.blocks()[-1].data.data[0])) == 4


async def _with_hfc(consortium: Consortium, change: Path) -> str:
    """Three admins sign by hfc, one of them submits; returns the sequence before, as hfc reads."""
    hfc_binding.bind()
    from hfc.fabric import Client
    from hfc.fabric.orderer import Orderer
    from hfc.fabric.user import create_user

    store = SimpleNamespace(get_value=lambda key: None, set_value=lambda key, value: True)
    folders = [consortium.layout.user(f"hospital{n}", "admin") for n in (1, 2, 3)]
    first, *others = (
        create_user(
            "admin",
            folder.parts[-3],
            store,
            MSPS[index],
            folder / "private_key.pem",
            folder / "certificate.pem",
            hfc_binding.primitives(),
        )
        for index, folder in enumerate(folders)
    )
    orderer = Orderer(
        endpoint=f"127.0.0.1:{consortium.topology.hospitals[0].ports.orderer}",
        tls_ca_cert_file=str(consortium.layout.hospital("hospital1") / "msp/tlscacerts/ca.pem"),
        client_key_file=str(folders[0] / "tls_private_key.pem"),
        client_cert_file=str(folders[0] / "tls_certificate.pem"),
        opts=(("grpc.ssl_target_name_override", "localhost"),),
    )
    client = Client()
    client.new_channel("medfabric")
    found = await client.get_channel_config_with_orderer(first, "medfabric", orderer)
    signatures = [client.channel_signconfigtx(str(change), other) for other in others]
    await client.channel_update(
        orderer, "medfabric", first, config_tx=str(change), signatures=signatures
    )
    return str(found["config"]["sequence"])


def test_lifecycle_refuses_what_fabric_refuses(consortium: Consortium) -> None:
    args = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        name="medfabric", version="2", sequence=2
    )

    def asked(
        function: bytes, content: bytes, number: int = 1, user: Identity | None = None
    ) -> str:
        gateway = consortium.gateway(1, user)
        gateway.chaincode = "_lifecycle"
        proposal = Proposal(gateway, [function, content], organizations=MSPS[:1])
        with pytest.raises(EndorseError) as caught:
            proposal.endorse()
        return str(caught.value)

    approve = b"ApproveChaincodeDefinitionForMyOrg"
    pair = consortium.authority().identity("node1", "client")
    node = consortium.with_certificate(pair, "node1")
    other = consortium.admin(2)
    assert "not an admin" in asked(approve, args.SerializeToString(), user=node)
    assert "access denied" in asked(approve, args.SerializeToString(), user=other)
    args.sequence = 4
    assert "next available" in asked(approve, args.SerializeToString())
    args.sequence = 1
    assert "different parameters" in asked(approve, args.SerializeToString())
    commit = lifecycle_pb2.CommitChaincodeDefinitionArgs(name="medfabric", version="2", sequence=2)
    assert "not agreed" in asked(b"CommitChaincodeDefinition", commit.SerializeToString())
    commit.sequence = 3
    assert "must be sequence 2" in asked(b"CommitChaincodeDefinition", commit.SerializeToString())
    assert "decode" in asked(b"CommitChaincodeDefinition", b"\xff")
    assert "decode" in asked(b"NoSuchFunction", b"")
    nobody = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="nobody")
    assert "not defined" in asked(b"QueryChaincodeDefinition", nobody.SerializeToString())


def test_state_and_history_are_there_after_a_restart(fresh: Consortium) -> None:
    fresh.submit("put", "lasting", "one")
    fresh.submit("put", "lasting", "two")
    before = fresh.blocks()
    fresh.devnet.close()

    fresh.devnet = Devnet(fresh.topology, fresh.layout)

    fresh.devnet._members["hospital1"].streams[0].ready.wait(10)
    assert fresh.propose("past", "lasting").evaluate() == b"two,one"
    fresh.submit("put", "lasting", "three")
    assert fresh.blocks()[: len(before)] == before


def test_damaged_ledger_is_not_served(fresh: Consortium) -> None:
    fresh.submit("put", "precious", "1")
    fresh.devnet.close()
    path = fresh.layout.folder / "devnet.sqlite"
    with sqlite3.connect(path) as database:
        ((whole,),) = database.execute("SELECT content FROM blocks WHERE number = 2")
        damaged = bytearray(whole)
        damaged[whole.index(b"precious")] ^= 1
        database.execute("UPDATE blocks SET content = ? WHERE number = 2", (bytes(damaged),))
    database.close()

    with pytest.raises(MedFabricError) as caught:
        Devnet(fresh.topology, fresh.layout)

    assert caught.value.code == Code.LEDGER_DAMAGED


def test_blocks_are_chained_and_signed_by_a_quorum(consortium: Consortium) -> None:
    """Recomputed here, with nothing of the project's own verification."""
    consortium.submit("put", "chained", "1")
    blocks = consortium.blocks()
    consenters = _consenters(blocks[0])

    for before, block in itertools.pairwise(blocks):
        assert block.header.number == before.header.number + 1
        assert block.header.previous_hash == hashlib.sha256(_asn1(before.header)).digest()
        assert block.header.data_hash == hashlib.sha256(b"".join(block.data.data)).digest()
        assert len(block.metadata.metadata[2]) == len(block.data.data)
        metadata = common_pb2.Metadata.FromString(block.metadata.metadata[0])
        value = common_pb2.OrdererBlockMetadata.FromString(metadata.value)
        assert value.last_config.index == 0
        signed_by = set()
        for signature in metadata.signatures:
            identifier = common_pb2.IdentifierHeader.FromString(signature.identifier_header)
            message = metadata.value + signature.identifier_header + _asn1(block.header)
            key = consenters[identifier.identifier].public_key()
            key.verify(signature.signature, message, ec.ECDSA(hashes.SHA256()))
            assert decode_dss_signature(signature.signature)[1] <= P256_ORDER // 2
            signed_by.add(identifier.identifier)
        assert len(signed_by) == 3  # 2f + 1 of four


def _asn1(header: common_pb2.BlockHeader) -> bytes:
    number = header.number.to_bytes(header.number.bit_length() // 8 + 1, "big")
    body = b"\x02" + bytes([len(number)]) + number
    for digest in (header.previous_hash, header.data_hash):
        body += b"\x04" + bytes([len(digest)]) + digest
    return b"\x30" + bytes([len(body)]) + body


def _config(block: common_pb2.Block) -> configtx_pb2.ConfigEnvelope:
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    return configtx_pb2.ConfigEnvelope.FromString(payload.data)


def _consenters(block: common_pb2.Block) -> dict[int, Any]:
    orderer = _config(block).config.channel_group.groups["Orderer"]
    mapping = configuration_pb2.Orderers.FromString(orderer.values["Orderers"].value)
    return {
        consenter.id: x509.load_pem_x509_certificate(consenter.identity)
        for consenter in mapping.consenter_mapping
    }


def _revoke(block: common_pb2.Block, msp_id: str, revocations: bytes) -> None:
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    for section in ("Application", "Orderer"):
        for group in config.config.channel_group.groups[section].groups.values():
            outer = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
            inner = msp_config_pb2.FabricMSPConfig.FromString(outer.config)
            if inner.name == msp_id:
                inner.revocation_list.append(revocations)
                outer.config = inner.SerializeToString()
                group.values["MSP"].value = outer.SerializeToString()
    payload.data = config.SerializeToString()
    envelope.payload = payload.SerializeToString()
    block.data.data[0] = envelope.SerializeToString()
    block.header.data_hash = hashlib.sha256(block.data.data[0]).digest()


def _issue(consortium: Consortium, name: str, until: datetime.datetime) -> crypto.Pair:
    """A client's certificate of hospital 1 that is valid until then."""
    folder = consortium.layout.hospital("hospital1") / "ca"
    authority = x509.load_pem_x509_certificate((folder / "signing.pem").read_bytes())
    signing: Any = serialization.load_pem_private_key((folder / "signing.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "client"),
        ]
    )
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(authority.subject)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(authority.not_valid_before_utc).not_valid_after(until)
    certificate = builder.sign(signing, hashes.SHA256())
    return crypto.Pair(
        certificate.public_bytes(serialization.Encoding.PEM), crypto.private_pem(key)
    )


def _by(consortium: Consortium, identity: Identity) -> Proposal:
    return Proposal(consortium.gateway(1, identity), [b"put", b"key", b"value"])


def _refused(consortium: Consortium, signed: proposal_pb2.SignedProposal) -> str:
    """What the gateway says on refusing a proposal, to endorse and to evaluate it alike."""
    gateway = consortium.gateway()
    said = set()
    for call, request in (
        (gateway.stub.Endorse, gateway_pb2.EndorseRequest(proposed_transaction=signed)),
        (gateway.stub.Evaluate, gateway_pb2.EvaluateRequest(proposed_transaction=signed)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=10)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        said.add(str(error.details()))
    (message,) = said
    return message


def _send(gateway: Gateway, proposal: Proposal, payload: bytes, signature: bytes) -> None:
    envelope = common_pb2.Envelope(payload=payload, signature=signature)
    request = gateway_pb2.SubmitRequest(
        transaction_id=proposal.transaction_id,
        channel_id=gateway.channel_name,
        prepared_transaction=envelope,
    )
    gateway.stub.Submit(request, timeout=10)


def _status(gateway: Gateway, proposal: Proposal) -> int:
    request = gateway_pb2.CommitStatusRequest(
        transaction_id=proposal.transaction_id,
        channel_id=gateway.channel_name,
        identity=gateway.identity.serialize(),
    ).SerializeToString()
    signed = gateway_pb2.SignedCommitStatusRequest(
        request=request, signature=gateway.identity.sign(request)
    )
    return int(gateway.stub.CommitStatus(signed, timeout=10).result)


def _action(raw: bytes) -> transaction_pb2.ChaincodeActionPayload:
    envelope = common_pb2.Envelope.FromString(raw)
    payload = common_pb2.Payload.FromString(envelope.payload)
    (action,) = transaction_pb2.Transaction.FromString(payload.data).actions
    return transaction_pb2.ChaincodeActionPayload.FromString(action.payload)


def _endorsers(raw: bytes) -> list[str]:
    return [
        identities_pb2.SerializedIdentity.FromString(endorsement.endorser).mspid
        for endorsement in _action(raw).action.endorsements
    ]


def _sets(raw: bytes) -> kv_rwset_pb2.KVRWSet:
    endorsed = _action(raw).action.proposal_response_payload
    response = proposal_response_pb2.ProposalResponsePayload.FromString(endorsed)
    results = proposal_pb2.ChaincodeAction.FromString(response.extension).results
    lifecycle, part = rwset_pb2.TxReadWriteSet.FromString(results).ns_rwset
    assert lifecycle.namespace == "_lifecycle"
    return kv_rwset_pb2.KVRWSet.FromString(part.rwset)
