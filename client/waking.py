"""Waits that end as soon as the ledger changes, so that nobody asks it over and over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from chaincode.schema.errors import MedFabricError
from client.closing import Closing

log = logging.getLogger("medfabric.client")

_FIRST_RETRY, _LAST_RETRY = 0.5, 20.0


class Waking(Closing):
    """Ends a wait at the next event. What happened is read from the state: an event that is lost
    costs no more than the longest wait.

    Args:
        events: begins to listen; called again where the events broke off.
    """

    def __init__(self, events: Callable[[], Iterable[object]]) -> None:
        self._events = events
        self._woken = threading.Event()
        self._closing = threading.Event()

    def listen(self) -> None:
        """Begin to listen, in a thread beside."""
        threading.Thread(target=self._listen, name="events", daemon=True).start()

    def wake(self) -> None:
        """End the wait that lasts, or the next one."""
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Until something happened since the last wait ended, or for so long."""
        self._woken.wait(seconds)
        self._woken.clear()

    def close(self) -> None:
        """Listen no more once the events break off, and end the wait. Harmless when repeated."""
        self._closing.set()
        self.wake()

    def _listen(self) -> None:
        delay = _FIRST_RETRY
        while not self._closing.is_set():
            try:
                for _ in self._events():
                    delay = _FIRST_RETRY
                    self.wake()
            except MedFabricError as error:
                if not self._closing.is_set():
                    log.info("events broke off, listening again: %s", error)
            # What happened meanwhile is read from the state.
            self.wake()
            self._closing.wait(delay)
            delay = min(_LAST_RETRY, delay * 2)
