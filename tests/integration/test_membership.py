"""A consortium that changes while it runs: hospitals come and go, certificates are revoked.

One life for both networks, in the order of the file; after every change the ledger is proven from
its genesis block.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.peer import transaction_pb2
from support.networks import KINDS

from chaincode.schema import canonical
from chaincode.schema.base import Role
from chaincode.schema.consortium import RegisterNodeArgs, Subject
from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client.audit import definitions, proof
from client.audit.blocks import data_hash
from client.audit.transactions import sets_config
from client.cli.main import cli
from client.cli.output import Exit
from client.connection import Connection
from client.consortium import Consortium
from client.gateway import CommitError, EndorseError, Gateway
from client.gateway.proposal import Proposal
from client.identity import Identity
from network import chaincode, lifecycle
from network.base import Network, open_network, up, wait_until
from network.topology import Kind

Validation = transaction_pb2.TxValidationCode


@dataclass
class Life:
    """The network, and how often something was registered."""

    network: Network
    work: Path
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10, 1000)))

    @property
    def folder(self) -> str:
        return str(self.network.layout.folder)

    def command(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """What a command of ours tells."""
        done = CliRunner().invoke(cli, [*arguments, "--json"])
        assert done.exit_code == code, done.output
        self.network = open_network(self.network.layout.folder)
        return dict(json.loads(done.stdout or done.stderr))

    def gateway(self, slug: str, user: str = "admin") -> Gateway:
        layout = self.network.layout
        identity = Identity.load(layout.user(slug, user))
        return Gateway.connect(Connection.load(layout.connection(slug)), identity)

    def registering(self, gateway: Gateway, *organizations: str) -> Proposal:
        number = next(self.numbers)
        args = RegisterNodeArgs(
            node_id=f"node{number}",
            roles=(Role.TRAINER,),
            public_key_sha256=f"{number:064x}",
            device="laptop",
        )
        arguments = [b"node:Register", canonical.dumps(args)]
        return Proposal(gateway, arguments, organizations=organizations)

    def register(self, slug: str, *organizations: str, user: str = "admin") -> None:
        with self.gateway(slug, user) as gateway:
            proposal = self.registering(gateway, *organizations)
            proposal.endorse().submit().status().check()

    def fetched(self) -> tuple[Path, int]:
        folder = self.work / "blocks"
        layout = self.network.layout
        auditor = Identity.load(layout.user("hospital1", "auditor"))
        height = blocks.fetch(Connection.load(layout.connection("hospital1")), auditor, folder)
        return folder, height

    def proven(self) -> proof.Ledger:
        folder, height = self.fetched()
        genesis = self.network.layout.genesis.read_bytes()
        verdict, ledger = proof.prove(folder, genesis, height)
        assert verdict.findings == []
        told = ("--genesis", str(self.network.layout.genesis), "--height", str(height))
        assert self.command("audit", "verify", str(folder), *told)["verdict"] == "proven"
        return ledger


@pytest.fixture(scope="module", params=KINDS)
def life(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    work = tmp_path_factory.mktemp("membership")
    made = Life(up(work / "consortium", request.param, 4), work)
    try:
        _found(made.network)
        yield made
    finally:
        made.network.down()


def _found(network: Network) -> None:
    layout, hospitals = network.layout, network.topology.hospitals
    subject = {"subject": Subject.CHARTER, "subject_id": "Changing"}
    founders = tuple({"msp_id": h.msp_id, "name": h.slug} for h in hospitals)
    first = layout.user("hospital1", "admin")
    with Consortium.connect(layout.connection("hospital1"), first) as admin:
        charter = admin.charter.found(name="Changing", hospitals=founders)
        for hospital in hospitals[1:]:
            folder = layout.user(hospital.slug, "admin")
            with Consortium.connect(layout.connection(hospital.slug), folder) as other:
                other.catch_up(admin)
                other.charter.vote(
                    **subject, subject_sha256=charter.charter_sha256, approve=True, reason=""
                )
                admin.catch_up(other)
        admin.charter.advance(**subject)


def test_fifth_hospital_joins_and_endorses(life: Life) -> None:
    # A command that was killed half-way left this.
    (life.network.layout.hospital("hospital5") / "ca").mkdir(parents=True)

    told = life.command("network", "add-hospital", "hospital5", "--dir", life.folder)

    assert told["done"]
    assert all(life.network.healthy(name) for name in life.network.names())
    life.register("hospital1", "Hospital1MSP", "Hospital2MSP", "Hospital5MSP")
    ledger = life.proven()
    assert ledger.channel.hospitals == tuple(f"Hospital{n}MSP" for n in range(1, 6))
    last = max((w for w in ledger.writings.values()), key=lambda w: w[-1].block)[-1]
    assert "Hospital5MSP" in last.endorsers
    # Its own people reach the contracts by its own peer.
    with life.gateway("hospital5") as gateway, pytest.raises(MedFabricError) as caught:
        gateway.evaluate([b"none:None", b"{}"])
    assert caught.value.code == Code.UNKNOWN_TRANSACTION


def test_its_orderer_takes_part_in_the_quorum(life: Life) -> None:
    if life.network.kind is not Kind.FABRIC:
        pytest.skip("the devnet's orderers are one process")
    life.network.kill("hospital2.orderer")

    # Of five orderers four must sign: without one of the old ones the new one must.
    life.register("hospital1")

    life.network.restart("hospital2.orderer")
    life.proven()


def test_policy_is_changed_by_admins_who_sign_one_after_the_other(life: Life) -> None:
    change = life.work / "change.pb"
    to_all = ("Application/Endorsement", "ALL", "--dir", life.folder, "--change", str(change))
    assert not life.command("network", "set-policy", *to_all)["done"]
    layout = life.network.layout
    submit = ("admin", "config", "submit", str(change), "--identity")
    submitter = str(layout.user("hospital3", "admin"))
    through = ("--connection", str(layout.connection("hospital3")))
    for slug in ("hospital3", "hospital4"):
        signer = str(layout.user(slug, "admin"))
        life.command("admin", "config", "sign", str(change), "--identity", signer)

    refused = life.command(*submit, submitter, *through, code=Exit.REFUSED)
    last = str(layout.user("hospital5", "admin"))
    life.command("admin", "config", "sign", str(change), "--identity", last)
    told = life.command("admin", "config", "show", str(change))
    life.command(*submit, submitter, *through)

    assert refused["error"] == Code.CONFIG_REFUSED
    assert told["signed_by"] == ["Hospital3MSP", "Hospital4MSP", "Hospital5MSP"]
    assert told["changes"] == {"Channel/Application/Endorsement": "modified"}
    with life.gateway("hospital1") as gateway:
        few = life.registering(gateway, "Hospital1MSP", "Hospital2MSP", "Hospital3MSP").endorse()
        with pytest.raises(CommitError):
            few.submit().status().check()
    life.register("hospital1")
    life.proven()
    back = ("Application/Endorsement", "MAJORITY", "--dir", life.folder)
    assert life.command("network", "set-policy", *back)["done"]
    life.register("hospital1", "Hospital1MSP", "Hospital2MSP", "Hospital3MSP")


def test_revoked_identity_is_refused_and_what_it_did_stays_proven(life: Life) -> None:
    life.network.enroll("hospital2", "deputy", ("admin",))
    life.register("hospital2", user="deputy")
    with life.gateway("hospital2", "deputy") as deputy:
        endorsed = life.registering(deputy).endorse()

        told = life.command("network", "revoke", "hospital2", "deputy", "--dir", life.folder)

        assert told["done"]
        with pytest.raises(MedFabricError, match="FORBIDDEN"):
            endorsed.submit().status()
        with pytest.raises(MedFabricError, match="MF-7004"):
            life.registering(deputy).endorse()
    gone = str(life.network.layout.user("hospital2", "deputy"))
    asked = life.command("admin", "node", "list", "--identity", gone, code=Exit.REFUSED)
    assert asked["error"] == Code.IDENTITY_REFUSED
    ledger = life.proven()
    writings = [writing for written in ledger.writings.values() for writing in written]
    assert len({w.tx_id for w in writings if w.common_name == "deputy"}) == 1
    life.register("hospital2")
    again = life.command(
        "network", "revoke", "hospital2", "deputy", "--dir", life.folder, code=Exit.REFUSED
    )
    assert again["error"] == Code.CONFIG_REFUSED


def test_hospital_that_was_removed_endorses_no_more(life: Life) -> None:
    gone = ("Hospital1MSP", "Hospital2MSP", "Hospital4MSP")
    with life.gateway("hospital1") as gateway:
        endorsed = life.registering(gateway, *gone).endorse()

        told = life.command("network", "remove-hospital", "hospital4", "--dir", life.folder)

        assert told["hospitals"] == ["hospital1", "hospital2", "hospital3", "hospital5"]
        with pytest.raises(CommitError) as caught:
            endorsed.submit().status().check()
        assert "ENDORSEMENT_POLICY_FAILURE" in str(caught.value)
    assert not any(name.startswith("hospital4") for name in life.network.names())
    again = ("network", "add-hospital", "hospital4", "--dir", life.folder)
    assert life.command(*again, code=Exit.NETWORK)["error"] == Code.NETWORK_EXISTS
    life.register("hospital1")
    ledger = life.proven()
    assert "Hospital4MSP" not in ledger.channel.hospitals
    assert 4 not in ledger.channel.consenters


def test_contracts_are_upgraded_hospital_by_hospital(life: Life) -> None:
    told = life.command("network", "upgrade", "2", "--dir", life.folder)

    assert told == {"version": "2", "sequence": 2}
    life.register("hospital1")
    ledger = life.proven()
    assert definitions.version(ledger.state, "medfabric") == "2"
    for hospital in life.network.topology.hospitals:
        assert lifecycle.committed(life.network, hospital, "medfabric") == (2, "2")
    again = life.command("network", "upgrade", "2", "--dir", life.folder, code=Exit.NETWORK)
    assert again["error"] == Code.LIFECYCLE_FAILED


def test_definition_that_too_few_hospitals_approved_is_not_committed(life: Life) -> None:
    network = life.network
    (contracts,) = chaincode.definitions(network.topology)
    third = dataclasses.replace(contracts, version="3", sequence=3)
    hospitals = network.topology.hospitals
    lifecycle.approve(network, hospitals[0], third)

    ready = lifecycle.readiness(network, hospitals[1], third)

    assert ready == {h.msp_id: h == hospitals[0] for h in hospitals}
    with pytest.raises(MedFabricError, match="MF-8010"):
        lifecycle.commit(network, third, seconds=3.0)
    with pytest.raises(MedFabricError, match="MF-8010"):
        lifecycle.approve(network, hospitals[0], dataclasses.replace(third, sequence=5))
    assert lifecycle.committed(network, hospitals[0], "medfabric") == (2, "2")


def test_everything_stands_after_a_restart(life: Life) -> None:
    life.network.down()
    life.network.start()

    def registered() -> bool:
        # Fabric's peers have to find each other again.
        try:
            life.register("hospital2", "Hospital2MSP", "Hospital3MSP", "Hospital5MSP")
        except EndorseError:
            return False
        return True

    wait_until(registered, "an endorsement by hospitals 2, 3 and 5")
    life.proven()


def test_tampered_config_block_is_found(life: Life, tmp_path: Path) -> None:
    folder, height = life.fetched()
    genesis = life.network.layout.genesis.read_bytes()
    numbers = [
        number
        for number in range(1, height)
        if sets_config(blocks.parse(blocks.read(folder, number)))
    ]
    assert len(numbers) == 5
    for number in numbers:
        tampered = tmp_path / str(number)
        shutil.copytree(folder, tampered)
        block = blocks.parse(blocks.read(folder, number))
        block.data.data[0] = _by_anyone(block.data.data[0])
        block.header.data_hash = data_hash(block)
        path = tampered / blocks.file_name(number)
        path.write_bytes(block.SerializeToString(deterministic=True))

        verdict, _ = proof.prove(tampered, genesis, height)

        codes = {finding.code for finding in verdict.findings}
        # Neither do the orderers' signatures fit, nor is it what the hospitals agreed to.
        assert {Code.ORDERERS_UNSIGNED, Code.CONFIG_WRONG} <= codes
        assert {finding.block for finding in verdict.findings} == {number}


def _by_anyone(raw: bytes) -> bytes:
    """A config transaction with another endorsement policy slipped in."""
    from network import configuration

    envelope = common_pb2.Envelope.FromString(raw)
    payload = common_pb2.Payload.FromString(envelope.payload)
    content = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    anyone = configuration.with_policy(content.config, "Application/Endorsement", "ANY")
    content.config.CopyFrom(anyone)
    payload.data = content.SerializeToString(deterministic=True)
    envelope.payload = payload.SerializeToString()
    return bytes(envelope.SerializeToString())
