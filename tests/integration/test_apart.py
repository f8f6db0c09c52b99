"""A consortium whose hospitals each have a machine of their own, on real Fabric: here, a folder and
a loopback address each. One life, in the order of the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.networks import FABRIC

from chaincode.schema import canonical
from chaincode.schema.base import Role
from chaincode.schema.consortium import RegisterNodeArgs, Subject
from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client.audit import proof
from client.cli.main import cli
from client.cli.output import Exit
from client.connection import Connection
from client.consortium import Consortium
from client.gateway import EndorseError, Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network import apart, cards, lifecycle, topology
from network.base import open_network, wait_until
from network.cards import Card
from network.topology import Layout

pytestmark = FABRIC.marks
FOUNDERS = ("hospital1", "hospital2", "hospital3", "hospital4")
FIVE = "hospital5"
NAMED = "hospital2"


@dataclass
class Machines:
    """A folder for each hospital's machine, and one that cards and changes go through."""

    work: Path
    cards: dict[str, Card] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def folder(self, slug: str) -> Path:
        return self.work / slug

    def layout(self, slug: str) -> Layout:
        return Layout(self.folder(slug))

    def offer(self, slug: str) -> None:
        # One goes by name.
        listen = "127.0.0.1" if slug == NAMED else f"127.0.1.{slug[-1]}"
        host = "localhost" if slug == NAMED else listen
        card = self.work / f"{slug}.card"
        while True:
            apart.offer(self.folder(slug), slug, host, card, listen=listen)
            # The loopback interface is one for all of them here.
            (own,) = topology.load(self.folder(slug)).hospitals
            ports = set(vars(own.ports).values()) - {7050, 7051}
            if not ports & self.taken:
                break
            shutil.rmtree(self.folder(slug))
        self.taken |= ports
        self.cards[slug] = cards.read(card)

    def up(self, *slugs: str, seconds: float = 120) -> list[MedFabricError | None]:
        """All at once, as on machines of their own; what went wrong for each."""

        def one(slug: str) -> MedFabricError | None:
            try:
                apart.up(open_network(self.folder(slug)), lambda _: None, seconds)
            except MedFabricError as error:
                return error
            return None

        with ThreadPoolExecutor(len(slugs)) as pool:
            return list(pool.map(one, slugs))

    def command(self, slug: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What ``medfabric network`` tells on a machine."""
        given = ["network", *arguments, "--dir", str(self.folder(slug)), "--json"]
        done = CliRunner().invoke(cli, given)
        assert done.exit_code == code, done.output
        return dict(json.loads(done.stdout or done.stderr))

    def sign_and_submit(self, change: Path, slugs: Sequence[str]) -> None:
        """A prepared change goes from machine to machine."""
        for slug in slugs:
            admin = str(self.layout(slug).user(slug, "admin"))
            signed = CliRunner().invoke(
                cli, ["admin", "config", "sign", str(change), "--identity", admin]
            )
            assert signed.exit_code == 0, signed.output
        last = slugs[-1]
        admin, own = self.layout(last).user(last, "admin"), self.layout(last).connection(last)
        arguments = ["admin", "config", "submit", str(change), "--identity", str(admin)]
        done = CliRunner().invoke(cli, [*arguments, "--connection", str(own)])
        assert done.exit_code == 0, done.output
        self.follow(last, FOUNDERS)

    def follow(self, leader: str, slugs: Sequence[str]) -> None:
        """Wait until these hospitals' peers have all blocks that the leader's has."""
        with self.gateway(leader) as gateway:
            height = gateway.height()
        for slug in slugs:
            with self.gateway(slug) as gateway:
                wait_until(lambda: gateway.height() >= height, f"the blocks at {slug}", 60)

    def gateway(self, slug: str) -> Gateway:
        layout = self.layout(slug)
        identity = Identity.load(layout.user(slug, "admin"))
        return Gateway.connect(Connection.load(layout.connection(slug)), identity)

    def endorses(self, slug: str) -> None:
        """A hospital's peer, alone, runs the contracts for another hospital, which finds it by
        gossip."""
        args = RegisterNodeArgs(
            node_id="tried", roles=(Role.TRAINER,), public_key_sha256="ab" * 32, device="laptop"
        )
        arguments = [b"node:Register", canonical.dumps(args)]
        asking = "hospital2" if slug == "hospital1" else "hospital1"

        def done() -> bool:
            with self.gateway(asking) as gateway:
                try:
                    Proposal(
                        gateway, arguments, organizations=[f"{slug.capitalize()}MSP"]
                    ).endorse()
                except EndorseError as error:
                    if "for org(s)" in error.message:
                        return False
                    raise
            return True

        wait_until(done, f"the peer of {slug} endorsing", 30)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    made = Machines(tmp_path_factory.mktemp("machines"))
    try:
        for slug in FOUNDERS:
            made.offer(slug)
        yield made
    finally:
        for folder in made.work.iterdir():
            if (folder / topology.FILE).exists():
                open_network(folder).down()


def test_it_comes_up_when_enough_hospitals_are_there_and_no_sooner(machines: Machines) -> None:
    everyone = list(machines.cards.values())
    digests = {apart.found(machines.folder(slug), everyone) for slug in FOUNDERS}
    assert len(digests) == 1

    (early,) = machines.up("hospital2", seconds=2)
    assert early is not None
    assert early.code == Code.NOT_HEALTHY
    assert "3 of 4 orderers" in early.message

    assert machines.up(*FOUNDERS) == [None] * 4
    assert machines.up(*FOUNDERS) == [None] * 4
    for slug in FOUNDERS:
        told = machines.command(slug, "status")
        assert told["healthy"]
        assert {process["name"].partition(".")[0] for process in told["processes"]} == {slug}


def test_the_hospitals_govern_it_each_from_its_own_machine(machines: Machines) -> None:
    founders = tuple({"msp_id": f"{s.capitalize()}MSP", "name": s} for s in FOUNDERS)
    subject = {"subject": Subject.CHARTER, "subject_id": "Apart"}

    def admin(slug: str) -> Consortium:
        layout = machines.layout(slug)
        return Consortium.connect(layout.connection(slug), layout.user(slug, "admin"))

    with admin("hospital1") as first:
        charter = first.charter.found(name="Apart", hospitals=founders)
        for slug in FOUNDERS[1:]:
            with admin(slug) as other:
                other.catch_up(first)
                other.charter.vote(
                    **subject, subject_sha256=charter.charter_sha256, approve=True, reason=""
                )
                first.catch_up(other)
        first.charter.advance(**subject)
        for slug in FOUNDERS[1:]:
            with admin(slug) as other:
                other.catch_up(first)
    for slug in FOUNDERS:
        machines.endorses(slug)


def test_a_hospital_joins_from_its_own_machine(machines: Machines) -> None:
    machines.offer(FIVE)
    joining = [machines.cards[slug] for slug in (*FOUNDERS, FIVE)]
    genesis = machines.layout("hospital2").genesis.read_bytes()
    apart.found(machines.folder(FIVE), joining, genesis)
    change, card = machines.work / "join.pb", str(machines.work / f"{FIVE}.card")

    refused = machines.command("hospital1", "add-hospital", FIVE, code=Exit.NETWORK)
    assert Code.CARD_REFUSED in json.dumps(refused)
    alone = machines.command("hospital1", "add-hospital", FIVE, "--card", card, code=Exit.REFUSED)
    assert "hospital2" in json.dumps(alone)
    prepared = machines.command(
        "hospital1", "add-hospital", FIVE, "--card", card, "--change", str(change)
    )
    assert not prepared["done"]
    machines.sign_and_submit(change, FOUNDERS[:3])
    for slug in FOUNDERS:
        assert machines.command(slug, "add-hospital", FIVE, "--card", card)["done"]

    assert machines.up(FIVE) == [None]

    machines.endorses(FIVE)


def test_the_contracts_are_upgraded_by_all_at_once(machines: Machines) -> None:
    everyone = (*FOUNDERS, FIVE)

    def upgraded(slug: str) -> int:
        return lifecycle.upgrade(open_network(machines.folder(slug)), "2", lambda _: None)

    with ThreadPoolExecutor(len(everyone)) as pool:
        assert list(pool.map(upgraded, everyone)) == [2] * 5
    for slug in everyone:
        machines.endorses(slug)


def test_a_hospital_is_put_out_and_its_own_machine_cannot_do_it(machines: Machines) -> None:
    change = machines.work / "leave.pb"
    machines.command(FIVE, "remove-hospital", FIVE, code=Exit.NETWORK)
    machines.command("hospital1", "remove-hospital", FIVE, "--change", str(change))
    machines.sign_and_submit(change, FOUNDERS[:3])

    for slug in FOUNDERS:
        assert machines.command(slug, "remove-hospital", FIVE)["done"]
        assert len(topology.load(machines.folder(slug)).hospitals) == 4
    open_network(machines.folder(FIVE)).down()
    for slug in FOUNDERS:
        machines.endorses(slug)


def test_a_hospital_revokes_its_own_and_everything_is_proven(
    machines: Machines, tmp_path: Path
) -> None:
    told = machines.command("hospital4", "revoke", "hospital4", "node1")
    assert told["done"]
    machines.command("hospital1", "revoke", "hospital4", "node1", code=Exit.DATA)

    layout = machines.layout("hospital3")
    auditor = Identity.load(layout.user("hospital3", "auditor"))
    connection = Connection.load(layout.connection("hospital3"))
    height = blocks.fetch(connection, auditor, tmp_path / "blocks")
    verdict, _ = proof.prove(tmp_path / "blocks", layout.genesis.read_bytes(), height)
    assert verdict.findings == []
