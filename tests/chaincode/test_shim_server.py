"""The service over real gRPC and mutual TLS on loopback, dialled by a peer."""

import datetime
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fabric_protos.peer import chaincode_shim_pb2_grpc
from support.fake_peer import WAIT_SECONDS, FakePeer, Type

from chaincode.shim import Response, Stub
from chaincode.shim.handler import MESSAGE_LIMIT
from chaincode.shim.server import Server, ServerConfig

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A certificate authority in a folder; each name gets ``NAME.pem`` and ``NAME.key``."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certify(name, self._key.public_key(), authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate)

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        cert_file, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_file.write_bytes(self._certify(name, key.public_key(), authority=False))
        key_file.touch(0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_file, key_file

    def _certify(self, name: str, key: ec.EllipticCurvePublicKey, authority: bool) -> bytes:
        names = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(hours=1))
            .not_valid_after(NOW + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
def config(authority: Authority) -> ServerConfig:
    cert_file, key_file = authority.issue("service")
    return ServerConfig("127.0.0.1:0", "medfabric:hash", cert_file, key_file, authority.file)


class Scripted:
    def __init__(self, function: Callable[[Stub], Response]) -> None:
        self.invoke = function


def put(stub: Stub) -> Response:
    stub.put_state("k", stub.args[1])
    return Response.success(stub.get_state("k") or b"")


@contextmanager
def dialled(port: int, authority: Authority, peer: FakePeer) -> Iterator[grpc.Call]:
    """Let a peer with a certificate of this authority speak to the service at a port."""
    cert_file, key_file = authority.issue("peer")
    credentials = grpc.ssl_channel_credentials(
        authority.file.read_bytes(), key_file.read_bytes(), cert_file.read_bytes()
    )
    options = [
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.max_send_message_length", MESSAGE_LIMIT),
    ]
    with grpc.secure_channel(f"localhost:{port}", credentials, options) as channel:
        stub = chaincode_shim_pb2_grpc.ChaincodeStub(channel)
        stream = stub.Connect(iter(peer.receive, None))

        def read() -> None:
            try:
                for message in stream:
                    peer.send(message)
            except grpc.RpcError:
                return

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield stream
        peer.hang_up()
        stream.cancel()
        reader.join(WAIT_SECONDS)


@contextmanager
def running(config: ServerConfig, function: Callable[[Stub], Response]) -> Iterator[Server]:
    server = Server(Scripted(function), config)
    yield server
    server.stop(0)


def test_a_peer_runs_transactions_over_mutual_tls(
    config: ServerConfig, authority: Authority
) -> None:
    peer = FakePeer(state={"k": b"old"}, batch=10)

    with running(config, put) as server, dialled(server.port, authority, peer):
        assert peer.transact("t", b"put", b"new").payload == b"old"
        assert peer.transact("u", b"put", b"newer").payload == b"new"
        peer.tell(Type.KEEPALIVE)
        peer.await_sent(Type.KEEPALIVE)

    assert peer.registered_as == "medfabric:hash"
    assert peer.state == {"k": b"newer"}


def test_messages_far_above_grpcs_own_limit_pass(
    config: ServerConfig, authority: Authority
) -> None:
    peer = FakePeer(batch=10)
    large = bytes(20 * 1024 * 1024)

    with running(config, put) as server, dialled(server.port, authority, peer):
        peer.transact("t", b"put", large)
        assert peer.transact("u", b"put", b"x").payload == large


def test_two_peers_do_not_see_each_others_end(config: ServerConfig, authority: Authority) -> None:
    one, other = FakePeer(batch=10), FakePeer(batch=10)

    with running(config, put) as server, dialled(server.port, authority, one):
        with dialled(server.port, authority, other):
            assert other.transact("t", b"put", b"1").status == 200
        assert one.transact("t", b"put", b"1").status == 200
        again = FakePeer(batch=10)
        with dialled(server.port, authority, again):
            assert again.transact("t", b"put", b"1").status == 200


def test_who_has_no_certificate_of_the_peers_authority_is_not_heard(
    config: ServerConfig, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    cert_file, key_file = stranger.issue("intruder")
    trusted = authority.file.read_bytes()
    with running(config, put) as server:
        for credentials in (
            grpc.ssl_channel_credentials(trusted),
            grpc.ssl_channel_credentials(trusted, key_file.read_bytes(), cert_file.read_bytes()),
        ):
            with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
                stub = chaincode_shim_pb2_grpc.ChaincodeStub(channel)
                with pytest.raises(grpc.RpcError) as caught:
                    next(stub.Connect(iter([]), timeout=WAIT_SECONDS))
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        with grpc.insecure_channel(f"localhost:{server.port}") as channel:
            stub = chaincode_shim_pb2_grpc.ChaincodeStub(channel)
            with pytest.raises(grpc.RpcError):
                next(stub.Connect(iter([]), timeout=WAIT_SECONDS))


def test_does_not_start_with_a_key_that_others_can_read(config: ServerConfig) -> None:
    config.tls_key_file.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        Server(Scripted(put), config)


def test_does_not_start_on_a_taken_address_or_with_garbled_certificates(
    config: ServerConfig,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="cannot listen"):
            Server(Scripted(put), ServerConfig(address, *list(vars(config).values())[1:]))
    config.tls_cert_file.write_text("no certificate")
    with pytest.raises(OSError, match="cannot listen"):
        Server(Scripted(put), config)


def test_stopping_lets_a_running_transaction_finish(
    config: ServerConfig, authority: Authority
) -> None:
    peer, go, begun = FakePeer(batch=10), threading.Event(), threading.Event()

    def wait(stub: Stub) -> Response:
        begun.set()
        go.wait(WAIT_SECONDS)
        return put(stub)

    server = Server(Scripted(wait), config)
    with dialled(server.port, authority, peer) as stream:
        peer.begin("t", b"wait", b"v")
        assert begun.wait(WAIT_SECONDS)
        stopper = threading.Thread(target=server.stop, args=(WAIT_SECONDS,))
        stopper.start()
        go.set()
        assert peer.outcome("t").status == 200
        stopper.join(WAIT_SECONDS)
        assert not stopper.is_alive()
        assert stream.code() == grpc.StatusCode.OK
    assert peer.state == {"k": b"v"}


PROGRAM = """
    import sys
    from pathlib import Path
    from chaincode.shim import Response
    from chaincode.shim.server import ServerConfig, serve

    class Chaincode:
        def invoke(self, stub):
            return Response.success(b"alive")

    address, cert, key, ca = sys.argv[1:]
    serve(Chaincode(), ServerConfig(address, "p", Path(cert), Path(key), Path(ca)))
"""


def test_sigterm_ends_the_process_at_once_when_nothing_runs(
    config: ServerConfig, authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    files = [config.tls_cert_file, config.tls_key_file, config.client_ca_file]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), f"127.0.0.1:{port}", *map(str, files)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        peer = FakePeer()
        cert_file, key_file = authority.issue("waiter")
        credentials = grpc.ssl_channel_credentials(
            authority.file.read_bytes(), key_file.read_bytes(), cert_file.read_bytes()
        )
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            grpc.channel_ready_future(channel).result(30)
        with dialled(port, authority, peer) as stream:
            assert peer.transact("t", b"f").payload == b"alive"
            process.send_signal(signal.SIGTERM)
            assert process.wait(4) == 0
            assert stream.code() == grpc.StatusCode.OK
    finally:
        process.kill()
        process.wait()
