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


def test_package_is_the_same_bytes_every_time_and_carries_no_key() -> None:
    made = create(Kind.FABRIC, 2, "3.1.5", further={"other": ()})
    contracts, other = definitions(made)

    assert lifecycle.package(contracts) == lifecycle.package(contracts)
    assert b"PRIVATE" not in lifecycle.package(contracts)
    assert lifecycle.package_id(contracts).startswith("medfabric_1:")
    assert lifecycle.package_id(other).startswith("other_1:")
