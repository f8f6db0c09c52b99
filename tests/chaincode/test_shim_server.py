"""The service over real gRPC and mutual TLS on loopback, dialled by a peer."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from fabric_protos.peer import chaincode_shim_pb2_grpc
from support.fake_peer import WAIT_SECONDS, FakePeer, Type
from support.pki import Authority, make_authority
from support.service import credentials_of, dialled

from chaincode.shim import Response, Stub
from chaincode.shim.server import Server, ServerConfig


class Scripted:
    def __init__(self, function: Callable[[Stub], Response]) -> None:
        self.invoke = function


def put(stub: Stub) -> Response:
    stub.put_state("k", stub.args[1])
    return Response.success(stub.get_state("k") or b"")


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
    config: ServerConfig, authority: Authority
) -> None:
    with running(config, put) as server:
        for credentials in (
            grpc.ssl_channel_credentials(authority.pem),
            credentials_of(make_authority(), trusted=authority),
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
    with pytest.raises(OSError, match="no PEM of its kind"):
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
        credentials = credentials_of(authority, authority)
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
