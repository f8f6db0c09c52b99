"""A scripted peer behind real mutual TLS, and a consortium connected to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2_grpc
from support.pki import Authority, make_authority, make_identity
from support.scripted_gateway import ScriptedGateway

from client.connection import Connection
from client.consortium import Consortium
from client.gateway import Policy
from client.identity import Identity

QUICK = Policy(
    evaluate_seconds=2, endorse_seconds=2, submit_seconds=0.3, commit_seconds=0.3, proposals=3
)


@pytest.fixture(scope="session")
def authority() -> Authority:
    return make_authority()


@pytest.fixture(scope="session")
def identity(authority: Authority) -> Identity:
    return make_identity(authority)


@dataclass(frozen=True)
class Peer:
    """A running scripted peer."""

    service: ScriptedGateway
    connection_file: Path
    server: grpc.Server


@pytest.fixture
def peer(authority: Authority, tmp_path: Path) -> Iterator[Peer]:
    service = ScriptedGateway()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    gateway_pb2_grpc.add_GatewayServicer_to_server(service, server)
    certificate, key = authority.issue("localhost")
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority.pem, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    endpoint = {
        "address": f"127.0.0.1:{port}",
        "server_name": "localhost",
        "tls_ca_file": "ca.pem",
    }
    connection = {
        "channel": "medfabric",
        "chaincode": "medfabric",
        "msp_id": "Hospital1MSP",
        "hospital": "hospital1",
        "gateway": endpoint,
        "orderers": [endpoint],
        "peers": [endpoint],
    }
    (tmp_path / "connection.json").write_text(json.dumps(connection))
    yield Peer(service, tmp_path / "connection.json", server)
    server.stop(None).wait()


@pytest.fixture
def consortium(peer: Peer, identity: Identity) -> Iterator[Consortium]:
    connection = Connection.load(peer.connection_file)
    with Consortium.connect(connection, identity, policy=QUICK) as opened:
        yield opened
