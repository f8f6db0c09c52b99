"""What the service has done, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the durations' histogram, seconds."""


class Outcome(StrEnum):
    """How a transaction ended.

    SUCCEEDED below status 400, REFUSED below 500, FAILED from there on; TIMED_OUT ran longer than
    it may; NOT_BEGUN came while the service was stopping or full, twice at once, or garbled.
    """

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NOT_BEGUN = "not_begun"


class StreamState(StrEnum):
    """How far a peer's stream has come."""

    CREATED = "created"
    ESTABLISHED = "established"
    READY = "ready"


class Metrics:
    """Counters of one service. Any thread may count."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[Outcome] = Counter()
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._in_flight = 0
        self._streams: Counter[StreamState] = Counter()

    def begun(self) -> None:
        """A transaction has begun; :meth:`ended` follows."""
        with self._lock:
            self._in_flight += 1

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """It has ended after so long."""
        with self._lock:
            self._in_flight -= 1
            self._outcomes[outcome] += 1
            self._buckets[bisect_left(BUCKETS, seconds)] += 1
            self._seconds += seconds

    def not_begun(self) -> None:
        """A transaction was turned away."""
        with self._lock:
            self._outcomes[Outcome.NOT_BEGUN] += 1

    def stream(self, left: StreamState | None, entered: StreamState | None) -> None:
        """A stream went from one state to another; None before it began and after it ended."""
        with self._lock:
            if left is not None:
                self._streams[left] -= 1
            if entered is not None:
                self._streams[entered] += 1

    @property
    def streams(self) -> dict[StreamState, int]:
        """Streams by state."""
        with self._lock:
            return {state: self._streams[state] for state in StreamState}

    def text(self, workers: int) -> str:
        """Everything, as Prometheus reads it; ``workers`` are the threads at work."""
        with self._lock:
            return "\n".join(self._lines(workers)) + "\n"

    def _lines(self, workers: int) -> Iterator[str]:
        name = "medfabric_shim_transactions_total"
        yield from _head(name, "counter", "Transactions by outcome.")
        for outcome in Outcome:
            yield f'{name}{{outcome="{outcome}"}} {self._outcomes[outcome]}'
        name = "medfabric_shim_transaction_seconds"
        yield from _head(name, "histogram", "Time from a transaction's arrival to its answer.")
        total = 0
        for bound, number in zip((*BUCKETS, "+Inf"), self._buckets, strict=True):
            total += number
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._seconds:.6f}"
        yield f"{name}_count {total}"
        name = "medfabric_shim_transactions_in_flight"
        yield from _head(name, "gauge", "Transactions begun and not answered.")
        yield f"{name} {self._in_flight}"
        name = "medfabric_shim_workers_busy"
        yield from _head(name, "gauge", "Threads at work, those after their time among them.")
        yield f"{name} {workers}"
        name = "medfabric_shim_streams"
        yield from _head(name, "gauge", "Streams to peers by state.")
        for state in StreamState:
            yield f'{name}{{state="{state}"}} {self._streams[state]}'


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
