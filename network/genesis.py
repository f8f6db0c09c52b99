"""The channel's genesis block, built from the topology; the same for both networks.

Structure and names are those of Fabric's channel configuration (docs: "Channel configuration"),
with the V3_0 channel capability and SmartBFT ordering, one consenter per hospital.
"""

from __future__ import annotations

import hashlib
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2, msp_principal_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.orderer.smartbft import configuration_pb2 as smartbft_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from client.audit.channel import block_validation
from network.topology import Hospital, Layout, Topology

ADMINS = "Admins"
_DATA_HASH_WIDTH = 2**32 - 1
_Meta = policies_pb2.ImplicitMetaPolicy.Rule


def block(topology: Topology, layout: Layout) -> bytes:
    """``common.Block`` bytes of the genesis block; deterministic for the same material."""
    config = configtx_pb2.Config(channel_group=channel_group(topology, layout))
    channel = common_pb2.ChannelHeader(
        type=common_pb2.HeaderType.CONFIG, version=1, channel_id=topology.channel
    )
    nonce = hashlib.sha256(_bytes(config)).digest()[:24]
    signature = common_pb2.SignatureHeader(nonce=nonce)
    channel.tx_id = hashlib.sha256(nonce).hexdigest()
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=_bytes(channel), signature_header=_bytes(signature)
        ),
        data=_bytes(configtx_pb2.ConfigEnvelope(config=config)),
    )
    envelope = _bytes(common_pb2.Envelope(payload=_bytes(payload)))
    last_config = common_pb2.LastConfig(index=0)
    signatures = common_pb2.OrdererBlockMetadata(last_config=last_config)
    return _bytes(
        common_pb2.Block(
            header=common_pb2.BlockHeader(number=0, data_hash=hashlib.sha256(envelope).digest()),
            data=common_pb2.BlockData(data=[envelope]),
            metadata=common_pb2.BlockMetadata(
                metadata=[
                    _bytes(common_pb2.Metadata(value=_bytes(signatures))),
                    _bytes(common_pb2.Metadata(value=_bytes(last_config))),
                    b"",
                    b"",
                    b"",
                ]
            ),
        )
    )


def channel_group(topology: Topology, layout: Layout) -> configtx_pb2.ConfigGroup:
    """The root group of the channel's configuration."""
    group = _group()
    _values(
        group,
        HashingAlgorithm=configuration_pb2.HashingAlgorithm(name="SHA256"),
        BlockDataHashingStructure=configuration_pb2.BlockDataHashingStructure(
            width=_DATA_HASH_WIDTH
        ),
        Capabilities=_capability("V3_0"),
    )
    _meta_policies(group)
    group.groups["Orderer"].CopyFrom(_orderer(topology, layout))
    group.groups["Application"].CopyFrom(_application(topology, layout))
    return group


def _orderer(topology: Topology, layout: Layout) -> configtx_pb2.ConfigGroup:
    group = _group()
    consenters = [consenter(hospital, layout) for hospital in topology.hospitals]
    options = _smartbft_options()
    _values(
        group,
        ConsensusType=orderer_pb2.ConsensusType(type="BFT", metadata=_bytes(options)),
        BatchSize=orderer_pb2.BatchSize(
            max_message_count=100,
            absolute_max_bytes=10 * 1024 * 1024,
            preferred_max_bytes=2 * 1024 * 1024,
        ),
        BatchTimeout=orderer_pb2.BatchTimeout(timeout="50ms"),
        ChannelRestrictions=orderer_pb2.ChannelRestrictions(),
        Capabilities=_capability("V2_0"),
        Orderers=configuration_pb2.Orderers(consenter_mapping=consenters),
    )
    _meta_policies(group)
    _policy(group, "BlockValidation", block_validation(consenters))
    for hospital in topology.hospitals:
        group.groups[hospital.msp_id].CopyFrom(orderer_organisation(hospital, layout))
    return group


def _application(topology: Topology, layout: Layout) -> configtx_pb2.ConfigGroup:
    group = _group()
    _values(group, Capabilities=_capability("V2_5"))
    _meta_policies(group)
    _policy(group, "LifecycleEndorsement", meta_policy("Endorsement", _Meta.MAJORITY))
    _policy(group, "Endorsement", meta_policy("Endorsement", _Meta.MAJORITY))
    for hospital in topology.hospitals:
        group.groups[hospital.msp_id].CopyFrom(application_organisation(hospital, layout))
    return group


def application_organisation(hospital: Hospital, layout: Layout) -> configtx_pb2.ConfigGroup:
    """A hospital as a member that transacts and endorses."""
    group = _organisation(hospital, layout, member_units=("peer", "client"))
    _policy(group, "Endorsement", _any_of(hospital.msp_id, "peer"))
    anchor = peer_pb2.AnchorPeer(host=hospital.host, port=hospital.ports.peer)
    _values(group, AnchorPeers=peer_pb2.AnchorPeers(anchor_peers=[anchor]))
    return group


def orderer_organisation(hospital: Hospital, layout: Layout) -> configtx_pb2.ConfigGroup:
    """A hospital as a member that orders."""
    group = _organisation(hospital, layout, member_units=())
    address = f"{hospital.host}:{hospital.ports.orderer}"
    _values(group, Endpoints=configuration_pb2.OrdererAddresses(addresses=[address]))
    return group


def _organisation(
    hospital: Hospital, layout: Layout, member_units: tuple[str, ...]
) -> configtx_pb2.ConfigGroup:
    group = _group()
    _values(group, MSP=_msp(hospital, layout))
    msp_id = hospital.msp_id
    if member_units:
        _policy(group, "Readers", _any_of(msp_id, "admin", *member_units))
        _policy(group, "Writers", _any_of(msp_id, "admin", "client"))
    else:
        _policy(group, "Readers", _any_of(msp_id, "member"))
        _policy(group, "Writers", _any_of(msp_id, "member"))
    _policy(group, ADMINS, _any_of(msp_id, "admin"))
    return group


def _msp(hospital: Hospital, layout: Layout) -> msp_config_pb2.MSPConfig:
    folder = layout.hospital(hospital.slug) / "msp"
    root = (folder / "cacerts" / "ca.pem").read_bytes()
    units = {
        f"{unit}_ou_identifier": msp_config_pb2.FabricOUIdentifier(
            certificate=root, organizational_unit_identifier=unit
        )
        for unit in ("client", "peer", "admin", "orderer")
    }
    config = msp_config_pb2.FabricMSPConfig(
        name=hospital.msp_id,
        root_certs=[root],
        tls_root_certs=[(folder / "tlscacerts" / "ca.pem").read_bytes()],
        crypto_config=msp_config_pb2.FabricCryptoConfig(
            signature_hash_family="SHA2", identity_identifier_hash_function="SHA256"
        ),
        fabric_node_ous=msp_config_pb2.FabricNodeOUs(enable=True, **units),
    )
    return msp_config_pb2.MSPConfig(type=0, config=_bytes(config))


def consenter(hospital: Hospital, layout: Layout) -> configuration_pb2.Consenter:
    """A hospital's orderer as it takes part in consensus."""
    folder = layout.hospital(hospital.slug) / "orderer"
    tls = (folder / "tls" / "cert.pem").read_bytes()
    return configuration_pb2.Consenter(
        id=hospital.consenter_id,
        host=hospital.host,
        port=hospital.ports.orderer,
        msp_id=hospital.msp_id,
        identity=(folder / "msp" / "signcerts" / "cert.pem").read_bytes(),
        client_tls_cert=tls,
        server_tls_cert=tls,
    )


def _smartbft_options() -> smartbft_pb2.Options:
    # The latency of a lone transaction is request_batch_max_interval; SmartBFT has no other timer.
    # A leader that died is replaced within leader_heartbeat_timeout.
    return smartbft_pb2.Options(
        request_batch_max_count=100,
        request_batch_max_bytes=10 * 1024 * 1024,
        request_batch_max_interval="50ms",
        incoming_message_buffer_size=200,
        request_pool_size=400,
        request_forward_timeout="2s",
        request_complain_timeout="5s",
        request_auto_remove_timeout="3m",
        request_max_bytes=10 * 1024 * 1024,
        view_change_resend_interval="2s",
        view_change_timeout="10s",
        leader_heartbeat_timeout="5s",
        leader_heartbeat_count=10,
        collect_timeout="1s",
        sync_on_start=False,
        speed_up_view_change=False,
        leader_rotation=smartbft_pb2.Options.Rotation.ROTATION_OFF,
        decisions_per_leader=3,
    )


def _any_of(msp_id: str, *units: str) -> policies_pb2.Policy:
    roles = msp_principal_pb2.MSPRole.MSPRoleType
    identities = [
        msp_principal_pb2.MSPPrincipal(
            principal_classification=msp_principal_pb2.MSPPrincipal.Classification.ROLE,
            principal=_bytes(
                msp_principal_pb2.MSPRole(msp_identifier=msp_id, role=roles.Value(unit.upper()))
            ),
        )
        for unit in units
    ]
    return _signature_policy(1, identities)


def _signature_policy(
    number: int, identities: list[msp_principal_pb2.MSPPrincipal]
) -> policies_pb2.Policy:
    rules = [policies_pb2.SignaturePolicy(signed_by=index) for index in range(len(identities))]
    envelope = policies_pb2.SignaturePolicyEnvelope(
        rule=policies_pb2.SignaturePolicy(
            n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=number, rules=rules)
        ),
        identities=identities,
    )
    kind = policies_pb2.Policy.PolicyType.SIGNATURE
    return policies_pb2.Policy(type=kind, value=_bytes(envelope))


def meta_policy(sub_policy: str, rule: int) -> policies_pb2.Policy:
    """A policy over the policies of this name in the groups below."""
    meta = policies_pb2.ImplicitMetaPolicy(sub_policy=sub_policy, rule=rule)
    kind = policies_pb2.Policy.PolicyType.IMPLICIT_META
    return policies_pb2.Policy(type=kind, value=_bytes(meta))


def _meta_policies(group: configtx_pb2.ConfigGroup) -> None:
    _policy(group, "Readers", meta_policy("Readers", _Meta.ANY))
    _policy(group, "Writers", meta_policy("Writers", _Meta.ANY))
    _policy(group, ADMINS, meta_policy(ADMINS, _Meta.MAJORITY))


def _policy(group: configtx_pb2.ConfigGroup, name: str, policy: policies_pb2.Policy) -> None:
    entry = configtx_pb2.ConfigPolicy(mod_policy=ADMINS, policy=policy)
    group.policies[name].CopyFrom(entry)


def _values(group: configtx_pb2.ConfigGroup, **values: Any) -> None:
    for name, value in values.items():
        entry = configtx_pb2.ConfigValue(mod_policy=ADMINS, value=_bytes(value))
        group.values[name].CopyFrom(entry)


def _capability(name: str) -> configuration_pb2.Capabilities:
    return configuration_pb2.Capabilities(capabilities={name: configuration_pb2.Capability()})


def _group() -> configtx_pb2.ConfigGroup:
    return configtx_pb2.ConfigGroup(mod_policy=ADMINS)


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
