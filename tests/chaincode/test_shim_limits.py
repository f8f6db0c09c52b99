"""What a service takes upon itself, and how it counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from support.fake_peer import WAIT_SECONDS, FakePeer, Type
from support.shim import done, serving

from chaincode.shim import PeerError, Response, Stub
from chaincode.shim.handler import Limits
from chaincode.shim.metrics import Metrics, Outcome
from chaincode.shim.workers import Workers


def value(metrics: Metrics, name: str) -> float:
    """One sample."""
    lines = metrics.text(0).splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


def count(metrics: Metrics, outcome: str) -> float:
    return value(metrics, f'medfabric_shim_transactions_total{{outcome="{outcome}"}}')


def waiting(go: threading.Event) -> Callable[[Stub], Response]:
    def wait(stub: Stub) -> Response:
        go.wait(WAIT_SECONDS)
        return Response.success()

    return wait


def test_more_at_once_than_the_limit_are_refused_by_code() -> None:
    peer, metrics, go = FakePeer(), Metrics(), threading.Event()

    with serving(peer, Limits(transactions=3), metrics, wait=waiting(go), done=done):
        for number in range(3):
            peer.begin(f"t{number}", b"wait")
        refused = peer.transact("u", b"done")
        assert count(metrics, "not_begun") == 1
        assert value(metrics, "medfabric_shim_transactions_in_flight") == 3
        go.set()
        assert {peer.outcome(f"t{number}").status for number in range(3)} == {200}
        assert peer.transact("v", b"done").status == 200

    assert refused.error.startswith("MF-1503")
    assert count(metrics, "succeeded") == 4


def test_a_transaction_over_its_time_is_answered() -> None:
    peer, metrics, go, left = FakePeer(batch=10), Metrics(), threading.Event(), threading.Event()
    raised: list[PeerError] = []

    def slow(stub: Stub) -> Response:
        stub.put_state("k", b"late")
        go.wait(WAIT_SECONDS)
        try:
            stub.get_state("k")
        except PeerError as error:
            raised.append(error)
        left.set()
        return Response.success(b"late")

    with serving(peer, Limits(seconds=0.2), metrics, slow=slow, done=done):
        late = peer.transact("t", b"slow")
        assert peer.transact("u", b"done").status == 200
        go.set()
        assert left.wait(WAIT_SECONDS)
        assert peer.transact("t", b"done").status == 200  # the same id is free again

    assert (late.status, late.message[:7]) == (500, "MF-1504")
    assert len(raised) == 1
    assert peer.state == {}
    assert peer.types().count(Type.COMPLETED) == 3
    assert count(metrics, "timed_out") == 1


def test_an_answer_that_comes_after_the_time_is_dropped() -> None:
    peer = FakePeer(unanswered={Type.GET_STATE})

    with serving(peer, Limits(seconds=0.2), get=lambda stub: stub.get_state("k"), done=done):
        assert peer.transact("t", b"get").message.startswith("MF-1504")
        peer.tell(Type.RESPONSE, b"late", "t", "medfabric")
        assert peer.transact("u", b"done").payload == b"done"


def test_runaway_transactions_hold_their_threads_and_no_more() -> None:
    peer, go = FakePeer(), threading.Event()

    with serving(peer, Limits(transactions=2, seconds=0.2), wait=waiting(go), done=done):
        peer.begin("t", b"wait")
        peer.begin("u", b"wait")
        assert peer.outcome("t").message.startswith("MF-1504")
        assert peer.outcome("u").message.startswith("MF-1504")
        assert peer.transact("v", b"done").error.startswith("MF-1503")
        go.set()
        deadline = time.monotonic() + WAIT_SECONDS
        while peer.transact("w", b"done").error:
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Response.success(), "succeeded"),
        (Response(300, "a warning"), "succeeded"),
        (Response.refusal("no"), "refused"),
        (Response(500, "broken"), "failed"),
        (None, "failed"),
    ],
)
def test_transactions_are_counted_by_outcome(answer: Response, outcome: str) -> None:
    peer, metrics = FakePeer(), Metrics()

    with serving(peer, None, metrics, answer=lambda stub: answer, done=done):
        peer.transact("t", b"answer")
        peer.tell(Type.KEEPALIVE)
        peer.await_sent(Type.KEEPALIVE)
        ready = value(metrics, 'medfabric_shim_streams{state="ready"}')

    assert count(metrics, outcome) == 1
    assert value(metrics, "medfabric_shim_transaction_seconds_count") == 1
    assert value(metrics, "medfabric_shim_transactions_in_flight") == 0
    assert ready == 1
    assert value(metrics, 'medfabric_shim_streams{state="ready"}') == 0


def test_durations_fall_into_cumulative_buckets() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.02, 0.02, 100.0):
        metrics.begun()
        metrics.ended(Outcome.SUCCEEDED, seconds)

    name = "medfabric_shim_transaction_seconds"
    assert value(metrics, f'{name}_bucket{{le="0.001"}}') == 1
    assert value(metrics, f'{name}_bucket{{le="0.025"}}') == 3
    assert value(metrics, f'{name}_bucket{{le="30.0"}}') == 3
    assert value(metrics, f'{name}_bucket{{le="+Inf"}}') == 4
    assert value(metrics, f"{name}_sum") == pytest.approx(100.0405)


def test_workers_are_bounded() -> None:
    workers, go, together = Workers(4), threading.Event(), threading.Barrier(5)

    def wait() -> Callable[[], None]:
        together.wait(WAIT_SECONDS)
        go.wait(WAIT_SECONDS)
        return lambda: None

    assert all(workers.start(wait) for _ in range(4))
    together.wait(WAIT_SECONDS)
    assert not workers.start(wait)
    assert workers.busy == 4
    go.set()
