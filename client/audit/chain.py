"""Blocks that hold by themselves: the next of the chain, signed by a quorum of the orderers.

The channel's configuration, which says who the orderers are, is followed from config block to
config block, beginning with one that is trusted.
"""

from __future__ import annotations

from fabric_protos.common import common_pb2

from chaincode.schema.errors import Code, MedFabricError
from client.audit.blocks import data_hash, header_hash, last_config, signers
from client.audit.channel import Channel
from client.audit.transactions import sets_config


class ForgedBlockError(Exception):
    """A block that does not hold by itself; the text says why."""


class Chain:
    """The chain as far as it was followed. ``next`` is the number of the block that comes next.

    Args:
        trusted: a config block from a source that is trusted.

    Raises:
        MedFabricError: ``GENESIS_OTHER`` where it sets no configuration.
    """

    def __init__(self, trusted: common_pb2.Block) -> None:
        try:
            self._channel = Channel.of_block(trusted)
        except Exception as error:
            raise MedFabricError(
                Code.GENESIS_OTHER,
                f"not a config block of a channel: {error}; give the channel's genesis block",
            ) from None
        self._trusted = trusted.header
        self._config = int(trusted.header.number)
        self._last: common_pb2.BlockHeader | None = None
        self.next: int | None = None

    def begin(self, number: int) -> None:
        """Begin with this block, whatever came before it.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` for one before the trusted config block.
        """
        if number < self._trusted.number:
            raise MedFabricError(
                Code.BAD_ARGUMENT,
                f"block {number} comes before the trusted config block {self._trusted.number}; "
                "trust the channel's genesis block to begin there",
            )
        self.next, self._last = number, None

    def extend(self, block: common_pb2.Block) -> None:
        """Take in the next block.

        Raises:
            ForgedBlockError: it is not the next one, or not the channel's.
        """
        header = block.header
        if header.number != self.next:
            raise ForgedBlockError(f"block {header.number} came in place of {self.next}")
        if self._last is not None and header.previous_hash != header_hash(self._last):
            raise ForgedBlockError(f"block {header.number} does not continue the chain")
        if data_hash(block) != header.data_hash:
            raise ForgedBlockError(
                f"the data of block {header.number} are not what its header names"
            )
        if header.number == self._trusted.number:
            if header_hash(header) != header_hash(self._trusted):
                raise ForgedBlockError(f"block {header.number} is not the trusted one")
        else:
            self._check_signatures(block)
        self._last = header
        self.next = header.number + 1

    def _check_signatures(self, block: common_pb2.Block) -> None:
        # A config block is signed by the orderers of the configuration that it replaces.
        number = block.header.number
        try:
            changes = sets_config(block)
            if last_config(block) != (number if changes else self._config):
                raise ForgedBlockError(
                    f"block {number} is not of the configuration of block {self._config}; trust "
                    "the config block in force there"
                )
            suffice = self._channel.block_signers_suffice(signers(block, self._channel))
            channel = Channel.of_block(block) if changes else self._channel
        except ForgedBlockError:
            raise
        except Exception as error:
            raise ForgedBlockError(f"the signatures of block {number}: {error}") from None
        if not suffice:
            raise ForgedBlockError(f"too few orderers signed block {number}")
        if changes:
            self._channel, self._config = channel, number
