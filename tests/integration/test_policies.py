"""Half of four hospitals leave, one after the other; what the others own stays writable, in memory,
on the devnet and on Fabric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.network_scenario import NetworkScenario
from support.networks import KINDS
from support.owners import old_policies, own_everything, renew, rewrite
from support.scenario import HOSPITALS, Scenario

from chaincode.schema.errors import Code
from chaincode.schema.policies import Owned
from client import blocks
from client.audit import proof
from client.connection import Connection
from client.identity import Identity
from network import membership
from network.base import up

ONE, TWO, THREE, FOUR = HOSPITALS


@dataclass
class Consortium:
    """Its life; how a hospital's peer and orderer are taken away; what proves it at the end."""

    life: Scenario
    take_away: Callable[[str], None]
    prove: Callable[[], None]


@pytest.fixture(params=["memory", *KINDS])
def consortium(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Consortium]:
    if request.param == "memory":
        # There the members' peers endorse, and no others.
        yield Consortium(Scenario(), lambda _: None, lambda: None)
        return
    network = up(tmp_path / "consortium", request.param, 4)
    life = NetworkScenario(network)

    def take_away(msp_id: str) -> None:
        life.forget(msp_id)
        slug = next(h.slug for h in network.topology.hospitals if h.msp_id == msp_id)
        assert membership.remove(network, slug, lambda _: None)

    def prove() -> None:
        layout = network.layout
        connection = Connection.load(layout.connection("hospital1"))
        auditor = Identity.load(layout.user("hospital1", "auditor"))
        height = blocks.fetch(connection, auditor, tmp_path / "blocks")
        verdict, _ = proof.prove(tmp_path / "blocks", layout.genesis.read_bytes(), height)
        assert verdict.findings == []

    try:
        yield Consortium(life, take_away, prove)
        life.close()
    finally:
        network.down()


def test_what_the_rest_owns_outlives_half_of_the_hospitals(consortium: Consortium) -> None:
    life = consortium.life
    own_everything(life)
    rewrite(life, 2)

    life.do(FOUR, "consortium:Leave", {"reason": "merged"})
    consortium.take_away(FOUR)
    early = life.refused(THREE, "consortium:Leave", {"reason": "merged"})
    assert early.code == Code.POLICIES_OLD
    assert renew(life, ONE) == set(Owned)
    assert life.refused(THREE, "consortium:Leave", {"reason": "merged"}).code == early.code
    renew(life, TWO)
    life.do(THREE, "consortium:Leave", {"reason": "merged"})
    consortium.take_away(THREE)

    rewrite(life, 3)
    # Those that no transaction of the two changes are written by the renewal.
    assert {policy["lost"] for policy in old_policies(life, ONE)} == {False}
    renew(life, ONE)
    assert old_policies(life, ONE) == []
    consortium.prove()
