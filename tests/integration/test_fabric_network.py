"""What only real Fabric has: Byzantine orderers, lifecycle, certificate authorities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.schema.errors import Code, MedFabricError
from client import tools
from client.identity import Identity
from network import binaries, channel, crypto
from network.base import Network, up, wait_until
from network.endorsing import admin_gateway, endorse
from network.fabric import FabricNetwork
from network.fabric_ca import Service
from network.topology import Kind

pytestmark = [
    pytest.mark.fabric,
    pytest.mark.skipif(not binaries.present(), reason="Fabric's programs are not here"),
]
needs_ca = pytest.mark.skipif(
    tools.find(binaries.AUTHORITY) is None, reason="fabric-ca-server is not here"
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FabricNetwork]:
    made = up(tmp_path_factory.mktemp("network") / "consortium", Kind.FABRIC, 4)
    assert isinstance(made, FabricNetwork)
    try:
        yield made
    finally:
        made.down()


def test_every_hospital_approved_and_a_majority_endorses(network: Network) -> None:
    args = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="medfabric")
    for hospital in network.topology.hospitals:
        answer = endorse(
            network.layout,
            hospital,
            "_lifecycle",
            [b"QueryChaincodeDefinition", args.SerializeToString()],
            "medfabric",
        )
        found = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(answer.payload)
        policy = policy_pb2.ApplicationPolicy.FromString(found.validation_parameter)

        assert found.sequence == 1
        assert dict(found.approvals) == {h.msp_id: True for h in network.topology.hospitals}
        assert policy.channel_config_policy_reference == "/Channel/Application/Endorsement"


@pytest.mark.parametrize("number", [1, 3])
def test_three_of_four_orderers_go_on_and_the_fourth_catches_up(
    network: FabricNetwork, number: int
) -> None:
    # The first is the leader when the network is new: its loss costs a change of view.
    killed, witness = network.topology.hospitals[number - 1], network.topology.hospitals[-1]
    network.kill(f"{killed.slug}.orderer")
    before = channel.orderer_height(network, witness)

    _commit_something(network, witness.slug)

    assert channel.orderer_height(network, witness) > before
    network.restart(f"{killed.slug}.orderer")
    _commit_something(network, witness.slug)
    wait_until(
        lambda: channel.orderer_height(network, killed) == channel.orderer_height(network, witness),
        f"the orderer of {killed.slug} catching up",
    )


def test_transactions_go_on_without_one_peer_and_it_catches_up(network: Network) -> None:
    network.kill("hospital2.peer")
    _commit_something(network, "hospital1")
    network.restart("hospital2.peer")

    wait_until(lambda: _height(network, 0) == _height(network, 1), "hospital2 catching up", 60)


@needs_ca
def test_the_authority_knows_whom_it_enrolled(network: Network) -> None:
    assert Service(network.layout, network.topology.hospitals[0]).names() == [
        *("admin", "auditor", "node1", "registrar")
    ]


@needs_ca
def test_an_enrolled_identity_has_the_shape_of_our_own(network: Network) -> None:
    hospital = network.topology.hospitals[0]
    theirs = _certificate(network.layout.user(hospital.slug, "node1"))

    extension = theirs.extensions.get_extension_for_oid(crypto.ATTRIBUTES).value
    assert isinstance(extension, x509.UnrecognizedExtension)
    assert b'"medfabric.roles":"trainer,validator"' in extension.value
    assert theirs.subject.rfc4514_string() == "CN=node1,OU=client"


@needs_ca
def test_reenrolment_gives_a_new_key_that_works(network: Network) -> None:
    hospital = network.topology.hospitals[3]
    folder = network.layout.user(hospital.slug, "node1")
    before = Identity.load(folder)

    after = Identity.load(network.renew(hospital.slug, "node1"))

    assert after.public_key_sha256 != before.public_key_sha256
    assert (after.name, after.roles) == (before.name, before.roles)
    assert Identity.load(folder).public_key_sha256 == before.public_key_sha256


@needs_ca
def test_a_revoked_identity_is_on_the_list_and_cannot_enrol_again(network: Network) -> None:
    hospital = network.topology.hospitals[2]
    folder = network.enroll(hospital.slug, "stolen-laptop", ("trainer",))
    service = Service(network.layout, hospital)

    revoked = x509.load_pem_x509_crl(service.revoke("stolen-laptop"))

    assert _certificate(folder).serial_number in {entry.serial_number for entry in revoked}
    with pytest.raises(MedFabricError) as refusal:
        network.renew(hospital.slug, "stolen-laptop")
    assert refusal.value.code == Code.CA_REFUSED


@needs_ca
def test_an_authority_that_is_down_is_told(network: Network) -> None:
    network.kill("hospital4.ca")

    with pytest.raises(MedFabricError, match="hospital4") as failure:
        network.enroll("hospital4", "late", ("trainer",))

    assert failure.value.code == Code.UNREACHABLE
    network.restart("hospital4.ca")
    assert Identity.load(network.enroll("hospital4", "late", ("trainer",))).name == "late"


def _commit_something(network: Network, slug: str) -> None:
    """Approve the chaincode's next definition: a real transaction that changes nothing in force."""
    hospital = network.topology.hospital(slug)
    args = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        name="medfabric",
        version=f"trial-{_height(network, 0)}",
        sequence=2,
        source=lifecycle_pb2.ChaincodeSource(
            unavailable=lifecycle_pb2.ChaincodeSource.Unavailable()
        ),
    )
    request = [b"ApproveChaincodeDefinitionForMyOrg", args.SerializeToString()]
    with admin_gateway(network.layout, hospital) as gateway:
        gateway.submit(request, chaincode="_lifecycle", organizations=[hospital.msp_id])


def _height(network: Network, index: int) -> int:
    from fabric_protos.common import ledger_pb2

    hospital = network.topology.hospitals[index]
    answer = endorse(network.layout, hospital, "qscc", [b"GetChainInfo", b"medfabric"], "medfabric")
    return int(ledger_pb2.BlockchainInfo.FromString(answer.payload).height)


def _certificate(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())
