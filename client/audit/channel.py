"""A channel's configuration, as its config blocks write it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import identities_pb2, msp_config_pb2, msp_principal_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2

from client.audit import policy
from client.audit.msp import Identity, Members, Msp

_CAPABILITIES = {"": {"V3_0"}, "Orderer": {"V2_0"}, "Application": {"V2_0", "V2_5"}}
"""What is understood here, by section; the channel's own come first."""


class Channel:
    """Members, orderers and policies of a channel.

    Args:
        config: the ``Config`` of a config block; it is not to be changed afterwards.

    Raises:
        ValueError: not a configuration that is understood here.
    """

    def __init__(self, config: configtx_pb2.Config) -> None:
        self.config = config
        self._root = config.channel_group
        for section in ("Application", "Orderer"):
            if not self._root.groups[section].groups:
                raise ValueError(f"its section {section} names no hospital")
        _check_capabilities(self._root)
        self.msp_ids = dict(_msp_ids(self._root))
        """MSP ids by section and name of the hospital's group there."""
        values = _msp_values(self._root)
        msps = [Msp(_msp(value)) for value in sorted(values)]
        if len({msp.msp_id for msp in msps}) != len(msps):
            raise ValueError("an MSP has two different definitions")
        self.members = Members(msps)
        self.hospitals = tuple(sorted(self._root.groups["Application"].groups))
        consenters = consenters_of(self._root)
        _check_consenters(self._root.groups["Orderer"], consenters)
        self._consenters = {consenter.id: _serialized(consenter) for consenter in consenters}
        self.consenters = frozenset(self._consenters)
        """Numbers of the orderers."""
        self._policies: dict[str, policy.Policy] = {}

    @classmethod
    def of_block(cls, block: common_pb2.Block) -> Channel:
        """The configuration that a config block sets.

        Raises:
            ValueError: the block sets none.
        """
        return cls(config_of(block))

    def consenter(self, number: int) -> Identity | None:
        """The orderer with this id, or None."""
        raw = self._consenters.get(number)
        return None if raw is None else self.members.identity(raw)

    def satisfies(self, path: str, signers: Sequence[Identity]) -> bool:
        """Whether the signers satisfy the policy at a path.

        Raises:
            UnsupportedPolicyError, DecodeError, IndexError: as :func:`policy.at`.
        """
        if path not in self._policies:
            self._policies[path] = policy.at(self._root, path)
        return self._policies[path].satisfied(signers)

    def block_signers_suffice(self, signers: Sequence[Identity]) -> bool:
        """Whether these orderers may sign a block together."""
        return self.satisfies("/Channel/Orderer/BlockValidation", signers)


def config_of(block: common_pb2.Block) -> configtx_pb2.Config:
    """The configuration in a config block.

    Raises:
        ValueError: it is none.
    """
    if len(block.data.data) != 1:
        raise ValueError("a config block has one transaction")
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    if header.type != common_pb2.HeaderType.CONFIG:
        raise ValueError("not a config block")
    return configtx_pb2.ConfigEnvelope.FromString(payload.data).config


def consenters_of(root: configtx_pb2.ConfigGroup) -> list[configuration_pb2.Consenter]:
    """The orderers that take part in consensus, in the configuration's order."""
    raw = root.groups["Orderer"].values["Orderers"].value
    return list(configuration_pb2.Orderers.FromString(raw).consenter_mapping)


def quorum(total: int) -> int:
    """How many of so many orderers sign a block: of n, f = (n - 1) // 3 may be faulty."""
    return math.ceil((total + (total - 1) // 3 + 1) / 2)


def block_validation(consenters: Sequence[configuration_pb2.Consenter]) -> policies_pb2.Policy:
    """Who may sign a block: a quorum of the orderers by their very certificates.

    So Fabric computes it for BFT, and its orderers take no configuration with another.
    """
    principals = [
        msp_principal_pb2.MSPPrincipal(
            principal_classification=msp_principal_pb2.MSPPrincipal.Classification.IDENTITY,
            principal=_serialized(consenter),
        )
        for consenter in consenters
    ]
    rules = [policies_pb2.SignaturePolicy(signed_by=index) for index in range(len(consenters))]
    needed = quorum(len(consenters))
    envelope = policies_pb2.SignaturePolicyEnvelope(
        rule=policies_pb2.SignaturePolicy(
            n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=needed, rules=rules)
        ),
        identities=principals,
    )
    kind = policies_pb2.Policy.PolicyType.SIGNATURE
    return policies_pb2.Policy(type=kind, value=envelope.SerializeToString(deterministic=True))


def _check_capabilities(root: Any) -> None:
    """What a capability that is not known changes is not known either."""
    for section, known in _CAPABILITIES.items():
        group = root.groups[section] if section else root
        raw = group.values["Capabilities"].value
        found = set(configuration_pb2.Capabilities.FromString(raw).capabilities)
        if not found or not found <= known:
            names = ", ".join(sorted(found)) or "none"
            raise ValueError(f"capabilities of {section or 'the channel'} are {names}")
    hashing = configuration_pb2.HashingAlgorithm.FromString(root.values["HashingAlgorithm"].value)
    if hashing.name != "SHA256":
        raise ValueError(f"it hashes by {hashing.name}")


def _check_consenters(orderer: Any, consenters: Sequence[configuration_pb2.Consenter]) -> None:
    kind = orderer_pb2.ConsensusType.FromString(orderer.values["ConsensusType"].value).type
    if kind != "BFT":
        raise ValueError(f"consensus is of the kind {kind}, not BFT")
    if not consenters or len({consenter.id for consenter in consenters}) != len(consenters):
        raise ValueError("its orderers have not each a number of their own")
    if orderer.policies["BlockValidation"].policy != block_validation(consenters):
        raise ValueError("blocks are not signed by a quorum of the orderers")


def _msp_ids(root: Any) -> Iterator[tuple[tuple[str, str], str]]:
    for section in ("Application", "Orderer"):
        for name, group in root.groups[section].groups.items():
            message = msp_config_pb2.FabricMSPConfig.FromString(_msp(group.values["MSP"].value))
            yield (section, name), str(message.name)


def _msp_values(root: Any) -> set[bytes]:
    return {
        group.values["MSP"].value
        for section in ("Application", "Orderer")
        for group in root.groups[section].groups.values()
    }


def _serialized(consenter: configuration_pb2.Consenter) -> bytes:
    identity = identities_pb2.SerializedIdentity(
        mspid=consenter.msp_id, id_bytes=consenter.identity
    )
    return bytes(identity.SerializeToString(deterministic=True))


def _msp(value: bytes) -> bytes:
    message: Any = msp_config_pb2.MSPConfig.FromString(value)
    if message.type != 0:
        raise ValueError("an MSP is not of the X.509 kind")
    return bytes(message.config)
