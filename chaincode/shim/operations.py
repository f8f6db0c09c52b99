"""``/healthz`` and ``/metrics`` over HTTP, for those who run the service."""

from __future__ import annotations

import ipaddress
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chaincode.shim import logs
from chaincode.shim.metrics import CONTENT_TYPE
from chaincode.shim.tls import TlsFiles

log = logging.getLogger("medfabric.shim")

_REQUEST_SECONDS = 5
_CONNECTIONS = 16

Page = tuple[int, str, str]
"""Status, content type, content."""


class OperationsServer:
    """Serves pages by path until :meth:`stop`.

    Args:
        address: ``HOST:PORT``; port 0 for a free one.
        pages: what is asked by ``GET``.
        tls: with these files callers must show a certificate under their authority; without, the
            address must be a loopback one, since nobody is asked who they are.

    Raises:
        OSError: the address cannot be bound, or is open to others without TLS.
    """

    def __init__(
        self, address: str, pages: dict[str, Callable[[], Page]], tls: TlsFiles | None
    ) -> None:
        host, _, port = address.rpartition(":")
        if tls is None and not _is_loopback(host):
            raise OSError(f"cannot listen on {address} without TLS; set it, or a loopback address")
        try:
            self._server = _Server((host, int(port)), pages, tls)
        except (OSError, ValueError, OverflowError) as error:
            raise OSError(f"cannot listen on {address}: {error}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="operations", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Ending does not wait for whoever keeps a connection open.
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], pages: dict[str, Callable[[], Page]], tls: TlsFiles | None
    ) -> None:
        self.pages = pages
        self._tls = tls
        self._version = 0
        self._context: ssl.SSLContext | None = _context(tls) if tls else None
        self._places = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(address, _Request)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(_REQUEST_SECONDS)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(self._secured(request), client_address)
        except OSError as error:  # no handshake
            logs.event(log, logging.INFO, f"operations: {type(error).__name__}")
            self.shutdown_request(request)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logs.event(log, logging.INFO, "operations: a connection broke")

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        version = self._tls.version()
        if self._context is None or version != self._version:
            self._version, self._context = version, _context(self._tls)
        return self._context.wrap_socket(connection, server_side=True)


class _Request(BaseHTTPRequestHandler):
    timeout = _REQUEST_SECONDS
    server: _Server

    def do_GET(self) -> None:
        make = self.server.pages.get(self.path)
        status, kind, content = make() if make else (404, "text/plain", "not found\n")
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "medfabric"

    def log_message(self, format: str, *args: Any) -> None:
        """What callers ask for is not logged."""


def health(*, stopping: bool, streams: dict[str, int]) -> Page:
    """The health page, in the form of Fabric's own."""
    words = "Service Unavailable" if stopping else "OK"
    content = json.dumps({"status": words, "streams": streams}) + "\n"
    return (503 if stopping else 200, "application/json", content)


def metrics(text: str) -> Page:
    """The metrics page."""
    return 200, CONTENT_TYPE, text


def _context(tls: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(tls.client_authorities)
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
