"""Feature: Block event listening, whole, filtered and with private data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from support.feature_network import PRIVATE, FeatureNetwork, words
from support.listening import take

from client.audit.transactions import header
from client.gateway import BlockEvents, Committed, FileCheckpoint, Form, Gateway

scenario = pytest.mark.scenario
pytestmark = pytest.mark.parametrize("form", list(Form))


@pytest.fixture
def gateway(network: FeatureNetwork) -> Gateway:
    return network.gateway()


def listen(gateway: Gateway, form: Form) -> BlockEvents:
    # From a number: "from now on" begins when the peer sees the request, perhaps a block later.
    return gateway.block_events(form=form, start_block=gateway.height())


def echo(gateway: Gateway) -> Committed:
    return gateway.submit(words("echo", "echo"))


def place(form: Form, received: Any) -> tuple[int, list[str]]:
    """Number of the block, and its transactions."""
    if form is Form.FILTERED:
        return received.number, [each.txid for each in received.filtered_transactions]
    block: common_pb2.Block = received.block if form is Form.PRIVATE else received
    return block.header.number, [header(raw)[1].tx_id for raw in block.data.data]


def expected(committed: Committed) -> tuple[int, list[str]]:
    return committed.block_number, [committed.transaction_id]


@scenario("Receive block event")
def test_receive_block_event(gateway: Gateway, form: Form) -> None:
    with listen(gateway, form) as events:
        committed = echo(gateway)

        assert place(form, take(events)) == expected(committed)


@scenario("Replay block event")
def test_replay_block_event(gateway: Gateway, form: Form) -> None:
    committed = echo(gateway)

    with gateway.block_events(form=form, start_block=committed.block_number) as events:
        assert place(form, take(events)) == expected(committed)


@scenario("Restart after closing block event session")
def test_restart_after_closing_block_event_session(gateway: Gateway, form: Form) -> None:
    for _ in range(2):
        with listen(gateway, form) as events:
            committed = echo(gateway)

            assert place(form, take(events)) == expected(committed)


@scenario("Close does not interrupt other block event listeners")
def test_close_does_not_interrupt_other_block_event_listeners(gateway: Gateway, form: Form) -> None:
    with listen(gateway, form) as first, listen(gateway, form) as second:
        committed = echo(gateway)
        for events in (first, second):
            assert place(form, take(events)) == expected(committed)

        first.close()
        committed = echo(gateway)

        assert place(form, take(second)) == expected(committed)
        assert list(first) == []


@scenario("Checkpoint of block events")
def test_checkpoint_of_block_events(gateway: Gateway, form: Form, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    start = gateway.height()
    with gateway.block_events(
        form=form, start_block=start, checkpoint=FileCheckpoint(path)
    ) as events:
        echo(gateway)
        number, _ = place(form, take(events))
        FileCheckpoint(path).after_block(number)
    committed = echo(gateway)

    with gateway.block_events(
        form=form, start_block=start, checkpoint=FileCheckpoint(path)
    ) as events:
        assert place(form, take(events)) == expected(committed)


def test_blocks_carry_private_data_for_members_alone(network: FeatureNetwork, form: Form) -> None:
    transient = {"collection": b"SharedCollection", "key": b"told", "value": b"for members"}
    committed = network.gateway(1, PRIVATE).submit(words("write_private"), transient=transient)
    network.arrived(committed.block_number)

    told = []
    for number in (1, 2, 3):
        gateway = network.gateway(number)
        with gateway.block_events(form=form, start_block=committed.block_number) as events:
            told.append(b"for members" in take(events).SerializeToString())

    members = form is Form.PRIVATE
    assert told == [members, False, members]
