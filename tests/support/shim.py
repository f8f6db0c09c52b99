"""A handler that serves a scripted chaincode to a fake peer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chaincode.shim import Response, Stub
from chaincode.shim.handler import Handler, Limits
from chaincode.shim.metrics import Metrics
from support.fake_peer import WAIT_SECONDS, FakePeer


class Scripted:
    """A chaincode whose transactions are functions of the stub, by name."""

    def __init__(self, **functions: Callable[[Stub], Response]) -> None:
        self._functions = functions

    def invoke(self, stub: Stub) -> Response:
        return self._functions[stub.args[0].decode()](stub)


def run(handler: Handler, peer: FakePeer) -> None:
    """Serve until the peer hangs up or the handler gives the stream up."""
    handler.begin()
    try:
        while (message := peer.receive()) is not None and handler.take(message):
            pass
    finally:
        handler.end()


@contextmanager
def serving(
    peer: FakePeer,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    **functions: Callable[[Stub], Response],
) -> Iterator[Handler]:
    handler = Handler(Scripted(**functions), "medfabric:hash", peer, limits=limits, metrics=metrics)
    reader = threading.Thread(target=run, args=(handler, peer), daemon=True)
    reader.start()
    yield handler
    peer.hang_up()
    reader.join(WAIT_SECONDS)
    assert not reader.is_alive()


def done(stub: Stub) -> Response:
    return Response.success(b"done")
