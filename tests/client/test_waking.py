"""Waits that an event ends."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

import pytest

from chaincode.schema.errors import Code, MedFabricError
from client.waking import Waking

LONG = 30.0


class Channel:
    """Events as they are put in; an error breaks the stream off."""

    def __init__(self) -> None:
        self.queue: queue.Queue[object] = queue.Queue()
        self.listened = threading.Semaphore(0)

    def events(self) -> Iterator[object]:
        self.listened.release()
        while (event := self.queue.get()) is not None:
            if isinstance(event, MedFabricError):
                raise event
            yield event


@pytest.fixture
def channel() -> Iterator[Channel]:
    made = Channel()
    yield made
    made.queue.put(None)


@pytest.fixture
def waking(channel: Channel) -> Iterator[Waking]:
    with Waking(channel.events) as made:
        made.listen()
        yield made


def waited(waking: Waking, seconds: float) -> float:
    begin = time.monotonic()
    waking.wait(seconds)
    return time.monotonic() - begin


def test_an_event_ends_a_wait_and_one_alone(channel, waking):
    threading.Timer(0.1, channel.queue.put, ["round.sealed"]).start()

    assert waited(waking, LONG) < LONG / 2
    assert waited(waking, 0.1) >= 0.1


def test_what_happens_between_two_waits_ends_the_next(channel, waking):
    waking.wake()

    assert waited(waking, LONG) < LONG / 2


def test_where_events_break_off_the_state_is_read_and_events_go_on(channel, waking):
    channel.queue.put(MedFabricError(Code.UNREACHABLE, "gone"))

    assert waited(waking, LONG) < LONG / 2
    assert channel.listened.acquire(timeout=LONG)
    assert channel.listened.acquire(timeout=LONG)
    channel.queue.put("round.sealed")
    assert waited(waking, LONG) < LONG / 2


def test_closing_ends_the_wait(waking):
    threading.Timer(0.1, waking.close).start()

    assert waited(waking, LONG) < LONG / 2
