"""A channel's configuration, as its config blocks write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2
from fabric_protos.msp import identities_pb2, msp_config_pb2

from client.audit import policy
from client.audit.msp import Identity, Members, Msp


class Channel:
    """Members, orderers and policies of a channel.

    Args:
        config: the ``Config`` of a config block.

    Raises:
        ValueError: not a configuration that is understood here.
    """

    def __init__(self, config: configtx_pb2.Config) -> None:
        self._root = config.channel_group
        application = self._root.groups["Application"]
        orderer = self._root.groups["Orderer"]
        msps = {
            group.values["MSP"].value
            for section in (application, orderer)
            for group in section.groups.values()
        }
        self.members = Members([Msp(_msp(value)) for value in sorted(msps)])
        self.hospitals = tuple(sorted(application.groups))
        mapping = configuration_pb2.Orderers.FromString(orderer.values["Orderers"].value)
        self._consenters = {
            consenter.id: bytes(
                identities_pb2.SerializedIdentity(
                    mspid=consenter.msp_id, id_bytes=consenter.identity
                ).SerializeToString()
            )
            for consenter in mapping.consenter_mapping
        }

    @classmethod
    def of_block(cls, block: common_pb2.Block) -> Channel:
        """The configuration that a config block sets.

        Raises:
            ValueError: the block sets none.
        """
        if len(block.data.data) != 1:
            raise ValueError("a config block has one transaction")
        envelope = common_pb2.Envelope.FromString(block.data.data[0])
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        if header.type != common_pb2.HeaderType.CONFIG:
            raise ValueError("not a config block")
        return cls(configtx_pb2.ConfigEnvelope.FromString(payload.data).config)

    def consenter(self, number: int) -> Identity | None:
        """The orderer with this id, or None."""
        raw = self._consenters.get(number)
        return None if raw is None else self.members.identity(raw)

    def satisfies(self, path: str, signers: Sequence[Identity]) -> bool:
        """Whether the signers satisfy the policy at a path."""
        return policy.reaches(self._root, path, signers)

    def block_signers_suffice(self, signers: Sequence[Identity]) -> bool:
        """Whether these orderers may sign a block together."""
        return self.satisfies("/Channel/Orderer/BlockValidation", signers)


def _msp(value: bytes) -> bytes:
    message: Any = msp_config_pb2.MSPConfig.FromString(value)
    if message.type != 0:
        raise ValueError("an MSP is not of the X.509 kind")
    return bytes(message.config)
