"""How long a call may go on: until a deadline, or until it is cancelled."""

from __future__ import annotations

import math
import random
import threading
import time
from typing import Any

import grpc

_LONGEST_PAUSE_SECONDS = 2.0


class OverError(grpc.RpcError):
    """The scope was over before the call was made: nothing was sent."""

    def __init__(self, status: grpc.StatusCode) -> None:
        super().__init__(status)
        self._status = status

    def code(self) -> grpc.StatusCode:
        """``CANCELLED`` or ``DEADLINE_EXCEEDED``."""
        return self._status

    def details(self) -> str:
        """What to tell a reader."""
        return "nothing was sent, the call's time was over"

    def trailing_metadata(self) -> tuple[()]:
        """None: no server answered."""
        return ()


class Scope:
    """Bounds one call or several, with all their stages, retries and pauses together.

    The times of a :class:`Policy` bound each stage; a scope bounds the whole. Once over it stays
    over. Safe to share among threads.

    Args:
        seconds: until the deadline, from now; none without one.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._cancelled = threading.Event()
        self._calls: set[Any] = set()
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End what is going on within the scope, from any thread. Harmless when repeated."""
        with self._lock:
            self._cancelled.set()
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    @property
    def over(self) -> grpc.StatusCode | None:
        """Why nothing more is sent, or None while it may be."""
        if self._cancelled.is_set():
            return grpc.StatusCode.CANCELLED
        return None if self._left() > 0 else grpc.StatusCode.DEADLINE_EXCEEDED

    def call(self, method: Any, request: Any, seconds: float) -> Any:
        """One remote call of at most so many seconds; returns its response.

        Raises:
            grpc.RpcError: it failed, was cancelled or took too long; :class:`OverError` where
                it was not even made.
        """
        with self._lock:
            status = self.over
            if status is not None:
                raise OverError(status)
            call = method.future(request, timeout=min(seconds, self._left()))
            self._calls.add(call)
        try:
            return call.result()
        except grpc.FutureCancelledError:
            # The call is its own error, as grpc's calls are.
            raise call from None
        finally:
            with self._lock:
                self._calls.discard(call)
            call.cancel()

    def pause(self, attempt: int) -> None:
        """Wait before the next try: a random time, longer with each (full jitter)."""
        longest = min(_LONGEST_PAUSE_SECONDS, 0.1 * 2**attempt)
        seconds = random.uniform(0.01, longest)  # noqa: S311 (spreads retries, guards nothing)
        self._cancelled.wait(max(0.0, min(seconds, self._left())))

    def _left(self) -> float:
        return self._deadline - time.monotonic()
