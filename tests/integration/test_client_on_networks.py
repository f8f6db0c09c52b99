"""The client against whole networks: transactions, refusals, conflicts, events, restarts."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import transaction_pb2
from support.documents import examples
from support.listening import take
from support.networks import KINDS
from support.signing_process import SigningProcess

from chaincode.schema import canonical
from chaincode.schema.consortium import Subject
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.private import ClassCount, RecordKind, Statistics
from chaincode.schema.transactions import TRANSACTIONS
from client import blocks
from client.audit import proof
from client.audit.transactions import header
from client.connection import Connection
from client.consortium import Consortium
from client.following import BlockFollower
from client.gateway import EndorseError, FileCheckpoint, endorsers
from client.identity import Identity
from network.base import Network, up, wait_until
from network.operations import admin_session
from network.topology import Kind

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-client.md"


@dataclass
class Running:
    network: Network
    admins: list[Consortium]


@pytest.fixture(scope="module", params=KINDS)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Four hospitals that have founded their consortium, and one dataset."""
    folder = tmp_path_factory.mktemp("network") / "consortium"
    network = up(folder, request.param, 4)
    admins = [_admin(folder, hospital.slug) for hospital in network.topology.hospitals]
    try:
        _found(admins)
        admins[0].datasets.register(
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
        yield Running(network, admins)
    finally:
        for admin in admins:
            admin.close()
        network.down()


def _admin(folder: Path, slug: str) -> Consortium:
    hospital = folder / "hospitals" / slug
    return Consortium.connect(hospital / "connection.json", hospital / "users" / "admin")


def _found(admins: list[Consortium]) -> None:
    founders = tuple({"msp_id": a.identity.msp_id, "name": a.identity.msp_id} for a in admins)
    first, *others = admins
    charter = first.charter.found(name="Trial", hospitals=founders).charter_sha256
    for admin in others:
        admin.catch_up(first)
        admin.charter.vote(
            subject=Subject.CHARTER, subject_id="Trial", subject_sha256=charter, approve=True
        )
    first.catch_up(others[-1])
    first.charter.advance(subject=Subject.CHARTER, subject_id="Trial")
    for admin in others:
        admin.catch_up(first)


def _code(action: object) -> str:
    with pytest.raises(MedFabricError) as caught:
        action()  # type: ignore[operator]
    return caught.value.code


def test_every_hospital_sees_the_committed_state(running):
    views = [admin.charter.get() for admin in running.admins]

    assert all(view == views[0] for view in views)
    assert views[0].consortium.status == "ACTIVE"


def test_chaincode_services_tell_of_their_health_and_their_transactions(running):
    network, admin = running.network, running.admins[0]
    hospital = network.topology.hospitals[0]
    admin.charter.get()
    port = hospital.ports.chaincode_operations

    with admin_session(network.layout, hospital) as session:
        health = session.get(f"https://localhost:{port}/healthz", timeout=5).json()
        metrics = session.get(f"https://localhost:{port}/metrics", timeout=5).text

    assert health["status"] == "OK"
    assert health["streams"]["ready"] >= 1
    counted = re.search(r'transactions_total\{outcome="succeeded"\} (\d+)', metrics)
    assert counted
    assert int(counted[1]) >= 3


def test_the_chaincode_describes_itself_to_any_client(running):
    raw = running.admins[0].gateway.evaluate([b"org.hyperledger.fabric:GetMetadata"])

    described = json.loads(raw)

    named = {
        f"{contract}:{row['name']}"
        for contract, rows in described["contracts"].items()
        for row in rows["transactions"]
    }
    assert named == set(TRANSACTIONS)


def test_refusals_carry_the_contracts_codes(running):
    one, two = running.admins[:2]
    charter = one.charter.get().consortium.charter_sha256

    assert _code(lambda: one.plans.get(plan_id="nothing")) == Code.NOT_FOUND
    assert (
        _code(
            lambda: two.charter.vote(
                subject=Subject.CHARTER, subject_id="Trial", subject_sha256=charter, approve=True
            )
        )
        == Code.SECOND_VOTE
    )
    assert (
        _code(lambda: two.charter.advance(subject=Subject.CHARTER, subject_id="Trial"))
        == Code.ALREADY
    )
    assert (
        _code(lambda: two.datasets.set_budget(dataset_id="wards", budget_epsilon_micro=9))
        == Code.NOT_OWNER
    )


def test_conflicting_transactions_all_commit_once(running):
    one = running.admins[0]
    before = one.gateway.height()
    budgets = [2_000_000 + k for k in range(6)]

    with ThreadPoolExecutor(6) as pool:
        accounts = list(
            pool.map(
                lambda budget: one.datasets.set_budget(
                    dataset_id="wards", budget_epsilon_micro=budget
                ),
                budgets,
            )
        )

    assert [account.budget_epsilon_micro for account in accounts] == budgets
    events = _events_until(one, before, "dataset.budget", 6)
    assert len(events) == 6


def _events_until(consortium: Consortium, start: int, name: str, count: int) -> list[str]:
    found = []
    with consortium.events(start_block=start) as events:
        guard = threading.Timer(20, events.close)
        guard.start()
        for event in events:
            found += [event.transaction_id] if event.name == name else []
            if len(found) == count:
                break
        guard.cancel()
    return found


def test_events_go_on_from_a_checkpoint_in_the_middle_of_the_ledger(running, tmp_path):
    one = running.admins[0]
    with one.events(start_block=0) as events:
        whole = [next(events).transaction_id for _ in range(5)]

    checkpoint = FileCheckpoint(tmp_path / "checkpoint")
    with one.events(checkpoint, start_block=0) as events:
        first = [next(events).transaction_id for _ in range(3)]
    with one.events(FileCheckpoint(tmp_path / "checkpoint")) as events:
        # The third was given but not processed: no further one was asked for.
        rest = [next(events).transaction_id for _ in range(3)]

    assert first == whole[:3]
    assert rest == whole[2:5]


def test_private_records_stay_with_their_hospital(running, tmp_path):
    one, two = running.admins[:2]
    statistics = Statistics(
        samples=100,
        classes=(ClassCount(name="rare disease", samples=3),),
        features=(),
    )

    kept = one.private.keep("wards", statistics)
    record = one.private.get(kind=RecordKind.STATISTICS, subject="wards")
    two.catch_up(one)

    assert record.statistics == statistics
    assert record.sha256 == kept.sha256
    assert two.private.verify(record) == kept
    forged = record.model_copy(update={"salt": "00" * 32})
    assert _code(lambda: two.private.verify(forged)) == Code.PRIVATE_RECORD_MISMATCH
    assert (
        _code(lambda: two.private.get(kind=RecordKind.STATISTICS, subject="wards"))
        == Code.NOT_FOUND
    )
    assert one.private.page(kind=RecordKind.STATISTICS).records == (kept,)
    layout = running.network.layout
    auditor = Identity.load(layout.user("hospital2", "auditor"))
    height = blocks.fetch(Connection.load(layout.connection("hospital2")), auditor, tmp_path)
    for number in range(height):
        assert b"rare disease" not in blocks.read(tmp_path, number)
    proven, ledger = proof.prove(tmp_path, layout.genesis.read_bytes(), height)
    assert proven.findings == []
    assert not any(key.startswith("\x00private") for key in ledger.writings)


def test_no_peer_but_the_own_is_asked_for_a_private_record(running):
    two = running.admins[1]
    running.network.kill("hospital2.chaincode")
    try:
        with pytest.raises(MedFabricError) as caught:
            two.private.page(kind=RecordKind.STATISTICS)
        assert caught.value.code in (Code.EVALUATE_FAILED, Code.UNREACHABLE, Code.NOT_FOUND)
        assert len(two.charter.get().hospitals) == 4  # of which any peer tells
    finally:
        running.network.restart("hospital2.chaincode")


def test_a_client_that_names_the_endorsers_passes_over_one_that_is_down(running, monkeypatch):
    layout = running.network.layout
    monkeypatch.setattr(endorsers, "BY_THE_PEER", 3)
    running.network.kill("hospital2.chaincode")
    try:
        with _admin(layout.folder, "hospital1") as one:
            one.datasets.set_budget(dataset_id="wards", budget_epsilon_micro=2_000_000)
    finally:
        running.network.restart("hospital2.chaincode")

    auditor = Identity.load(layout.user("hospital1", "auditor"))
    newest = blocks.fetch_one(Connection.load(layout.connection("hospital1")), auditor, None)
    assert _endorsed(newest) == ["Hospital1MSP", "Hospital3MSP", "Hospital4MSP"]


def _endorsed(block: common_pb2.Block) -> list[str]:
    payload, _ = header(block.data.data[0])
    action = transaction_pb2.Transaction.FromString(payload.data).actions[0]
    content = transaction_pb2.ChaincodeActionPayload.FromString(action.payload)
    raw = [endorsement.endorser for endorsement in content.action.endorsements]
    return sorted(identities_pb2.SerializedIdentity.FromString(each).mspid for each in raw)


def test_purged_private_records_are_gone_from_every_peer(running):
    one, two = running.admins[:2]
    content = Statistics(samples=1, classes=(), features=())
    one.private.keep("wards", content)
    record = one.private.get(kind=RecordKind.STATISTICS, subject="wards")

    one.private.purge(kind=RecordKind.STATISTICS, subject="wards")
    two.catch_up(one)

    assert one.private.page(kind=RecordKind.STATISTICS).records == ()
    assert _code(lambda: two.private.verify(record)) == Code.NOT_FOUND


def test_the_examples_of_the_how_to_work(running, monkeypatch):
    hospital = running.network.layout.hospital("hospital1")
    monkeypatch.chdir(hospital)

    with SigningProcess(hospital / "users" / "admin") as device:
        names = {"device": device}
        for example in examples(HOW_TO):
            exec(compile(example, HOW_TO, "exec"), names)

    assert names["account"].budget_epsilon_micro == 2_500_000
    assert names["block"].header.number == 3
    assert (hospital / "copy.bin").read_bytes() == bytes(5_000_000)


def test_blocks_survive_the_own_peer_s_death(running):
    if running.network.kind is Kind.DEVNET:
        pytest.skip("the devnet is one process for all peers")
    one, two = running.admins[:2]
    connection = Connection.load(running.network.layout.connection("hospital1"))
    genesis = blocks.parse(running.network.layout.genesis.read_bytes())
    start = one.gateway.height()

    with BlockFollower(connection, one.identity, genesis, start_block=start) as follower:
        one.datasets.set_budget(dataset_id="wards", budget_epsilon_micro=4_000_000)
        assert take(follower).header.number == start
        assert follower.peer == connection.gateway.address
        running.network.kill("hospital1.peer")
        two.gateway.submit([b"consortium:Get", b"{}"])
        assert take(follower).header.number == start + 1
        assert follower.peer in {endpoint.address for endpoint in connection.peers}

    running.network.restart("hospital1.peer")
    one.catch_up(two)
    # A peer that comes back learns of the others' by gossip, within seconds.
    wait_until(lambda: _knows_the_others(one), "hospital1's peer knowing the others", 30)


def _knows_the_others(admin):
    arguments = [
        b"dataset:SetBudget",
        canonical.dumps({"dataset_id": "wards", "budget_epsilon_micro": 4_000_001}),
    ]
    others = ["Hospital1MSP", "Hospital2MSP", "Hospital3MSP"]
    try:
        admin.gateway.proposal(arguments, organizations=others).endorse()
    except EndorseError:
        return False
    return True


def test_a_killed_peer_is_unreachable_and_found_again_when_it_is_back(running):
    one, four = running.admins[0], running.admins[3]
    budget = four.datasets.get(dataset_id="wards").account.budget_epsilon_micro
    name = "hospital4.peer" if running.network.kind is Kind.FABRIC else "devnet"

    running.network.kill(name)
    assert _code(four.charter.get) == Code.UNREACHABLE
    if running.network.kind is Kind.FABRIC:
        # Three of four hospitals are enough for the others; the devnet is one process for all.
        budget = 3_000_000
        one.datasets.set_budget(dataset_id="wards", budget_epsilon_micro=budget)
    running.network.restart(name)

    four.catch_up(one)
    assert four.datasets.get(dataset_id="wards").account.budget_epsilon_micro == budget
    one.datasets.set_budget(dataset_id="wards", budget_epsilon_micro=budget + 1)
