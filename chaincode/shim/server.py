"""A chaincode as a service: the peer dials, mutual TLS, one handler per stream.

One thread, an event loop, carries all streams: between a transaction's thread and the network there
is one change of threads each way, where grpc's own threads would make three.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import uvloop
from fabric_protos.peer import chaincode_shim_pb2_grpc

from chaincode.shim import logs, operations
from chaincode.shim.chaincode import Chaincode
from chaincode.shim.handler import Handler, Limits
from chaincode.shim.metrics import Metrics
from chaincode.shim.operations import OperationsServer
from chaincode.shim.tls import TlsFiles
from chaincode.shim.workers import Workers

log = logging.getLogger("medfabric.shim")
T = TypeVar("T")

_EOF: Any = vars(grpc.aio)["EOF"]  # which its types do not know
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
        self._servicer = _Servicer(chaincode, config.package_id, config.limits)
        self._operations = _operations(config, tls, self._servicer)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="peers", daemon=True)
        self._thread.start()
        try:
            self._server, self.port = self._within(self._listen(config, tls)).result()
        except BaseException:
            self._end()
            raise

    @property
    def operations_port(self) -> int:
        return self._operations.port if self._operations else 0

    def stop(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Refuse new transactions, let those running finish within the grace, then end."""
        if self._loop.is_closed():
            return
        stopped = self._within(self._server.stop(grace_seconds + 1))
        self._servicer.close(grace_seconds)
        stopped.result()
        self._end()

    async def _listen(self, config: ServerConfig, tls: TlsFiles) -> tuple[Any, int]:
        limit = config.limits.message_bytes
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                *_OPTIONS,
            ],
            maximum_concurrent_rpcs=_STREAMS,
        )
        chaincode_shim_pb2_grpc.add_ChaincodeServicer_to_server(self._servicer, server)
        try:
            port = server.add_secure_port(config.address, _credentials(tls))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {config.address}: {error}") from None
        await server.start()
        return server, port

    def _within(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._operations:
            self._operations.stop()


def _operations(
    config: ServerConfig, tls: TlsFiles, servicer: _Servicer
) -> OperationsServer | None:
    if not config.operations:
        return None
    pages = {"/healthz": servicer.health, "/metrics": servicer.metrics_page}
    return OperationsServer(config.operations, pages, tls if config.operations_tls else None)


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
        self._streams: dict[_Outgoing, Handler] = {}
        self._lock = threading.Lock()

    async def Connect(self, _: Any, context: Any) -> None:  # noqa: N802
        """The peer's stream. Everything here is the loop's; transactions run elsewhere."""
        outgoing = _Outgoing()
        handler = Handler(
            self._chaincode,
            self._package_id,
            outgoing,
            self._limits,
            self._workers,
            self._metrics,
        )
        with self._lock:
            self._streams[outgoing] = handler
        logs.event(log, logging.INFO, "connected", peer=context.peer())
        handler.begin()
        reader = asyncio.ensure_future(_read(context, handler, outgoing))
        try:
            while (message := await outgoing.next()) is not None:
                await context.write(message)
        finally:
            reader.cancel()
            handler.end()
            with self._lock:
                del self._streams[outgoing]
            logs.event(log, logging.INFO, "disconnected", peer=context.peer())

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
        for outgoing, handler in streams:
            handler.wait_idle(max(0.0, deadline - time.monotonic()))
            outgoing.close()


async def _read(context: Any, handler: Handler, outgoing: _Outgoing) -> None:
    try:
        while (message := await context.read()) is not _EOF and handler.take(message):
            pass
    finally:
        outgoing.close()


class _Outgoing:
    """Messages to the peer: any thread sends, the loop takes them on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._messages: deque[Any | None] = deque()
        self._waiting = asyncio.Event()

    def send(self, message: Any) -> None:
        self._messages.append(message)
        # Once the loop has ended the message goes nowhere.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._waiting.set)

    def close(self) -> None:
        """Nothing more is sent; what was is."""
        self.send(None)

    async def next(self) -> Any | None:
        while not self._messages:
            self._waiting.clear()
            if not self._messages:
                await self._waiting.wait()
        return self._messages.popleft()
