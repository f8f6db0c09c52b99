"""A chaincode as a service: the peer dials, mutual TLS, one handler per stream."""

from __future__ import annotations

import logging
import queue
import signal
import threading
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.peer import chaincode_shim_pb2_grpc

from chaincode.shim.chaincode import Chaincode
from chaincode.shim.handler import Handler

log = logging.getLogger("medfabric.shim")

MESSAGE_LIMIT = 100 * 1024 * 1024
"""Bytes; the peer's own limit for the chaincode stream."""
_STREAMS = 16
_GRACE_SECONDS = 5


@dataclass(frozen=True)
class ServerConfig:
    """Where to listen and as whom. Paths name PEM files; the key is the owner's alone.

    ``address`` may end in ``:0`` for a free port.
    """

    address: str
    package_id: str
    tls_cert_file: Path
    tls_key_file: Path
    client_ca_file: Path


class Server:
    """The running service.

    Raises:
        OSError: a PEM file is missing, or the address cannot be bound.
    """

    def __init__(self, chaincode: Chaincode, config: ServerConfig) -> None:
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_STREAMS, thread_name_prefix="peer"),
            options=[
                ("grpc.max_receive_message_length", MESSAGE_LIMIT),
                ("grpc.max_send_message_length", MESSAGE_LIMIT),
                # Peers ping idle streams; without these grpc takes that for abuse.
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.so_reuseport", 0),
            ],
        )
        servicer = _Servicer(chaincode, config.package_id)
        chaincode_shim_pb2_grpc.add_ChaincodeServicer_to_server(servicer, self._server)
        credentials = grpc.ssl_server_credentials(
            [(config.tls_key_file.read_bytes(), config.tls_cert_file.read_bytes())],
            root_certificates=config.client_ca_file.read_bytes(),
            require_client_auth=True,
        )
        try:
            self.port = self._server.add_secure_port(config.address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {config.address}: {error}") from None
        self._server.start()

    def stop(self) -> None:
        """Let running transactions finish for a moment, then end."""
        self._server.stop(_GRACE_SECONDS).wait()

    def wait(self) -> None:
        self._server.wait_for_termination()


def serve(chaincode: Chaincode, config: ServerConfig) -> None:
    """Run until SIGTERM or SIGINT."""
    server = Server(chaincode, config)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    log.info("chaincode %s listens on port %d", config.package_id, server.port)
    stopping.wait()
    server.stop()


class _Servicer(chaincode_shim_pb2_grpc.ChaincodeServicer):  # type: ignore[misc]
    def __init__(self, chaincode: Chaincode, package_id: str) -> None:
        self._chaincode = chaincode
        self._package_id = package_id

    def Connect(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """The peer's stream; what this yields goes to the peer."""
        transport = _QueueTransport(request_iterator)
        handler = Handler(self._chaincode, self._package_id, transport)

        def read() -> None:
            try:
                handler.run()
            finally:
                transport.close()

        threading.Thread(target=read, name="stream", daemon=True).start()
        context.add_callback(transport.close)
        return transport.outgoing()


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
