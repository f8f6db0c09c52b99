"""A start that fails: told with its reason, stopped whole, and tried again in the same folder."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaincode.schema.errors import Code, MedFabricError
from network import binaries, crypto, topology
from network.base import open_network, serves, up
from network.cli import network as command
from network.topology import HOST, Hospital, Kind, Layout


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[topology.Topology]:
    """A new consortium, one of whose ports somebody took in the meantime."""
    made = topology.create(Kind.DEVNET, 2)
    monkeypatch.setattr(topology, "create", lambda *_, **__: made)
    with socket.socket() as thief:
        thief.bind((HOST, made.hospitals[1].ports.chaincode))
        thief.listen()
        yield made


def test_a_taken_port_fails_the_start_and_only_logs_are_left(
    taken: topology.Topology, tmp_path: Path
) -> None:
    folder = tmp_path / "consortium"

    with pytest.raises(MedFabricError, match=r"hospital2\.chaincode") as failure:
        up(folder, Kind.DEVNET, 2)

    assert failure.value.code == Code.NOT_HEALTHY
    assert [entry.name for entry in folder.iterdir()] == ["logs"]
    with socket.socket() as probe:
        assert probe.connect_ex((HOST, taken.hospitals[0].ports.chaincode)) != 0


def test_after_a_failed_start_the_same_folder_will_do(tmp_path: Path) -> None:
    folder = tmp_path / "consortium"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "devnet.log").write_text("of an earlier try\n")

    made = up(folder, Kind.DEVNET, 2)

    try:
        assert all(made.healthy(name) for name in made.names())
    finally:
        made.down()


def test_a_consortium_that_cannot_start_again_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "consortium"
    made = up(folder, Kind.DEVNET, 2)
    made.down()
    port = made.topology.hospitals[1].ports.peer
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((HOST, port))
        thief.listen()

        with pytest.raises(MedFabricError, match=f"cannot listen on port {port}") as failure:
            up(folder, Kind.DEVNET, 2)

    assert failure.value.code == Code.NOT_HEALTHY
    assert [name for name in made.names() if made.processes.pid(name) is not None] == []


def test_what_a_killed_up_left_behind_is_stopped_and_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "consortium"
    first = up(folder, Kind.DEVNET, 2)
    topology.save(first.topology.model_copy(update={"complete": False}), folder)
    left_running = first.processes.pid("devnet")

    second = up(folder, Kind.DEVNET, 3)

    try:
        assert len(second.topology.hospitals) == 3
        assert topology.load(folder).complete
        assert not Path(f"/proc/{left_running}").exists()
    finally:
        second.down()


def test_a_strangers_server_on_the_port_is_not_taken_for_the_hospitals(tmp_path: Path) -> None:
    layout, hospital = _hospital(tmp_path)
    with socket.socket() as stranger:
        stranger.bind((HOST, hospital.ports.peer))
        stranger.listen()
        stranger.settimeout(0.1)

        assert not serves(layout, hospital, hospital.ports.peer)


def test_without_fabric_the_command_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MEDFABRIC_FABRIC_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    done = CliRunner().invoke(command, ["up", "--dir", str(tmp_path / "c")])

    assert isinstance(done.exception, MedFabricError)
    assert done.exception.code == Code.BINARY_MISSING
    assert "--devnet" in done.exception.message
    assert not (tmp_path / "c").exists()
    assert not binaries.present()


@pytest.mark.parametrize(
    "act", ["down", "status", "restart x", "logs x", "enroll h n --role admin"]
)
def test_every_command_says_where_no_consortium_is(tmp_path: Path, act: str) -> None:
    done = CliRunner().invoke(command, [*act.split(), "--dir", str(tmp_path)])

    assert isinstance(done.exception, MedFabricError)
    assert done.exception.code == Code.NO_NETWORK


def test_a_role_that_there_is_not_is_a_wrong_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        command, ["enroll", "hospital1", "n", "--role", "king", "--dir", str(tmp_path)]
    )

    assert done.exit_code == 2


def test_a_consortium_cannot_be_opened_by_a_folder_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(MedFabricError):
        open_network(tmp_path / "nowhere")


def _hospital(folder: Path) -> tuple[Layout, Hospital]:
    layout, hospital = Layout(folder), topology.create(Kind.DEVNET, 2).hospitals[0]
    crypto.create_hospital(layout, hospital)
    return layout, hospital
