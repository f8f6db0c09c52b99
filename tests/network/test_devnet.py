"""The devnet behaves as Fabric does, and keeps what it has committed."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2, ledger_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2, events_pb2_grpc

from chaincode.schema import canonical
from chaincode.schema.base import Empty, Role
from chaincode.schema.consortium import FoundArgs, Founder, RegisterNodeArgs, Subject
from chaincode.schema.datasets import BudgetArgs, RegisterDatasetArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.nodes import NodePageArgs
from client import blocks
from client.audit import proof
from client.connection import Connection, open_channel
from client.consortium import Consortium
from client.gateway import CommitError, EndorseError, Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network import crypto
from network.base import Network, up, wait_until
from network.topology import Kind, Layout

DATASET = RegisterDatasetArgs(
    dataset_id="wards",
    name="Wards",
    application="tumours",
    simulated=True,
    commitment_sha256="ab" * 32,
    split_sha256="ab" * 32,
    descriptor_sha256="ab" * 32,
    train_samples=100,
    validation_samples=20,
    budget_epsilon_micro=1_000_000,
    delta_nano=10_000,
)


@dataclass
class Running:
    network: Network
    admins: list[Consortium]

    def gateway(self, number: int = 0) -> Gateway:
        return self.admins[number].gateway


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    network = up(tmp_path_factory.mktemp("devnet") / "consortium", Kind.DEVNET, 4)
    admins = [
        Consortium.connect(network.layout.connection(h.slug), network.layout.user(h.slug, "admin"))
        for h in network.topology.hospitals
    ]
    try:
        _found(admins)
        admins[0].datasets.register(DATASET)
        yield Running(network, admins)
    finally:
        for admin in admins:
            admin.close()
        network.down()


def _found(admins: list[Consortium]) -> None:
    founders = tuple(Founder(msp_id=a.identity.msp_id, name=a.identity.msp_id) for a in admins)
    charter = admins[0].charter.found(FoundArgs(name="Trial", hospitals=founders))
    for admin in admins[1:]:
        admin.charter.vote(
            subject=Subject.CHARTER,
            subject_id="Trial",
            subject_sha256=charter.charter_sha256,
            approve=True,
        )
    admins[0].charter.advance(subject=Subject.CHARTER, subject_id="Trial")


def _budget(gateway: Gateway, value: int, organizations: tuple[str, ...] = ()) -> Proposal:
    args = canonical.dumps(BudgetArgs(dataset_id="wards", budget_epsilon_micro=value))
    return Proposal(gateway, [b"dataset:SetBudget", args], organizations=organizations)


def test_conflicting_transactions_of_one_block_are_not_both_valid(running: Running) -> None:
    first = _budget(running.gateway(), 2_000_000).endorse()
    second = _budget(running.gateway(), 3_000_000).endorse()

    first.submit().status().check()
    with pytest.raises(CommitError) as caught:
        second.submit().status().check()

    assert caught.value.validation == "MVCC_READ_CONFLICT"
    view = running.admins[1].datasets.get(dataset_id="wards")
    assert view.account.budget_epsilon_micro == 2_000_000


def test_replayed_envelope_is_a_duplicate_and_changes_nothing(running: Running) -> None:
    transaction = _budget(running.gateway(), 4_000_000).endorse()
    transaction.submit().status().check()
    height = running.gateway().height()

    transaction.submit()
    running.admins[0].datasets.set_budget(dataset_id="wards", budget_epsilon_micro=4_000_001)

    assert running.gateway().height() > height
    assert "DUPLICATE_TXID" in _codes(running, height)


def test_hospital_s_own_key_needs_its_own_peer(running: Running) -> None:
    others = tuple(f"Hospital{number}MSP" for number in (2, 3, 4))

    with pytest.raises(CommitError) as caught:
        _budget(running.gateway(), 5_000_000, others).endorse().submit().status().check()

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"


def test_minority_of_hospitals_does_not_suffice(running: Running) -> None:
    pair = ("Hospital1MSP", "Hospital2MSP")

    with pytest.raises(CommitError) as caught:
        _budget(running.gateway(), 5_000_000, pair).endorse().submit().status().check()

    assert caught.value.validation == "ENDORSEMENT_POLICY_FAILURE"


def test_stranger_s_certificate_is_refused(running: Running, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    hospital = running.network.topology.hospitals[0]
    crypto.create_hospital(layout, hospital)
    stranger = Identity.load(layout.user(hospital.slug, "admin"))
    own = running.admins[0].identity
    disguised = dataclasses.replace(
        stranger,
        tls_certificate_pem=own.tls_certificate_pem,
        tls_private_key_pem=own.tls_private_key_pem,
    )
    connection = Connection.load(running.network.layout.connection(hospital.slug))

    consortium = Consortium.connect(connection, disguised)
    with consortium, pytest.raises(MedFabricError, match="not issued by"):
        consortium.charter.get(Empty())


def test_connection_without_a_member_s_tls_certificate_is_refused(
    running: Running, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    hospital = running.network.topology.hospitals[0]
    crypto.create_hospital(layout, hospital)
    stranger = Identity.load(layout.user(hospital.slug, "admin"))
    connection = Connection.load(running.network.layout.connection(hospital.slug))

    with Consortium.connect(connection, stranger) as consortium, pytest.raises(MedFabricError):
        consortium.charter.get(Empty())


def test_false_signature_is_refused(running: Running) -> None:
    gateway = running.gateway()
    proposal = _budget(gateway, 6_000_000)
    signed = proposal.signed
    signed.signature = signed.signature[:-1] + bytes((signed.signature[-1] ^ 1,))
    request = gateway_pb2.EndorseRequest(
        transaction_id=proposal.transaction_id,
        channel_id=gateway.channel_name,
        proposed_transaction=signed,
    )

    with pytest.raises(grpc.RpcError) as caught:
        gateway.stub.Endorse(request, timeout=10)

    error: Any = caught.value
    assert "access denied" in error.details()


def test_events_are_of_valid_transactions_alone(running: Running) -> None:
    start = running.gateway().height()
    first = _budget(running.gateway(), 7_000_000).endorse()
    second = _budget(running.gateway(), 7_500_000).endorse()
    first.submit().status().check()
    with pytest.raises(CommitError):
        second.submit().status().check()
    running.admins[0].nodes.register(_node("after"))

    names = []
    with running.admins[1].events(start_block=start) as events:
        for event in events:
            names.append(event.name)
            if event.name == "node.registered":
                break

    assert names == ["dataset.budget", "node.registered"]


def test_filtered_blocks_name_transactions_without_their_content(running: Running) -> None:
    responses = _deliver(running, "DeliverFiltered")

    last = responses[-2].filtered_block
    assert responses[-1].status == common_pb2.Status.SUCCESS
    assert last.number == running.gateway().height() - 1
    actions = last.filtered_transactions[0].transaction_actions.chaincode_actions
    assert actions[0].chaincode_event.event_name
    assert actions[0].chaincode_event.payload == b""


def test_qscc_tells_the_chain(running: Running) -> None:
    def ask(*arguments: bytes) -> bytes:
        return Proposal(running.gateway(2), arguments, chaincode="qscc").ask_peer()

    channel = running.network.topology.channel.encode()

    info = ledger_pb2.BlockchainInfo.FromString(ask(b"GetChainInfo", channel))
    number = str(info.height - 1).encode()
    last = common_pb2.Block.FromString(ask(b"GetBlockByNumber", channel, number))
    by_hash = common_pb2.Block.FromString(ask(b"GetBlockByHash", channel, info.currentBlockHash))

    assert info.height == running.gateway().height()
    assert last == by_hash
    assert last.header.previous_hash == info.previousBlockHash
    with pytest.raises(MedFabricError):
        ask(b"GetBlockByNumber", channel, b"100000")


def test_pages_and_ranges_reach_the_contracts(running: Running) -> None:
    for number in range(5):
        running.admins[2].nodes.register(_node(f"paged{number}"))

    first = running.admins[2].nodes.page(NodePageArgs(page_size=3))
    second = running.admins[2].nodes.page(NodePageArgs(page_size=3, bookmark=first.bookmark))

    assert len(first.nodes) == 3
    assert not {n.node_id for n in first.nodes} & {n.node_id for n in second.nodes}


def test_chaincode_service_killed_and_restarted_is_dialled_again(running: Running) -> None:
    running.network.kill("hospital4.chaincode")
    running.admins[0].nodes.register(_node("without4"))
    # As with Fabric, other hospitals' peers answer queries, but the own one must endorse first.
    assert len(running.admins[3].charter.get(Empty()).hospitals) == 4
    with pytest.raises(EndorseError, match="Hospital4MSP"):
        Proposal(running.gateway(3), _registration("unheard")).endorse()

    running.network.restart("hospital4.chaincode")

    for number in range(50):
        try:
            Proposal(running.gateway(3), _registration("heard")).endorse()
            break
        except EndorseError:
            assert number < 49, "it was not dialled again"
            threading.Event().wait(0.1)


def test_killed_in_the_middle_of_commits_it_keeps_every_confirmed_transaction(
    running: Running, tmp_path: Path
) -> None:
    confirmed: list[str] = []
    started = threading.Event()

    def register() -> None:
        for number in range(10_000):
            try:
                running.admins[1].nodes.register(_node(f"commit{number}"))
            except MedFabricError:
                return
            confirmed.append(f"commit{number}")
            if number == 5:
                started.set()

    writer = threading.Thread(target=register)
    writer.start()
    assert started.wait(30)
    running.network.kill("devnet")
    writer.join()

    running.network.restart("devnet")

    layout = running.network.layout
    auditor = Identity.load(layout.user("hospital1", "auditor"))
    connection = Connection.load(layout.connection("hospital1"))
    height = blocks.fetch(connection, auditor, tmp_path)
    verdict, ledger = proof.prove(tmp_path, layout.genesis.read_bytes(), height)
    assert verdict.proven
    for name in confirmed:
        assert any(f"\x00{name}\x00" in key for key in ledger.writings), name
    # Connections that were refused meanwhile are tried again within seconds.
    wait_until(lambda: _reaches(running.admins[1]), "the client reaching its peer again", 20)
    running.admins[1].nodes.register(_node("afterwards"))


def _reaches(admin: Consortium) -> bool:
    try:
        admin.charter.get(Empty())
    except MedFabricError as error:
        if error.code != Code.UNREACHABLE:
            raise
        return False
    return True


def _node(node_id: str) -> RegisterNodeArgs:
    key = hashlib.sha256(node_id.encode()).hexdigest()
    return RegisterNodeArgs(
        node_id=node_id, roles=(Role.TRAINER,), public_key_sha256=key, device="laptop"
    )


def _registration(node_id: str) -> list[bytes]:
    return [b"node:Register", canonical.dumps(_node(node_id))]


def _codes(running: Running, start: int) -> list[str]:
    from fabric_protos.peer import transaction_pb2

    responses = _deliver(running, "DeliverFiltered")
    return [
        transaction_pb2.TxValidationCode.Name(transaction.tx_validation_code)
        for response in responses
        if response.HasField("filtered_block") and response.filtered_block.number >= start
        for transaction in response.filtered_block.filtered_transactions
    ]


def _deliver(running: Running, method: str) -> list[events_pb2.DeliverResponse]:
    connection = Connection.load(running.network.layout.connection("hospital2"))
    identity = running.admins[1].identity
    oldest = ab_pb2.SeekPosition(oldest=ab_pb2.SeekOldest())
    newest = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    request = blocks.seek_request(connection.channel, identity, oldest, newest)
    with open_channel(connection.gateway, identity) as channel:
        stub: Any = events_pb2_grpc.DeliverStub(channel)
        found = []
        stream = getattr(stub, method)(iter([request]), timeout=30)
        for response in stream:
            found.append(response)
            if response.WhichOneof("Type") == "status":
                break
        stream.cancel()
    return found
