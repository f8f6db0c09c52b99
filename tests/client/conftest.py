"""A scripted peer behind real mutual TLS, and a consortium connected to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from support.pki import Authority, make_authority, make_identity
from support.scripted_gateway import ScriptedGateway, serve

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
    with serve(service, authority, tmp_path) as (connection_file, server):
        yield Peer(service, connection_file, server)


@pytest.fixture
def consortium(peer: Peer, identity: Identity) -> Iterator[Consortium]:
    connection = Connection.load(peer.connection_file)
    with Consortium.connect(connection, identity, policy=QUICK) as opened:
        yield opened
