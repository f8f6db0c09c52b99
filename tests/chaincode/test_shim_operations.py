"""Health, metrics, logs and renewed certificates of a running service."""

from __future__ import annotations

import dataclasses
import http.client
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from support.fake_peer import WAIT_SECONDS, FakePeer
from support.pki import Authority, make_authority
from support.service import credentials_of, dialled
from support.shim import Scripted, done

from chaincode.shim import Response
from chaincode.shim.logs import JsonFormatter, event
from chaincode.shim.operations import OperationsServer
from chaincode.shim.server import Server, ServerConfig

ROOT = Path(__file__).parents[2]


@contextmanager
def running(config: ServerConfig, **changes: object) -> Iterator[Server]:
    made = dataclasses.replace(config, operations="127.0.0.1:0", **changes)  # type: ignore[arg-type]
    server = Server(Scripted(done=done, refuse=lambda stub: Response.refusal("no")), made)
    yield server
    server.stop(0)


def client_context(trusted: Authority, own: Authority | None, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=trusted.pem.decode())
    if own is not None:
        for path, content in zip((folder / "c.pem", folder / "k.pem"), own.issue("c"), strict=True):
            path.write_bytes(content)
        context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    return context


def get(port: int, path: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
    else:
        connection = http.client.HTTPSConnection(
            "localhost", port, timeout=WAIT_SECONDS, context=context
        )
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


# health and metrics


def test_metrics_tell_what_a_peers_transactions_came_to(
    config: ServerConfig,
    authority: Authority,
) -> None:
    peer = FakePeer()

    with (
        running(config, operations_tls=False) as server,
        dialled(server.port, authority, peer),
    ):
        peer.transact("t", b"done")
        peer.transact("u", b"done")
        peer.transact("v", b"refuse")
        status, text = get(server.operations_port, "/metrics")

    assert status == 200
    assert 'medfabric_shim_transactions_total{outcome="succeeded"} 2' in text
    assert 'medfabric_shim_transactions_total{outcome="refused"} 1' in text
    assert 'medfabric_shim_streams{state="ready"} 1' in text
    assert "medfabric_shim_transaction_seconds_count 3" in text
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]+"\})? [0-9.]+')
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or sample.fullmatch(line), line


def test_health_counts_streams_and_ends_with_the_service(
    config: ServerConfig,
    authority: Authority,
) -> None:
    peer = FakePeer()

    with running(config, operations_tls=False) as server:
        port = server.operations_port
        alone = get(port, "/healthz")
        with dialled(server.port, authority, peer):
            peer.transact("t", b"done")
            served = get(port, "/healthz")
        assert get(port, "/other")[0] == 404

    assert alone[0] == served[0] == 200
    assert json.loads(alone[1])["streams"]["ready"] == 0
    assert json.loads(served[1]) == {
        "status": "OK",
        "streams": {"created": 0, "established": 0, "ready": 1},
    }
    with pytest.raises(OSError, match="refused"):
        get(port, "/healthz")


def test_with_tls_only_certificates_of_the_authority_are_heard(
    config: ServerConfig,
    authority: Authority,
    tmp_path: Path,
) -> None:
    with running(config) as server:
        port = server.operations_port
        assert get(port, "/healthz", client_context(authority, authority, tmp_path))[0] == 200
        for stranger in (None, make_authority()):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                get(port, "/healthz", client_context(authority, stranger, tmp_path))
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            get(port, "/healthz")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:0", "example.org:1", "[::]:0", ":0"])
def test_without_tls_nobody_beyond_the_machine_is_served(address: str) -> None:
    with pytest.raises(OSError, match="without TLS"):
        OperationsServer(address, {}, None)


def test_many_idle_callers_do_not_keep_the_endpoint_from_ending(config: ServerConfig) -> None:
    with running(config, operations_tls=False) as server:
        callers = [
            socket.create_connection(("127.0.0.1", server.operations_port)) for _ in range(40)
        ]
        callers[0].sendall(b"\x00garbage\r\n\r\n")
        server.stop(0)
    for caller in callers:
        caller.close()


# renewal


def renew(config: ServerConfig, authority: Authority) -> bytes:
    """Replace certificate and key by new ones of an authority; the certificate's bytes."""
    certificate, key = authority.issue("renewed")
    for path, content in ((config.tls_key_file, key), (config.tls_cert_file, certificate)):
        new = path.with_suffix(".new")
        new.touch(0o600)
        new.write_bytes(content)
        new.replace(path)
    return certificate


def shown(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that the service shows to a new connection."""
    context.check_hostname = False
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as raw,
        context.wrap_socket(raw) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
        assert der is not None
        return ssl.DER_cert_to_PEM_cert(der).encode()


def test_replaced_certificates_hold_for_new_connections_and_leave_streams_alone(
    config: ServerConfig,
    authority: Authority,
    tmp_path: Path,
) -> None:
    before, after = FakePeer(), FakePeer()
    context = client_context(authority, authority, tmp_path)
    context.set_alpn_protocols(["h2"])
    tell = client_context(authority, authority, tmp_path)

    with running(config) as server, dialled(server.port, authority, before):
        assert before.transact("t", b"done").status == 200
        assert get(server.operations_port, "/healthz", tell)[0] == 200
        certificate = renew(config, authority)

        assert shown(server.port, context) == certificate
        assert shown(server.operations_port, tell) == certificate
        with dialled(server.port, authority, after):
            assert after.transact("t", b"done").status == 200
        assert before.transact("u", b"done").status == 200


def test_a_replaced_authority_is_asked_for_from_then_on(
    config: ServerConfig,
    authority: Authority,
) -> None:
    other, peer = make_authority(), FakePeer()

    with running(config) as server:
        config.client_ca_file.write_bytes(other.pem)
        certificate, key = other.issue("peer")
        trusted = grpc.ssl_channel_credentials(authority.pem, key, certificate)
        for credentials, ready in ((trusted, True), (credentials_of(authority, authority), False)):
            with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
                future = grpc.channel_ready_future(channel)
                if ready:
                    future.result(WAIT_SECONDS)
                else:
                    with pytest.raises(grpc.FutureTimeoutError):
                        future.result(1)
    assert peer.types() == []


@pytest.mark.parametrize("damage", ["certificate alone", "garbage", "open to others", "missing"])
def test_files_that_do_not_fit_leave_the_former_ones_in_use(
    config: ServerConfig,
    authority: Authority,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = FakePeer()
    kept = config.tls_cert_file.read_bytes()

    with running(config) as server, caplog.at_level(logging.INFO, "medfabric.shim"):
        if damage == "certificate alone":
            config.tls_cert_file.write_bytes(authority.issue("renewed")[0])
        elif damage == "garbage":
            config.client_ca_file.write_text("no certificate")
        elif damage == "open to others":
            renew(config, authority)
            config.tls_key_file.chmod(0o644)
        else:
            config.tls_key_file.unlink()
        with dialled(server.port, authority, peer):
            assert peer.transact("t", b"done").status == 200
        assert "the certificates stay as they were" in caplog.text

        if damage == "certificate alone":  # and once the whole is there it is used
            config.tls_cert_file.write_bytes(kept)
            renew(config, authority)
            again = FakePeer()
            with dialled(server.port, authority, again):
                assert again.transact("t", b"done").status == 200
            assert "certificates renewed" in caplog.text


# logs


def formatted(level: int, text: str, **fields: object) -> dict[str, object]:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(JsonFormatter().format(record))

    logger = logging.Logger("medfabric.shim")
    logger.addHandler(Kept())
    event(logger, level, text, **fields)
    found: dict[str, object] = json.loads(lines[0])
    return found


def test_a_json_line_has_its_fields_and_its_text() -> None:
    line = formatted(logging.INFO, "done\nand more", tx="01234567", status=200, ms=1.5)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "INFO",
        "logger": "medfabric.shim",
        "message": "done\nand more",
        "tx": "01234567",
        "status": 200,
        "ms": 1.5,
    }


def test_an_exceptions_text_is_not_in_a_json_line() -> None:
    try:
        raise ValueError("patient 17")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("grpc", logging.ERROR, "f", 1, "it broke", (), info)

    line = json.loads(JsonFormatter().format(record))

    assert line["exception"] == "ValueError"
    assert "patient" not in json.dumps(line)


# the program


def test_the_program_serves_any_chaincode_by_its_configuration(
    config: ServerConfig,
    authority: Authority,
    tmp_path: Path,
) -> None:
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(free.getsockname()[1])
    (tmp_path / "mine.py").write_text(
        "from chaincode.shim import Response\n"
        "class Mine:\n"
        "    def invoke(self, stub):\n"
        "        return Response.success(stub.args[0])\n"
    )
    settings = {
        "chaincode": "mine:Mine",
        "address": f"127.0.0.1:{ports[0]}",
        "package_id": "mine_1:0",
        "tls_cert_file": config.tls_cert_file.name,
        "tls_key_file": config.tls_key_file.name,
        "client_ca_file": config.client_ca_file.name,
        "max_clock_skew_seconds": 10**10,
        "limits": {"transactions": 5, "seconds": 2.5},
        "operations": {"address": f"127.0.0.1:{ports[1]}"},
        "log": {"format": "json"},
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    process = subprocess.Popen(
        [sys.executable, "-m", "chaincode.server", "--config", str(tmp_path / "config.json")],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        peer = FakePeer()
        with grpc.secure_channel(
            f"localhost:{ports[0]}", credentials_of(authority, authority)
        ) as channel:
            grpc.channel_ready_future(channel).result(30)
        with dialled(ports[0], authority, peer):
            assert peer.transact("0123456789", b"secret", b"patient 17").payload == b"secret"
            context = client_context(authority, authority, tmp_path)
            assert get(ports[1], "/healthz", context)[0] == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    assert {"listening", "done", "stopping"} <= {line["message"] for line in lines}
    done_line = next(line for line in lines if line["message"] == "done")
    assert (done_line["tx"], done_line["status"]) == ("01234567", 200)
    assert "patient" not in errors
    assert "secret" not in errors


@pytest.mark.parametrize(
    "change",
    [
        {"limits": {"seconds": 0}},
        {"limits": {"message_bytes": 2**40}},
        {"log": {"format": "xml"}},
        {"operations": {"address": "0.0.0.0:0", "tls": False}},
        {"chaincode": "nowhere.at_all:chaincode"},
        {"chaincode": "chaincode.contracts:VERSION"},
        {"more": 1},
    ],
)
def test_the_program_does_not_start_by_a_wrong_configuration(
    config: ServerConfig,
    change: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from chaincode.server import main

    settings = {
        "address": "127.0.0.1:0",
        "package_id": "p",
        "tls_cert_file": "cert.pem",
        "tls_key_file": "key.pem",
        "client_ca_file": "ca.pem",
        **change,
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(settings))
    monkeypatch.setattr(sys, "argv", ["server", "--config", str(path)])
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)

    assert main() == 6
    assert "cannot start" in capsys.readouterr().err
