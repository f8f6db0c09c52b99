"""One life for both networks: up, asked, killed, restarted, down, up again with all its data."""

from __future__ import annotations

import json
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fabric_protos.common import common_pb2, ledger_pb2
from support.networks import KINDS

from chaincode.schema.errors import Code, MedFabricError
from client.connection import Connection
from client.gateway import Gateway
from client.identity import Identity
from network import crypto
from network.base import Network, open_network, up, wait_until
from network.cli import network as command
from network.endorsing import endorse
from network.topology import HOST, Kind


@pytest.fixture(scope="module", params=KINDS)
def network(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    made = up(tmp_path_factory.mktemp("network") / "consortium", request.param, 4)
    try:
        yield made
    finally:
        made.down()


def test_every_process_runs_and_answers(network: Network) -> None:
    assert all(network.status().values())
    assert all(network.healthy(name) for name in network.names())


def test_every_hospital_reaches_the_contracts(network: Network) -> None:
    for hospital in network.topology.hospitals:
        for user in ("admin", "node1", "auditor"):
            assert _refusal(network, hospital.slug, user) == Code.UNKNOWN_TRANSACTION


def test_all_hospitals_hold_the_same_chain_from_the_genesis_block(network: Network) -> None:
    genesis = common_pb2.Block.FromString(network.layout.genesis.read_bytes())

    for hospital in network.topology.hospitals:
        answer = endorse(
            network.layout, hospital, "qscc", [b"GetBlockByNumber", b"medfabric", b"0"], "medfabric"
        )
        block = common_pb2.Block.FromString(answer.payload)
        assert block.header == genesis.header
        assert block.data == genesis.data


def test_no_port_serves_whom_no_hospital_vouches_for(network: Network, tmp_path: Path) -> None:
    stranger = crypto.Authority.create("ca.stranger", tmp_path, "tls").tls("stranger")
    (tmp_path / "cert.pem").write_bytes(stranger.certificate)
    (tmp_path / "key.pem").write_bytes(stranger.key)

    open_ports = [
        (hospital.slug, name, port)
        for hospital in network.topology.hospitals
        for name, port in hospital.ports.model_dump().items()
        if _answers(network, hospital.slug, port, "users/admin/tls_{}.pem")
    ]
    served = [
        (slug, name)
        for slug, name, port in open_ports
        if _answers(network, slug, port, None)
        or _answers(network, slug, port, str(tmp_path / "{}.pem"))
    ]

    expected = {"peer", "chaincode"}
    if network.kind is Kind.FABRIC:
        expected |= {"peer_operations", "orderer", "orderer_admin", "orderer_operations"}
    assert expected <= {name for _, name, _ in open_ports}
    assert served == []


def test_keys_are_for_their_owner_alone(network: Network) -> None:
    keys = [
        path
        for path in network.layout.folder.rglob("*")
        if path.is_file() and (b"PRIVATE KEY" in path.read_bytes()[:4096] or "secret" in path.name)
    ]

    exposed = [path for path in keys if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert len(keys) > 4 * 8
    assert exposed == []


def test_a_new_node_is_enrolled_and_let_in(network: Network) -> None:
    folder = network.enroll("hospital2", "raspberry-pi", ("trainer",))

    assert Identity.load(folder).name == "raspberry-pi"
    assert _refusal(network, "hospital2", "raspberry-pi") == Code.UNKNOWN_TRANSACTION


@pytest.mark.parametrize("name", ["node1", "../node1", "Node", ""])
def test_a_name_that_is_taken_or_senseless_is_refused(network: Network, name: str) -> None:
    with pytest.raises(MedFabricError) as refusal:
        network.enroll("hospital1", name, ("trainer",))

    assert refusal.value.code == Code.CA_REFUSED


def test_an_identity_of_nobodys_making_is_turned_away(network: Network, tmp_path: Path) -> None:
    theirs = network.layout.user("hospital1", "node1")
    forged = crypto.Authority.create("ca.hospital1", tmp_path / "ca", "signing").identity(
        "node1", "client", ("trainer",)
    )
    folder = tmp_path / "user"
    Identity.load(theirs).save(folder)
    (folder / "certificate.pem").write_bytes(forged.certificate)
    crypto.write_secret(folder / "private_key.pem", forged.key)

    with pytest.raises(MedFabricError) as refusal:
        _evaluate(network, "hospital1", folder)

    assert refusal.value.code == Code.IDENTITY_REFUSED


@pytest.mark.parametrize("part", ["chaincode", "peer"])
def test_a_killed_process_comes_back(network: Network, part: str) -> None:
    name = f"hospital3.{part}"
    if name not in network.names():
        name = "devnet"
    network.kill(name)
    assert network.status()[name] is False
    assert not network.healthy(name)

    network.restart(name)

    wait_until(
        lambda: _answered(network, "hospital3"), f"hospital3 reaching the contracts after {name}"
    )
    assert all(network.status().values())


def test_an_unknown_process_is_answered_with_those_there_are(network: Network) -> None:
    for act in (network.kill, network.restart, network.require):
        with pytest.raises(MedFabricError, match=r"hospital1\.chaincode") as refusal:
            act("hospital1.nothing")
        assert refusal.value.code == Code.NO_SUCH_PROCESS


def test_the_command_line_tells_the_state_in_json(network: Network) -> None:
    folder = str(network.layout.folder)

    done = CliRunner().invoke(command, ["status", "--dir", folder, "--json"])

    told = json.loads(done.output)
    assert done.exit_code == 0
    assert told["kind"] == network.kind.value
    assert [process["name"] for process in told["processes"]] == network.names()
    assert all(process["memory_mb"] > 0 for process in told["processes"])


def test_the_command_line_prints_a_log(network: Network) -> None:
    folder, name = str(network.layout.folder), network.names()[-1]

    done = CliRunner().invoke(command, ["logs", name, "--dir", folder, "--lines", "3", "--json"])

    assert done.exit_code == 0
    assert json.loads(done.output)["name"] == name


def test_another_consortium_does_not_take_the_folder(network: Network, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")

    for folder, number in ((network.layout.folder, 5), (tmp_path, 4)):
        with pytest.raises(MedFabricError) as refusal:
            up(folder, network.kind, number)
        assert refusal.value.code == Code.NETWORK_EXISTS
    assert (tmp_path / "letters.txt").read_text() == "mine"


def test_data_outlives_down_and_up(network: Network) -> None:
    before = _heights(network)
    folder = str(network.layout.folder)

    network.down()

    assert not any(network.status().values())
    assert CliRunner().invoke(command, ["status", "--dir", folder]).exit_code == 8
    again = up(network.layout.folder, network.kind, 4)
    assert all(height >= before[slug] > 1 for slug, height in _heights(again).items())
    assert open_network(network.layout.folder).topology == network.topology
    wait_until(lambda: _answered(again, "hospital1"), "hospital1 reaching the contracts")


def _evaluate(network: Network, slug: str, user: Path) -> bytes:
    connection = Connection.load(network.layout.connection(slug))
    with Gateway.connect(connection, Identity.load(user)) as gateway:
        return gateway.evaluate([b"nothing:Nothing", b"{}"])


def _refusal(network: Network, slug: str, user: str) -> str:
    with pytest.raises(MedFabricError) as refusal:
        _evaluate(network, slug, network.layout.user(slug, user))
    return refusal.value.code


def _answered(network: Network, slug: str) -> bool:
    return _refusal(network, slug, "node1") == Code.UNKNOWN_TRANSACTION


def _heights(network: Network) -> dict[str, int]:
    heights = {}
    for hospital in network.topology.hospitals:
        answer = endorse(
            network.layout, hospital, "qscc", [b"GetChainInfo", b"medfabric"], "medfabric"
        )
        heights[hospital.slug] = ledger_pb2.BlockchainInfo.FromString(answer.payload).height
    return heights


def _answers(network: Network, slug: str, port: int, files: str | None) -> bool:
    """Whether a TLS server on the port goes on talking to a client with these files."""
    import socket

    home = network.layout.hospital(slug)
    context = ssl.create_default_context(cafile=home / "msp/tlscacerts/ca.pem")
    context.set_alpn_protocols(["h2", "http/1.1"])
    if files is not None:
        own = files.startswith("users")
        certificate, key = ("certificate", "private_key") if own else ("cert", "key")
        context.load_cert_chain(home / files.format(certificate), home / files.format(key))
    try:
        with (
            socket.create_connection((HOST, port), timeout=3) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            # In TLS 1.3 the server refuses the client's certificate only after the handshake.
            request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
            if tls.selected_alpn_protocol() == "h2":
                request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
            tls.sendall(request)
            return bool(tls.recv(1))
    except OSError:
        return False
