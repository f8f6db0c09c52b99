"""The genesis block: well-formed, deterministic, and configtxgen's own structure."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.orderer.smartbft import configuration_pb2 as smartbft_pb2

from client import tools
from network import crypto, genesis, topology
from network.topology import HOST, Hospital, Kind, Layout, Topology

CONFIGTXGEN = tools.find("configtxgen")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Topology, Layout]:
    layout = Layout(tmp_path_factory.mktemp("consortium"))
    consortium = topology.create(Kind.FABRIC, 4)
    for hospital in consortium.hospitals:
        crypto.create_hospital(layout, hospital)
    return consortium, layout


def test_the_block_hashes_its_one_configuration(made: tuple[Topology, Layout]) -> None:
    block = common_pb2.Block.FromString(genesis.block(*made))

    assert (block.header.number, block.header.previous_hash) == (0, b"")
    assert block.header.data_hash == hashlib.sha256(b"".join(block.data.data)).digest()
    assert len(block.metadata.metadata) == len(common_pb2.BlockMetadataIndex.keys())


def test_the_same_material_makes_the_same_bytes(made: tuple[Topology, Layout]) -> None:
    assert genesis.block(*made) == genesis.block(*made)


@pytest.mark.parametrize(("hospitals", "needed"), [(2, 2), (4, 3), (5, 4), (7, 5), (10, 7)])
def test_blocks_need_a_byzantine_quorum_of_orderers(
    tmp_path: Path, hospitals: int, needed: int
) -> None:
    layout, consortium = Layout(tmp_path), topology.create(Kind.FABRIC, hospitals)
    for hospital in consortium.hospitals:
        crypto.create_hospital(layout, hospital)

    group = genesis.channel_group(consortium, layout)

    policy = group.groups["Orderer"].policies["BlockValidation"].policy
    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(policy.value)
    assert envelope.rule.n_out_of.n == needed
    assert len(envelope.identities) == hospitals


@pytest.mark.fabric
@pytest.mark.skipif(CONFIGTXGEN is None, reason="configtxgen is not here")
def test_configtxgen_makes_the_same_configuration(
    made: tuple[Topology, Layout], tmp_path: Path
) -> None:
    consortium, layout = made
    (tmp_path / "configtx.yaml").write_text(json.dumps(_configtx(consortium, layout)))
    block = tmp_path / "genesis.block"

    subprocess.run(
        [
            *(str(CONFIGTXGEN), "-configPath", str(tmp_path), "-profile", "Consortium"),
            *("-channelID", consortium.channel, "-outputBlock", str(block)),
        ],
        check=True,
        capture_output=True,
    )

    theirs = _flat(_group(block.read_bytes()))
    ours = _flat(_group(genesis.block(consortium, layout)))
    assert ours == theirs


def _group(raw: bytes) -> configtx_pb2.ConfigGroup:
    block = common_pb2.Block.FromString(raw)
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    return configtx_pb2.ConfigEnvelope.FromString(payload.data).config.channel_group


def _flat(group: configtx_pb2.ConfigGroup, path: str = "") -> dict[str, Any]:
    """Every value and policy by its path, decoded where bytes may differ for the same meaning."""
    found: dict[str, Any] = {f"{path}/": group.mod_policy}
    for name, value in group.values.items():
        found[f"{path}/value {name}"] = (value.mod_policy, _value(name, value.value))
    for name, entry in group.policies.items():
        found[f"{path}/policy {name}"] = (entry.mod_policy, _policy(entry.policy))
    for name, inner in group.groups.items():
        found |= _flat(inner, f"{path}/{name}")
    return found


def _value(name: str, raw: bytes) -> Any:
    if name != "ConsensusType":
        return raw
    consensus = orderer_pb2.ConsensusType.FromString(raw)
    return consensus.type, str(smartbft_pb2.Options.FromString(consensus.metadata))


def _policy(policy: policies_pb2.Policy) -> Any:
    if policy.type == policies_pb2.Policy.PolicyType.IMPLICIT_META:
        return str(policies_pb2.ImplicitMetaPolicy.FromString(policy.value))
    return str(policies_pb2.SignaturePolicyEnvelope.FromString(policy.value))


def _configtx(consortium: Topology, layout: Layout) -> dict[str, Any]:
    hospitals = consortium.hospitals
    consenters = [_consenter(hospital, layout) for hospital in hospitals]
    return {
        "Profiles": {
            "Consortium": {
                "Policies": _META,
                "Capabilities": {"V3_0": True},
                "Orderer": {
                    "OrdererType": "BFT",
                    "Addresses": [],
                    "BatchTimeout": "50ms",
                    "BatchSize": {
                        "MaxMessageCount": 100,
                        "AbsoluteMaxBytes": "10 MB",
                        "PreferredMaxBytes": "2 MB",
                    },
                    "SmartBFT": _SMARTBFT,
                    "ConsenterMapping": consenters,
                    "Organizations": [_orderers(hospital, layout) for hospital in hospitals],
                    "Policies": {**_META, "BlockValidation": _meta("ANY Writers")},
                    "Capabilities": {"V2_0": True},
                },
                "Application": {
                    "Organizations": [_members(hospital, layout) for hospital in hospitals],
                    "Policies": {
                        **_META,
                        "LifecycleEndorsement": _meta("MAJORITY Endorsement"),
                        "Endorsement": _meta("MAJORITY Endorsement"),
                    },
                    "Capabilities": {"V2_5": True},
                },
            }
        }
    }


def _orderers(hospital: Hospital, layout: Layout) -> dict[str, Any]:
    name = hospital.msp_id
    return {
        "Name": name,
        "ID": name,
        "MSPDir": str(layout.hospital(hospital.slug) / "msp"),
        "OrdererEndpoints": [f"{HOST}:{hospital.ports.orderer}"],
        "Policies": {
            "Readers": _signed(f"OR('{name}.member')"),
            "Writers": _signed(f"OR('{name}.member')"),
            "Admins": _signed(f"OR('{name}.admin')"),
        },
    }


def _members(hospital: Hospital, layout: Layout) -> dict[str, Any]:
    name = hospital.msp_id
    return {
        "Name": name,
        "ID": name,
        "MSPDir": str(layout.hospital(hospital.slug) / "msp"),
        "AnchorPeers": [{"Host": HOST, "Port": hospital.ports.peer}],
        "Policies": {
            "Readers": _signed(f"OR('{name}.admin', '{name}.peer', '{name}.client')"),
            "Writers": _signed(f"OR('{name}.admin', '{name}.client')"),
            "Admins": _signed(f"OR('{name}.admin')"),
            "Endorsement": _signed(f"OR('{name}.peer')"),
        },
    }


def _consenter(hospital: Hospital, layout: Layout) -> dict[str, Any]:
    folder = layout.hospital(hospital.slug) / "orderer"
    return {
        "ID": hospital.consenter_id,
        "Host": HOST,
        "Port": hospital.ports.orderer,
        "MSPID": hospital.msp_id,
        "Identity": str(folder / "msp/signcerts/cert.pem"),
        "ClientTLSCert": str(folder / "tls/cert.pem"),
        "ServerTLSCert": str(folder / "tls/cert.pem"),
    }


def _meta(rule: str) -> dict[str, str]:
    return {"Type": "ImplicitMeta", "Rule": rule}


def _signed(rule: str) -> dict[str, str]:
    return {"Type": "Signature", "Rule": rule}


_META = {
    "Readers": _meta("ANY Readers"),
    "Writers": _meta("ANY Writers"),
    "Admins": _meta("MAJORITY Admins"),
}
_SMARTBFT = {
    "RequestBatchMaxCount": 100,
    "RequestBatchMaxBytes": 10 * 1024 * 1024,
    "RequestBatchMaxInterval": "50ms",
    "IncomingMessageBufferSize": 200,
    "RequestPoolSize": 400,
    "RequestForwardTimeout": "2s",
    "RequestComplainTimeout": "5s",
    "RequestAutoRemoveTimeout": "3m",
    "RequestMaxBytes": 10 * 1024 * 1024,
    "ViewChangeResendInterval": "2s",
    "ViewChangeTimeout": "10s",
    "LeaderHeartbeatTimeout": "5s",
    "LeaderHeartbeatCount": 10,
    "CollectTimeout": "1s",
    "SyncOnStart": False,
    "SpeedUpViewChange": False,
    "LeaderRotation": 1,
    "DecisionsPerLeader": 3,
}
