"""Feature: Chaincode event listening."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.feature_network import FeatureNetwork, words
from support.listening import take

from client.gateway import ChaincodeEvent, ChaincodeEvents, FileCheckpoint, Gateway

scenario = pytest.mark.scenario


@pytest.fixture
def gateway(network: FeatureNetwork) -> Gateway:
    return network.gateway()


def listen(gateway: Gateway) -> ChaincodeEvents:
    # From a number: "from now on" begins when the peer sees the request, perhaps a block later.
    return gateway.events(start_block=gateway.height())


def received(events: ChaincodeEvents) -> tuple[str, bytes]:
    event: ChaincodeEvent = take(events)
    return event.name, event.payload


@scenario("Receive chaincode event")
def test_receive_chaincode_event(gateway: Gateway) -> None:
    with listen(gateway) as events:
        gateway.submit(words("event", "foo", "bar"))

        assert received(events) == ("foo", b"bar")


@scenario("Replay chaincode event")
def test_replay_chaincode_event(gateway: Gateway) -> None:
    committed = gateway.submit(words("event", "event", "replay"))

    with gateway.events(start_block=committed.block_number) as events:
        assert received(events) == ("event", b"replay")


@scenario("Restart after closing chaincode event session")
def test_restart_after_closing_chaincode_event_session(gateway: Gateway) -> None:
    for payload in ("one", "two"):
        with listen(gateway) as events:
            gateway.submit(words("event", "restart", payload))

            assert received(events) == ("restart", payload.encode())


@scenario("Close does not interrupt other chaincode event listeners")
def test_close_does_not_interrupt_other_chaincode_event_listeners(gateway: Gateway) -> None:
    with listen(gateway) as first, listen(gateway) as second:
        gateway.submit(words("event", "close", "before"))
        assert received(first) == received(second) == ("close", b"before")

        first.close()
        gateway.submit(words("event", "close", "after"))

        assert received(second) == ("close", b"after")
        assert list(first) == []


@scenario("Checkpoint of chaincode events")
def test_checkpoint_of_chaincode_events(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    start = gateway.height()
    with gateway.events(start_block=start, checkpoint=FileCheckpoint(path)) as events:
        gateway.submit(words("event", "checkpoint", "one"))
        event = take(events)
        FileCheckpoint(path).after_transaction(event.block_number, event.transaction_id)
    gateway.submit(words("event", "checkpoint", "two"))

    with gateway.events(start_block=start, checkpoint=FileCheckpoint(path)) as events:
        assert received(events) == ("checkpoint", b"two")


def test_checkpoint_after_a_block_resumes_with_the_next(gateway: Gateway, tmp_path: Path) -> None:
    checkpoint = FileCheckpoint(tmp_path / "checkpoint")
    committed = gateway.submit(words("event", "checkpoint", "one"))
    gateway.submit(words("event", "checkpoint", "two"))

    checkpoint.after_block(committed.block_number)

    with gateway.events(checkpoint=FileCheckpoint(tmp_path / "checkpoint")) as events:
        assert received(events) == ("checkpoint", b"two")
