"""The auditor finds every change to a ledger, and believes an untouched one, from files alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.networks import KINDS

from chaincode.schema import canonical
from chaincode.schema.base import PageArgs, Role
from chaincode.schema.consortium import Subject
from chaincode.schema.errors import Code, MedFabricError
from client import blocks
from client.audit import graph, proof, reputations
from client.audit.channel import Channel
from client.audit.policy import UnsupportedPolicyError
from client.audit.transactions import parse
from client.connection import Connection
from client.consortium import Consortium
from client.identity import Identity
from network.base import Network, up


@dataclass
class Bundle:
    """A ledger's files, fetched from a network that has been taken down since."""

    folder: Path
    genesis: bytes
    height: int


@pytest.fixture(scope="module", params=KINDS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("audited")
    network = up(folder / "consortium", request.param, 4)
    try:
        hospital = network.topology.hospitals[0].slug
        connection = network.layout.connection(hospital)
        with Consortium.connect(connection, network.layout.user(hospital, "admin")) as admin:
            _found(network, admin)
            _read_a_long_range(admin)
        auditor = Identity.load(network.layout.user(hospital, "auditor"))
        height = blocks.fetch(Connection.load(connection), auditor, folder / "blocks")
    finally:
        network.down()
    return Bundle(folder / "blocks", network.layout.genesis.read_bytes(), height)


def _found(network: Network, admin: Consortium) -> None:
    hospitals = network.topology.hospitals
    founders = tuple({"msp_id": h.msp_id, "name": h.slug} for h in hospitals)
    charter = admin.charter.found(name="Audited", hospitals=founders)
    subject = {"subject": Subject.CHARTER, "subject_id": "Audited"}
    for hospital in hospitals[1:]:
        layout = network.layout
        folder = layout.user(hospital.slug, "admin")
        with Consortium.connect(layout.connection(hospital.slug), folder) as other:
            other.catch_up(admin)
            other.charter.vote(
                **subject, subject_sha256=charter.charter_sha256, approve=True, reason=""
            )
            admin.catch_up(other)
    admin.charter.advance(**subject)


def _read_a_long_range(admin: Consortium) -> None:
    """Order a query of so many results that Fabric writes down hashes of them."""
    for number in range(55):
        admin.nodes.register(
            node_id=f"node{number}",
            roles=(Role.TRAINER,),
            public_key_sha256=f"{number:064x}",
            device="laptop",
        )
    admin.gateway.submit([b"node:List", canonical.dumps(PageArgs(page_size=60))])


def test_untouched_ledger_is_proven_from_files_alone(bundle: Bundle) -> None:
    verdict, ledger = proof.prove(bundle.folder, bundle.genesis, bundle.height)

    assert verdict.findings == []
    assert verdict.blocks == bundle.height
    written = [key for key in ledger.writings if "consortium" in key]
    assert written
    writing = ledger.writings[written[0]][0]
    assert (writing.msp_id, writing.common_name) == ("Hospital1MSP", "admin")
    assert list(graph.check(ledger)) == []
    assert list(reputations.check(ledger)) == []
    assert len(writing.endorsers) >= 3


def test_a_summary_of_the_long_range_was_written(bundle: Bundle) -> None:
    channel = Channel.of_block(common_pb2.Block.FromString(bundle.genesis))
    block = blocks.parse(blocks.read(bundle.folder, bundle.height - 1))

    ranges = parse(block.data.data[0], channel, "medfabric").ranges

    # That it is right was proven above.
    assert len([read for read in ranges if read.summary is not None]) == 1


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_flipped_bit_in_any_block_is_found(
    bundle: Bundle, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, bundle.height - 1))
    content = bytearray((bundle.folder / blocks.file_name(number)).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    folder = tmp_path_factory.mktemp("tampered")
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    (folder / blocks.file_name(number)).write_bytes(content)

    verdict, _ = proof.prove(folder, bundle.genesis, bundle.height)

    assert not verdict.proven
    shutil.rmtree(folder)


def test_every_byte_of_the_newest_block_is_covered(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / blocks.file_name(bundle.height - 1)
    content = path.read_bytes()

    # Every tenth here, starting elsewhere in each block; the property above draws the others.
    for place in range(bundle.height % 10, len(content), max(1, len(content) // 150)):
        changed = bytearray(content)
        changed[place] ^= 0x01
        path.write_bytes(changed)
        verdict, _ = proof.prove(tmp_path, bundle.genesis, bundle.height)
        assert not verdict.proven, place


def test_removed_block_is_found(bundle: Bundle, tmp_path: Path) -> None:
    for number in range(bundle.height):
        folder = tmp_path / str(number)
        shutil.copytree(bundle.folder, folder)
        (folder / blocks.file_name(number)).unlink()

        verdict, _ = proof.prove(folder, bundle.genesis, bundle.height)

        assert not verdict.proven
        assert verdict.findings[-1].code in ("MF-7501", "MF-7503")


def test_other_genesis_block_refutes_the_ledger(bundle: Bundle) -> None:
    block = common_pb2.Block.FromString(bundle.genesis)
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    envelope.signature = b"another"
    block.data.data[0] = envelope.SerializeToString()

    with pytest.raises(MedFabricError, match="MF-7506"):
        proof.prove(bundle.folder, block.SerializeToString())


def test_forged_endorsement_is_found_even_where_everything_else_is_made_to_fit(
    bundle: Bundle, tmp_path: Path
) -> None:
    shutil.copytree(bundle.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / blocks.file_name(bundle.height - 1)
    block = common_pb2.Block.FromString(path.read_bytes())
    block.data.data[0] = _without_endorsements(block.data.data[0])
    path.write_bytes(block.SerializeToString(deterministic=True))

    verdict, _ = proof.prove(tmp_path, bundle.genesis, bundle.height)

    codes = {finding.code for finding in verdict.findings}
    # The data hash no longer fits, and neither does the creator's signature under its flag.
    assert {"MF-7503", "MF-7505"} <= codes


def _without_endorsements(raw: bytes) -> bytes:
    envelope = common_pb2.Envelope.FromString(raw)
    payload = common_pb2.Payload.FromString(envelope.payload)
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    for endorsement in action.action.endorsements:
        endorsement.signature = b"forged"
    transaction.actions[0].payload = action.SerializeToString()
    payload.data = transaction.SerializeToString()
    envelope.payload = payload.SerializeToString()
    return bytes(envelope.SerializeToString())


def test_block_that_too_few_orderers_signed_is_found(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / blocks.file_name(1)
    block = common_pb2.Block.FromString(path.read_bytes())
    signatures = common_pb2.Metadata.FromString(block.metadata.metadata[0])
    del signatures.signatures[2:]
    block.metadata.metadata[0] = signatures.SerializeToString()
    path.write_bytes(block.SerializeToString(deterministic=True))

    verdict, _ = proof.prove(tmp_path, bundle.genesis, bundle.height)

    assert [finding.code for finding in verdict.findings] == ["MF-7504"]


def test_orderers_whose_policy_is_not_understood_prove_nothing(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> bool:
        raise UnsupportedPolicyError("of an unknown kind")

    # A genesis block with such a policy is refused; this is for what a later block may bring.
    monkeypatch.setattr(Channel, "block_signers_suffice", unknown)

    verdict, _ = proof.prove(bundle.folder, bundle.genesis, bundle.height)

    assert not verdict.proven
    assert verdict.findings[0].code == Code.CONFIG_UNSUPPORTED
