"""A chaincode as a service: the peer dials, mutual TLS, one handler per stream."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.peer import chaincode_shim_pb2_grpc

from chaincode.shim.chaincode import Chaincode
from chaincode.shim.handler import MESSAGE_LIMIT, Handler

log = logging.getLogger("medfabric.shim")

_STREAMS = 16
_GRACE_SECONDS = 5.0
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    ("grpc.max_send_message_length", MESSAGE_LIMIT),
    # Peers ping idle streams; grpc's own limits take that for abuse and hang up.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Ping in turn, or a peer that vanished without a word holds its stream for ever.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.so_reuseport", 0),
]


@dataclass(frozen=True)
class ServerConfig:
    """Where to listen and as whom. Paths name PEM files; there is no service in the clear.

    ``address`` may end in ``:0`` for a free port. Whoever holds a certificate under
    ``client_ca_file`` is taken for the peer. The key's file is its owner's alone (0600).
    """

    address: str
    package_id: str
    tls_cert_file: Path
    tls_key_file: Path
    client_ca_file: Path


class Server:
    """The running service; ``port`` is where it listens.

    Raises:
        PermissionError: others than its owner may read the key's file.
        OSError: a file is missing or no PEM of its kind, or the address cannot be bound.
    """

    def __init__(self, chaincode: Chaincode, config: ServerConfig) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_STREAMS, thread_name_prefix="peer"),
            options=_OPTIONS,
            maximum_concurrent_rpcs=_STREAMS,
        )
        self._servicer = _Servicer(chaincode, config.package_id)
        chaincode_shim_pb2_grpc.add_ChaincodeServicer_to_server(self._servicer, self._server)
        credentials = grpc.ssl_server_credentials(
            [(_private(config.tls_key_file), config.tls_cert_file.read_bytes())],
            root_certificates=config.client_ca_file.read_bytes(),
            require_client_auth=True,
        )
        try:
            self.port = self._server.add_secure_port(config.address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {config.address}: {error}") from None
        self._server.start()

    def stop(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Refuse new transactions, let those running finish within the grace, then end."""
        stopped = self._server.stop(grace_seconds + 1)
        self._servicer.close(grace_seconds)
        stopped.wait()


def serve(chaincode: Chaincode, config: ServerConfig) -> None:
    """Run until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        OSError: as :class:`Server`.
    """
    server = Server(chaincode, config)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log.info("package=%s port=%d listening", config.package_id, server.port)
    stopping.wait()
    log.info("package=%s stopping", config.package_id)
    server.stop()


def _private(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} is open to others than its owner; chmod 600 it")
    return path.read_bytes()


class _Servicer(chaincode_shim_pb2_grpc.ChaincodeServicer):  # type: ignore[misc]
    def __init__(self, chaincode: Chaincode, package_id: str) -> None:
        self._chaincode = chaincode
        self._package_id = package_id
        self._streams: dict[_QueueTransport, Handler] = {}
        self._lock = threading.Lock()

    def Connect(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """The peer's stream; what this yields goes to the peer."""
        transport = _QueueTransport(request_iterator)
        handler = Handler(self._chaincode, self._package_id, transport)
        with self._lock:
            self._streams[transport] = handler
        log.info("peer=%s connected", context.peer())

        def read() -> None:
            try:
                handler.run()
            finally:
                transport.close()
                with self._lock:
                    del self._streams[transport]
                log.info("peer=%s disconnected", context.peer())

        threading.Thread(target=read, name="stream", daemon=True).start()
        context.add_callback(transport.close)
        return transport.outgoing()

    def close(self, grace_seconds: float) -> None:
        """End every stream as soon as nothing runs on it, at the latest after the grace."""
        with self._lock:
            streams = list(self._streams.items())
        for _, handler in streams:
            handler.drain()
        deadline = time.monotonic() + grace_seconds
        for transport, handler in streams:
            handler.wait_idle(max(0.0, deadline - time.monotonic()))
            transport.close()


class _QueueTransport:
    def __init__(self, incoming: Iterator[Any]) -> None:
        self._incoming = incoming
        self._queue: queue.SimpleQueue[Any | None] = queue.SimpleQueue()

    def send(self, message: Any) -> None:
        self._queue.put(message)

    def receive(self) -> Any | None:
        try:
            return next(self._incoming, None)
        except grpc.RpcError:
            return None

    def close(self) -> None:
        self._queue.put(None)

    def outgoing(self) -> Iterator[Any]:
        while (message := self._queue.get()) is not None:
            yield message
