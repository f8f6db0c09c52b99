"""What the devnet keeps of private data: apart per hospital, over restarts, and no longer than it
should."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2_grpc
from support.private_toy import MSPS, ONE, TWO, ToyNetwork, implicit

from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client.connection import Connection, open_channel
from client.gateway import EvaluateError
from client.identity import Identity
from network.devnet.ledger import Ledger
from network.devnet.store import Blocks
from network.topology import Kind


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ToyNetwork]:
    made = ToyNetwork(tmp_path_factory.mktemp("private") / "consortium", Kind.DEVNET)
    try:
        yield made
    finally:
        made.close()


def files(toys: ToyNetwork) -> list[Path]:
    return sorted(toys.layout.folder.glob("devnet.sqlite*"))


def holders(toys: ToyNetwork, key: str) -> set[str]:
    with closing(sqlite3.connect(toys.layout.folder / "devnet.sqlite")) as database:
        rows = database.execute("SELECT msp_id FROM private WHERE key = ?", (key,)).fetchall()
    return {msp_id for (msp_id,) in rows}


def kill_and_restart(toys: ToyNetwork) -> None:
    toys.network.kill("devnet")
    toys.network.restart("devnet")
    toys.wait_ready()


def test_members_alone_keep_the_values(toys: ToyNetwork) -> None:
    toys.submit("put", "pair", "kept", value=b"v")
    toys.submit("put", implicit(TWO), "own", at=2, value=b"v")

    assert holders(toys, "kept") == {ONE, TWO}
    assert holders(toys, "own") == {TWO}


def test_private_values_are_there_after_a_crash(toys: ToyNetwork) -> None:
    toys.submit("put", "pair", "lasting", value=b"one")
    toys.submit("put", "pair", "lasting", value=b"two")
    toys.submit("put", "pair", "gone", value=b"v")
    toys.submit("drop", "pair", "gone")

    kill_and_restart(toys)

    assert toys.ask("get", "pair", "lasting", at=2) == b"two"
    assert toys.ask("get", "pair", "gone") == b"nothing"


def test_endorsed_private_data_wait_for_their_block_over_a_crash(toys: ToyNetwork) -> None:
    endorsed = toys.propose("put", "pair", "waiting", value=b"v").endorse()

    kill_and_restart(toys)
    endorsed.submit().status().check()

    assert toys.ask("get", "pair", "waiting", at=2) == b"v"


def test_purged_data_stay_gone_after_a_crash(toys: ToyNetwork) -> None:
    secret = b"what must not be found " * 100
    toys.submit("put", "pair", "purged", value=b"an older " + secret)
    toys.submit("put", "pair", "purged", value=secret)
    assert any(secret in path.read_bytes() for path in files(toys))
    toys.submit("purge", "pair", "purged")

    kill_and_restart(toys)

    assert toys.ask("get", "pair", "purged") == b"nothing"
    assert toys.ask("hash", "pair", "purged", at=3) == b"nothing"
    assert holders(toys, "purged") == set()
    assert not any(b"must not be found" in path.read_bytes() for path in files(toys))


def test_expired_data_stay_gone_after_a_crash(toys: ToyNetwork) -> None:
    secret = b"what does not live long " * 100
    toys.submit("put", "brief", "expired", value=secret)
    for pace in "123":
        toys.submit("set", "pace", pace)

    kill_and_restart(toys)

    assert toys.ask("get", "brief", "expired") == b"nothing"
    assert not any(b"does not live long" in path.read_bytes() for path in files(toys))


def test_expiry_is_still_due_after_a_crash(toys: ToyNetwork) -> None:
    toys.submit("put", "brief", "soon", value=b"v")

    kill_and_restart(toys)
    for pace in "123":
        toys.submit("set", "pace", pace)

    assert toys.ask("get", "brief", "soon", at=2) == b"nothing"
    assert holders(toys, "soon") == set()


def test_reader_is_told_that_data_are_missing(toys: ToyNetwork) -> None:
    endorsed = toys.propose("put", "pair", "lost", value=b"v").endorse()
    toys.network.kill("devnet")
    with closing(sqlite3.connect(toys.layout.folder / "devnet.sqlite")) as database, database:
        database.execute("DELETE FROM transient")
    toys.network.restart("devnet")
    toys.wait_ready()

    endorsed.submit().status().check()

    with pytest.raises(EvaluateError, match="private data matching public hash version"):
        toys.ask("get", "pair", "lost")
    assert toys.ask("get_many", "pair", "lost", "absent") == b"nothing,nothing"


def test_blocks_are_delivered_with_what_the_reader_may_see(toys: ToyNetwork) -> None:
    toys.submit("put", "pair", "delivered", value=b"v")

    assert delivered(toys, 2) == [("pair", "delivered", b"v")]
    assert delivered(toys, 3) == []
    toys.submit("purge", "pair", "delivered")
    assert delivered(toys, 2) == []


@pytest.mark.parametrize("name", ["none-such", implicit("Hospital9MSP")])
def test_hashes_of_a_collection_that_is_not_there_are_not_committed(
    toys: ToyNetwork, name: str
) -> None:
    hashed = kv_rwset_pb2.HashedRWSet(
        hashed_writes=[kv_rwset_pb2.KVWriteHash(key_hash=b"k" * 32, value_hash=b"v" * 32)]
    )
    part = rwset_pb2.NsReadWriteSet(namespace="medfabric")
    part.collection_hashed_rwset.add(
        collection_name=name, hashed_rwset=hashed.SerializeToString(), pvt_rwset_hash=b"h" * 32
    )
    results = rwset_pb2.TxReadWriteSet(ns_rwset=[part]).SerializeToString()

    assert toys.submit_forged(results, MSPS) == "ENDORSEMENT_POLICY_FAILURE"

    toys.submit("put", "pair", "afterwards", value=b"v")


def test_forged_private_value_is_noticed(toys: ToyNetwork, tmp_path: Path) -> None:
    toys.submit("put", "pair", "true", value=b"v")
    copy = tmp_path / "devnet.sqlite"
    with (
        closing(sqlite3.connect(toys.layout.folder / "devnet.sqlite")) as database,
        closing(sqlite3.connect(copy)) as other,
    ):
        database.backup(other)
        other.execute("UPDATE private SET value = ? WHERE key = ?", (b"forged", "true"))
        other.commit()
    genesis = common_pb2.Block.FromString(toys.layout.genesis.read_bytes())

    with pytest.raises(MedFabricError) as caught:
        Ledger(Blocks(copy), genesis, toys.network.topology.channel)

    assert caught.value.code == Code.LEDGER_DAMAGED


def delivered(toys: ToyNetwork, number: int) -> list[tuple[str, str, bytes]]:
    """Collection, key and value of each private write in the newest block, as a hospital's
    admin sees them at its own peer."""
    slug = f"hospital{number}"
    connection = Connection.load(toys.layout.connection(slug))
    identity = Identity.load(toys.layout.user(slug, "admin"))
    newest = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    request = blocks.seek_request(connection.channel, identity, newest, newest)
    with open_channel(connection.gateway, identity) as channel:
        stub: Any = events_pb2_grpc.DeliverStub(channel)
        response = next(stub.DeliverWithPrivateData(iter([request]), timeout=30))
    found = response.block_and_private_data.private_data_map
    return [
        (part.collection_name, write.key, write.value)
        for kept in found.values()
        for namespace in kept.ns_pvt_rwset
        for part in namespace.collection_pvt_rwset
        for write in kv_rwset_pb2.KVRWSet.FromString(part.rwset).writes
    ]
