"""Blocks followed over the death of peers, and peers that lie."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice

import pytest
from fabric_protos.common import common_pb2
from support.chain import DeliveringPeer, Ordering, delivering

from chaincode.schema.errors import Code, MedFabricError
from client.audit.blocks import data_hash
from client.connection import Connection
from client.following import BlockFollower
from client.gateway import EventsError, FileCheckpoint, MemoryCheckpoint


@pytest.fixture(scope="module")
def ordering(tmp_path_factory) -> Ordering:
    return Ordering(tmp_path_factory.mktemp("consortium"))


@pytest.fixture(scope="module")
def chain(ordering) -> list[common_pb2.Block]:
    return ordering.chain(9)


@pytest.fixture
def serve(authority, tmp_path):
    """Serves peers; gives the connection and what kills each."""
    opened = []

    def start(*peers: DeliveringPeer) -> tuple[Connection, list[Callable[[], None]]]:
        served = delivering(peers, authority, tmp_path)
        opened.append(served)
        path, kills = served.__enter__()
        return Connection.load(path), kills

    yield start
    for served in opened:
        served.__exit__(None, None, None)


def numbers(blocks) -> list[int]:
    return [block.header.number for block in blocks]


def test_blocks_go_on_at_another_peer_where_one_dies(serve, identity, chain):
    own, other = DeliveringPeer(chain, dies_after=4), DeliveringPeer(chain)
    connection, _ = serve(own, other)

    with BlockFollower(connection, identity, chain[0], start_block=0) as follower:
        got = list(islice(follower, 9))
        peer = follower.peer

    assert got == chain
    assert (own.asked, other.asked) == ([0], [4])
    assert peer == connection.peers[0].address


def test_a_peer_that_is_killed_is_left_and_found_again(serve, identity, chain):
    own, other = DeliveringPeer(chain[:3]), DeliveringPeer(chain, dies_after=2)
    connection, kills = serve(own, other, DeliveringPeer(chain))

    with BlockFollower(connection, identity, chain[0], start_block=1) as follower:
        got = numbers(islice(follower, 2))
        kills[0]()
        got += numbers(islice(follower, 6))

    assert got == [1, 2, 3, 4, 5, 6, 7, 8]
    assert other.asked == [3]


def test_without_a_start_the_next_block_is_the_first(serve, identity, ordering, chain):
    own = DeliveringPeer(chain)
    connection, _ = serve(own)
    newer = ordering.following(chain[-1], [b"newer"])
    got = []

    with BlockFollower(connection, identity, chain[0]) as follower:
        waiting = threading.Thread(target=lambda: got.append(next(follower)))
        waiting.start()
        while not own.asked:
            time.sleep(0.01)
        own.add(newer)
        waiting.join(10)

    assert got == [newer]


def test_a_checkpoint_resumes_after_the_last_processed_block(serve, identity, chain, tmp_path):
    connection, _ = serve(DeliveringPeer(chain))
    path = tmp_path / "checkpoint"

    with BlockFollower(
        connection, identity, chain[0], start_block=2, checkpoint=FileCheckpoint(path)
    ) as follower:
        assert numbers(islice(follower, 3)) == [2, 3, 4]
    # Block 4 was given, but nobody asked for the next one: it may not have been processed.
    with BlockFollower(
        connection, identity, chain[0], start_block=2, checkpoint=FileCheckpoint(path)
    ) as follower:
        assert numbers(islice(follower, 3)) == [4, 5, 6]


def changed_data(ordering, chain):
    chain[5].data.data[0] = b"something else"


def another_fork(ordering, chain):
    chain[4] = ordering.following(chain[3], [b"another history"])
    chain[5] = ordering.following(chain[4], [b"another history"])


def left_out(ordering, chain):
    del chain[5]


def too_few_orderers(ordering, chain):
    chain[5] = ordering.following(chain[4], [b"block 5"], signed_by=2)


def unsigned(ordering, chain):
    chain[5].data.data[0] = b"something else"
    chain[5].header.data_hash = data_hash(chain[5])


def no_metadata(ordering, chain):
    del chain[5].metadata.metadata[:]


def of_another_configuration(ordering, chain):
    metadata = common_pb2.Metadata.FromString(chain[5].metadata.metadata[0])
    value = common_pb2.OrdererBlockMetadata.FromString(metadata.value)
    value.last_config.index = 3
    metadata.value = value.SerializeToString()
    chain[5].metadata.metadata[0] = metadata.SerializeToString()


@pytest.mark.parametrize(
    "lie",
    [
        changed_data,
        another_fork,
        left_out,
        too_few_orderers,
        unsigned,
        no_metadata,
        of_another_configuration,
    ],
)
def test_a_peer_that_lies_is_left_for_good(serve, identity, ordering, chain, lie):
    true = list(chain)
    while len(true) < 12:
        true.append(ordering.following(true[-1], [b"more"]))
    false = [common_pb2.Block.FromString(block.SerializeToString()) for block in true]
    lie(ordering, false)
    honest, liar = DeliveringPeer(true, dies_after=5), DeliveringPeer(false)
    other = DeliveringPeer(true, dies_after=1)
    connection, _ = serve(honest, liar, other)

    with BlockFollower(connection, identity, true[0], start_block=0) as follower:
        got = list(islice(follower, 12))

    # The honest ones die in turn, and find each other again past the liar.
    assert got == true
    assert (honest.asked, liar.asked, other.asked) == ([0, 6], [5], [5, 11])


def test_changes_of_the_configuration_are_followed(serve, identity, ordering, chain):
    changed = ordering.following(chain[2], chain[0].data.data, config=3)
    after = ordering.following(changed, [b"block 4"], config=3)
    connection, _ = serve(DeliveringPeer([*chain[:3], changed, after]))

    with BlockFollower(connection, identity, chain[0], start_block=0) as follower:
        assert numbers(islice(follower, 5)) == [0, 1, 2, 3, 4]
    with BlockFollower(connection, identity, changed, start_block=4) as follower:
        assert next(follower) == after
    with (
        BlockFollower(connection, identity, chain[0], start_block=4) as follower,
        pytest.raises(EventsError, match="trust the config block in force there"),
    ):
        next(follower)


def test_a_false_genesis_block_is_not_followed(serve, identity, ordering, chain, tmp_path):
    others = Ordering(tmp_path / "others").chain(3)
    connection, _ = serve(DeliveringPeer(others))

    with (
        BlockFollower(connection, identity, chain[0], start_block=0) as follower,
        pytest.raises(EventsError, match="not the trusted one"),
    ):
        next(follower)


def test_where_no_peer_answers_all_are_named_and_may_be_asked_again(serve, identity, chain):
    one, two = DeliveringPeer(chain, dies_after=0), DeliveringPeer(chain, dies_after=0)
    connection, _ = serve(one, two)

    with BlockFollower(connection, identity, chain[0], start_block=1) as follower:
        with pytest.raises(EventsError) as caught:
            next(follower)
        two.dies_after = None
        assert next(follower) == chain[1]

    addresses = [connection.gateway.address, connection.peers[0].address]
    assert [detail.address for detail in caught.value.details] == addresses
    assert caught.value.code == Code.EVENTS_BROKEN


def test_where_all_peers_lie_nothing_is_given(serve, identity, chain):
    false = [chain[0], chain[2]]
    connection, _ = serve(DeliveringPeer(false), DeliveringPeer(false))

    with BlockFollower(connection, identity, chain[0], start_block=1) as follower:
        for _ in range(3):
            with pytest.raises(EventsError):
                next(follower)


def test_closing_from_another_thread_ends_the_wait(serve, identity, chain):
    connection, _ = serve(DeliveringPeer(chain))
    follower = BlockFollower(connection, identity, chain[0], start_block=8)
    assert numbers([next(follower)]) == [8]
    closer = threading.Timer(0.1, follower.close)
    closer.start()

    assert list(follower) == []

    closer.join()
    follower.close()


def test_what_is_trusted_must_be_a_config_block_before_the_start(identity, chain, serve):
    connection, _ = serve(DeliveringPeer(chain))

    with pytest.raises(MedFabricError) as caught:
        BlockFollower(connection, identity, chain[1])
    assert caught.value.code == Code.GENESIS_OTHER
    later = common_pb2.Block.FromString(chain[0].SerializeToString())
    later.header.number = 4
    with pytest.raises(MedFabricError) as caught:
        BlockFollower(connection, identity, later, start_block=3)
    assert caught.value.code == Code.BAD_ARGUMENT
    checkpoint = MemoryCheckpoint()
    checkpoint.after_block(2)
    with pytest.raises(MedFabricError):
        BlockFollower(connection, identity, later, checkpoint=checkpoint)
