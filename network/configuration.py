"""What a consortium changes in its channel's configuration: hospitals, revocations, policies.

Each function gives the configuration that is to stand; :mod:`client.configuration` makes the change
of it that hospitals sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from fabric_protos.common import configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2

from chaincode.schema.errors import Code, MedFabricError
from client.audit.channel import block_validation, consenters_of
from network import genesis
from network.topology import Hospital, Layout

_SECTIONS = ("Application", "Orderer")
_RULES = policies_pb2.ImplicitMetaPolicy.Rule


def names(config: Any, hospital: Hospital) -> bool:
    """Whether the hospital is a member of the channel."""
    groups = config.channel_group.groups
    return all(hospital.msp_id in groups[section].groups for section in _SECTIONS)


def with_hospital(config: Any, hospital: Hospital, layout: Layout) -> Any:
    """The hospital as a member that transacts, endorses and orders."""
    wanted = _copy(config)
    groups = wanted.channel_group.groups
    for section, made in (
        ("Application", genesis.application_organisation(hospital, layout)),
        ("Orderer", genesis.orderer_organisation(hospital, layout)),
    ):
        groups[section].groups[hospital.msp_id].CopyFrom(made)
    consenters = consenters_of(wanted.channel_group)
    _set_consenters(groups["Orderer"], [*consenters, genesis.consenter(hospital, layout)])
    return wanted


def without_hospital(config: Any, hospital: Hospital) -> Any:
    """The channel without the hospital and its orderer."""
    wanted = _copy(config)
    groups = wanted.channel_group.groups
    for section in _SECTIONS:
        groups[section].groups.pop(hospital.msp_id, None)
    kept = [
        consenter
        for consenter in consenters_of(wanted.channel_group)
        if consenter.msp_id != hospital.msp_id
    ]
    _set_consenters(groups["Orderer"], kept)
    return wanted


def with_revocations(config: Any, hospital: Hospital, revocations: bytes) -> Any:
    """The hospital's revocation list in both definitions of its MSP, in place of an earlier one.

    Args:
        revocations: PEM, signed by the hospital's authority; it must hold what the one before held.
    """
    wanted = _copy(config)
    for section in _SECTIONS:
        value = wanted.channel_group.groups[section].groups[hospital.msp_id].values["MSP"]
        message = msp_config_pb2.MSPConfig.FromString(value.value)
        msp = msp_config_pb2.FabricMSPConfig.FromString(message.config)
        issuer = x509.load_pem_x509_crl(revocations).issuer
        others = [
            pem for pem in msp.revocation_list if x509.load_pem_x509_crl(pem).issuer != issuer
        ]
        del msp.revocation_list[:]
        msp.revocation_list.extend([*others, revocations])
        message.config = _bytes(msp)
        value.value = _bytes(message)
    return wanted


def revoked(config: Any, hospital: Hospital) -> list[int]:
    """Serial numbers that the hospital's lists in the configuration revoke."""
    group = config.channel_group.groups["Application"].groups[hospital.msp_id]
    message = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
    msp = msp_config_pb2.FabricMSPConfig.FromString(message.config)
    return sorted(
        entry.serial_number for pem in msp.revocation_list for entry in x509.load_pem_x509_crl(pem)
    )


def with_policy(config: Any, path: str, rule: str) -> Any:
    """Another policy over the hospitals' own, such as ``Application/Endorsement`` by ``MAJORITY``.

    Args:
        path: groups and name, from below the channel.
        rule: ``ANY``, ``ALL`` or ``MAJORITY``.

    Raises:
        MedFabricError: ``CONFIG_REFUSED`` where there is no such policy over others.
    """
    wanted = _copy(config)
    *groups, name = path.split("/")
    group = wanted.channel_group
    for part in groups:
        group = group.groups[part] if part in group.groups else configtx_pb2.ConfigGroup()
    meta = policies_pb2.Policy.PolicyType.IMPLICIT_META
    if name not in group.policies or group.policies[name].policy.type != meta:
        raise MedFabricError(
            Code.CONFIG_REFUSED,
            f"{path} is no policy over the hospitals' own; name one: Application/Endorsement",
        )
    present = policies_pb2.ImplicitMetaPolicy.FromString(group.policies[name].policy.value)
    changed = genesis.meta_policy(present.sub_policy, _RULES.Value(rule))
    group.policies[name].policy.CopyFrom(changed)
    return wanted


def _set_consenters(orderer: Any, consenters: Sequence[configuration_pb2.Consenter]) -> None:
    orderers = configuration_pb2.Orderers(consenter_mapping=consenters)
    orderer.values["Orderers"].value = _bytes(orderers)
    orderer.policies["BlockValidation"].policy.CopyFrom(block_validation(consenters))


def _issuer(revocations: bytes) -> x509.Name:
    return x509.load_pem_x509_crl(revocations).issuer


def _copy(config: Any) -> Any:
    copied = configtx_pb2.Config()
    copied.CopyFrom(config)
    return copied


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
