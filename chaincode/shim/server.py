"""A chaincode as a service: the peer dials, mutual TLS, one handler per stream."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.peer import chaincode_shim_pb2_grpc

from chaincode.shim import logs, operations
from chaincode.shim.chaincode import Chaincode
from chaincode.shim.handler import Handler, Limits
from chaincode.shim.metrics import Metrics
from chaincode.shim.operations import OperationsServer
from chaincode.shim.tls import TlsFiles
from chaincode.shim.workers import Workers

log = logging.getLogger("medfabric.shim")

_STREAMS = 16
_GRACE_SECONDS = 5.0
_OPTIONS = [
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
    ``client_ca_file`` is taken for the peer. The key's file is its owner's alone (0600). Files that
    are replaced hold for the connections after that.

    ``operations`` is where ``/healthz`` and ``/metrics`` are served, empty for nowhere; with
    ``operations_tls`` by the same files, to whoever holds a certificate under ``client_ca_file``,
    else in the clear, on a loopback address alone.
    """

    address: str
    package_id: str
    tls_cert_file: Path
    tls_key_file: Path
    client_ca_file: Path
    limits: Limits = field(default_factory=Limits)
    operations: str = ""
    operations_tls: bool = True


class Server:
    """The running service; ``port`` is where it listens, ``operations_port`` where it tells of
    itself, 0 for nowhere.

    Raises:
        PermissionError: others than its owner may read the key's file.
        OSError: a file is missing or no PEM of its kind, or an address cannot be bound.
    """

    def __init__(self, chaincode: Chaincode, config: ServerConfig) -> None:
        tls = TlsFiles(config.tls_cert_file, config.tls_key_file, config.client_ca_file)
        limit = config.limits.message_bytes
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_STREAMS, thread_name_prefix="peer"),
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                *_OPTIONS,
            ],
            maximum_concurrent_rpcs=_STREAMS,
        )
        self._servicer = _Servicer(chaincode, config.package_id, config.limits)
        chaincode_shim_pb2_grpc.add_ChaincodeServicer_to_server(self._servicer, self._server)
        try:
            self.port = self._server.add_secure_port(config.address, _credentials(tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {config.address}: {error}") from None
        self._operations: OperationsServer | None = None
        if config.operations:
            pages = {"/healthz": self._servicer.health, "/metrics": self._servicer.metrics_page}
            self._operations = OperationsServer(
                config.operations, pages, tls if config.operations_tls else None
            )
        self._server.start()

    @property
    def operations_port(self) -> int:
        return self._operations.port if self._operations else 0

    def stop(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Refuse new transactions, let those running finish within the grace, then end."""
        stopped = self._server.stop(grace_seconds + 1)
        self._servicer.close(grace_seconds)
        stopped.wait()
        if self._operations:
            self._operations.stop()


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    used = 0

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        if (version := tls.version()) == used:
            return None
        used = version
        return _certificates(tls)

    # None says "as before", which grpc's documentation knows and its types do not.
    fetcher: Any = fetch
    return grpc.dynamic_ssl_server_credentials(_certificates(tls), fetcher, True)


def _certificates(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    material = tls.material
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], material.client_authorities
    )


def serve(chaincode: Chaincode, config: ServerConfig) -> None:
    """Run until SIGTERM or SIGINT; call it from the main thread.

    Raises:
        OSError: as :class:`Server`.
    """
    server = Server(chaincode, config)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    package = config.package_id
    logs.event(log, logging.INFO, "listening", package=package, port=server.port)
    stopping.wait()
    logs.event(log, logging.INFO, "stopping", package=package)
    server.stop()


class _Servicer(chaincode_shim_pb2_grpc.ChaincodeServicer):  # type: ignore[misc]
    def __init__(self, chaincode: Chaincode, package_id: str, limits: Limits) -> None:
        self._chaincode = chaincode
        self._package_id = package_id
        self._limits = limits
        self._workers = Workers(limits.transactions)
        self._metrics = Metrics()
        self._stopping = False
        self._streams: dict[_QueueTransport, Handler] = {}
        self._lock = threading.Lock()

    def Connect(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802
        """The peer's stream; what this yields goes to the peer."""
        transport = _QueueTransport(request_iterator)
        handler = Handler(
            self._chaincode,
            self._package_id,
            transport,
            self._limits,
            self._workers,
            self._metrics,
        )
        with self._lock:
            self._streams[transport] = handler
        logs.event(log, logging.INFO, "connected", peer=context.peer())

        def read() -> None:
            try:
                handler.run()
            finally:
                transport.close()
                with self._lock:
                    del self._streams[transport]
                logs.event(log, logging.INFO, "disconnected", peer=context.peer())

        threading.Thread(target=read, name="stream", daemon=True).start()
        context.add_callback(transport.close)
        return transport.outgoing()

    def health(self) -> operations.Page:
        streams = {str(state): number for state, number in self._metrics.streams.items()}
        return operations.health(stopping=self._stopping, streams=streams)

    def metrics_page(self) -> operations.Page:
        return operations.metrics(self._metrics.text(self._workers.busy))

    def close(self, grace_seconds: float) -> None:
        """End every stream as soon as nothing runs on it, at the latest after the grace."""
        with self._lock:
            self._stopping = True
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
