"""What orderers and peers refuse is told in their own words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from chaincode.schema.errors import MedFabricError
from network import channel, lifecycle
from network.chaincode import definitions
from network.fabric import FabricNetwork
from network.topology import Kind, create


@pytest.fixture
def network(tmp_path: Path) -> FabricNetwork:
    made = FabricNetwork(tmp_path, create(Kind.FABRIC, 2, "3.1.5"))
    made.layout.genesis.write_bytes(b"")
    return made


def test_orderer_s_refusal_is_told_in_its_words(
    network: FabricNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = SimpleNamespace(status_code=400, text='{"error":"invalid join block"}')
    session = SimpleNamespace(post=lambda *_, **__: answer)
    monkeypatch.setattr(channel, "admin_session", lambda *_: session)

    with pytest.raises(MedFabricError, match=r"MF-8009.*hospital.*invalid join block"):
        channel.join_orderers(network, network.topology.hospitals, b"")


def test_peer_s_refusal_to_install_is_told_in_its_words(
    network: FabricNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = SimpleNamespace(status=500, message="could not build the package")
    monkeypatch.setattr(lifecycle, "endorse", lambda *_, **__: refused)

    with pytest.raises(MedFabricError, match=r"MF-8010.*could not build the package"):
        lifecycle.deploy(network)


@pytest.mark.parametrize(
    "words",
    [
        "ordering: UNAVAILABLE: insufficient number of orderers could successfully process "
        "transaction to satisfy quorum requirement",
        "ordering: UNAVAILABLE: no orderer nodes available",
        "MF-7013: transaction 12ab may or may not have committed",
    ],
)
def test_an_approval_waits_for_orderers(
    network: FabricNetwork, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    answers = [lifecycle._failed(network.topology.hospitals[0], "approve", words), None]
    _approving(monkeypatch, answers)

    _approve_now(network)

    assert answers == []


def test_an_approval_that_orderers_refuse_is_told_at_once(
    network: FabricNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "ordering: ABORTED: received unsuccessful response from orderer: status=FORBIDDEN"
    _approving(
        monkeypatch, [lifecycle._failed(network.topology.hospitals[0], "approve", words), None]
    )

    with pytest.raises(MedFabricError, match=r"MF-8010.*FORBIDDEN"):
        _approve_now(network)


def _approving(monkeypatch: pytest.MonkeyPatch, answers: list[MedFabricError | None]) -> None:
    def approve(*_: object) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(lifecycle, "approve", approve)
    monkeypatch.setattr(lifecycle, "_is_committed", lambda *_: False)


def _approve_now(network: FabricNetwork) -> None:
    (definition, *_) = definitions(network.topology)
    lifecycle._approve_in_time(network, network.topology.hospitals[0], definition, 5)


def test_package_is_the_same_bytes_every_time_and_carries_no_key() -> None:
    made = create(Kind.FABRIC, 2, "3.1.5", further={"other": ()})
    contracts, other = definitions(made)

    assert lifecycle.package(contracts) == lifecycle.package(contracts)
    assert b"PRIVATE" not in lifecycle.package(contracts)
    assert lifecycle.package_id(contracts).startswith("medfabric_1:")
    assert lifecycle.package_id(other).startswith("other_1:")
