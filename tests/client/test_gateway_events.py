"""Events: where they begin, how they end, what a checkpoint remembers."""

from __future__ import annotations

import threading

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import chaincode_event_pb2
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_gateway import fail, hang

from chaincode.schema.errors import Code, MedFabricError
from client.gateway import EventsError, FileCheckpoint, MemoryCheckpoint


def block(number: int, *transactions: str, payload: bytes = b'{"plan_id":"wdbc"}'):
    """A step that delivers one block's events."""
    events = [
        chaincode_event_pb2.ChaincodeEvent(
            chaincode_id="medfabric", tx_id=tx, event_name="round.sealed", payload=payload
        )
        for tx in transactions
    ]
    return lambda *_: gateway_pb2.ChaincodeEventsResponse(block_number=number, events=events)


def start(peer) -> gateway_pb2.ChaincodeEventsRequest:
    signed = peer.service.asked["ChaincodeEvents"][-1]
    return gateway_pb2.ChaincodeEventsRequest.FromString(signed.request)


def test_events_come_in_order_with_block_and_body(peer, consortium):
    peer.service.script("ChaincodeEvents", block(4, "a", "b"), block(6, "c"))

    events = list(consortium.events())

    assert [(e.block_number, e.transaction_id) for e in events] == [(4, "a"), (4, "b"), (6, "c")]
    assert events[0].name == "round.sealed"
    assert events[0].body.plan_id == "wdbc"


def test_without_a_checkpoint_events_begin_with_the_next_block(peer, consortium):
    list(consortium.events())

    assert start(peer).start_position.HasField("next_commit")


def test_a_start_block_is_asked_for(peer, consortium):
    list(consortium.events(start_block=0))

    assert start(peer).start_position.specified.number == 0


def test_an_event_is_checkpointed_when_the_next_is_asked_for(peer, consortium, tmp_path):
    checkpoint = FileCheckpoint(tmp_path / "checkpoint")
    peer.service.script("ChaincodeEvents", block(4, "a", "b"))
    events = consortium.events(checkpoint)

    next(events)
    assert (checkpoint.block_number, checkpoint.transaction_id) == (0, "")

    next(events)
    again = FileCheckpoint(tmp_path / "checkpoint")
    assert (again.block_number, again.transaction_id) == (4, "a")
    list(consortium.events(again))
    assert start(peer).start_position.specified.number == 4
    assert start(peer).after_transaction_id == "a"


def test_a_broken_stream_is_an_events_error(peer, consortium):
    peer.service.script("ChaincodeEvents", block(4, "a"), fail(grpc.StatusCode.ABORTED, "gone"))
    events = consortium.events()

    next(events)

    with pytest.raises(EventsError, match="gone") as caught:
        next(events)
    assert caught.value.code == Code.EVENTS_BROKEN


def test_closing_from_another_thread_ends_the_wait(peer, consortium):
    peer.service.script("ChaincodeEvents", block(4, "a"), hang)
    events = consortium.events()
    next(events)
    closer = threading.Timer(0.1, events.close)
    closer.start()

    assert list(events) == []

    closer.join()
    events.close()


def test_a_body_that_is_not_in_the_ledgers_language_is_refused(peer, consortium):
    peer.service.script("ChaincodeEvents", block(4, "a", payload=b'{"weights":[0.5]}'))

    with pytest.raises(MedFabricError) as caught:
        next(consortium.events())

    assert caught.value.code == Code.BAD_RESPONSE


@given(st.integers(0, 2**63), st.text("0123456789abcdef", max_size=64))
def test_checkpoints_come_back_as_saved(tmp_path_factory, number, transaction_id):
    path = tmp_path_factory.mktemp("checkpoint") / "position"
    memory, file = MemoryCheckpoint(), FileCheckpoint(path)

    for checkpoint in (memory, file):
        checkpoint.save(number, transaction_id)

    again = FileCheckpoint(path)
    for checkpoint in (memory, file, again):
        assert (checkpoint.block_number, checkpoint.transaction_id) == (number, transaction_id)
    assert [found.name for found in path.parent.iterdir()] == ["position"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"{}", b"[]", b"\xff", b'{"block_number":-1,"transaction_id":""}'],
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    (tmp_path / "checkpoint").write_bytes(damage)

    with pytest.raises(MedFabricError) as caught:
        FileCheckpoint(tmp_path / "checkpoint")

    assert caught.value.code == Code.CHECKPOINT_UNUSABLE
