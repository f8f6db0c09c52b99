"""Events that must come: waiting for them ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Protocol

_SECONDS = 30.0


class Events(Protocol):
    def __next__(self) -> Any: ...

    def close(self) -> None: ...


def take(events: Events) -> Any:
    """The next one; closes what gives none in time."""
    guard = threading.Timer(_SECONDS, events.close)
    guard.start()
    try:
        return next(_iterator(events))
    finally:
        guard.cancel()


def _iterator(events: Any) -> Iterator[Any]:
    return iter(events)
