"""Ordering: cuts blocks, has a quorum of the hospitals' orderers sign them, commits them.

A change of the channel's configuration becomes a config block of its own, signed by the orderers
that were before it. Signatures have the very form that SmartBFT gives them in Fabric 3.1: an
identifier header with the orderer's number, over the metadata value, that header and the block's
header.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import configuration_pb2
from google.protobuf.message import DecodeError

from client.audit import configtx
from client.audit.blocks import LAST_CONFIG, SIGNATURES, data_hash, signed_bytes
from client.audit.channel import quorum
from client.audit.transactions import InvalidTransactionError, header, sets_config
from network.devnet.access import SUBMITTERS, AccessDeniedError, admit
from network.devnet.ledger import Ledger
from network.devnet.signer import Signer

log = logging.getLogger("medfabric.devnet")

BATCH_SECONDS = 0.005
"""For what is submitted at once; what comes while a block is committed is in the next together."""


class NotOrderedError(Exception):
    """An envelope that no orderer takes, with the status that it gives."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(
            "received unsuccessful response from orderer: "
            f"status={common_pb2.Status.Name(status)}, info={why}"
        )
        self.status, self.why = status, why


@dataclass(frozen=True)
class _Submitted:
    """An envelope, and the configuration under which it was found admissible."""

    envelope: bytes
    sequence: int
    update: common_pb2.Envelope | None = None
    """The change behind an envelope of type CONFIG."""


class Orderer:
    """The consortium's ordering service, in one process.

    Args:
        signers: the hospitals' orderers, by their numbers in the channel's configuration. Read at
            every block: others may be put in.
    """

    def __init__(self, signers: Mapping[int, Signer], ledger: Ledger, channel_id: str) -> None:
        self._signers = signers
        self._ledger = ledger
        self._channel_id = channel_id
        self._queue: queue.Queue[_Submitted | None] = queue.Queue()
        # One that was taken out of the queue, but belongs into the next block.
        self._ahead: list[_Submitted | None] = []
        self._thread = threading.Thread(target=self._run, name="orderer", daemon=True)
        self._thread.start()

    def submit(self, envelope: bytes) -> None:
        """Take an envelope into a coming block.

        As in Fabric, an orderer asks whether its creator may write, and how long it is; what it
        holds is judged when its block is committed. A change of the channel's configuration is
        judged at once, and again when its block is cut.

        Raises:
            NotOrderedError: refused.
        """
        sequence = self._ledger.channel.config.sequence
        kind = self._admit(envelope)
        if kind != common_pb2.HeaderType.CONFIG_UPDATE:
            self._queue.put(_Submitted(envelope, sequence))
            return
        update = common_pb2.Envelope.FromString(envelope)
        self._queue.put(_Submitted(self._configured(update), sequence, update))

    def _admit(self, envelope: bytes) -> int:
        """Type of an envelope that may be ordered."""
        if len(envelope) > batch_size(self._ledger.channel.config).absolute_max_bytes:
            raise NotOrderedError(common_pb2.Status.BAD_REQUEST, "the transaction is too large")
        message = common_pb2.Envelope.FromString(envelope)
        try:
            payload, channel = header(envelope)
            signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        except (InvalidTransactionError, DecodeError):
            raise NotOrderedError(common_pb2.Status.BAD_REQUEST, "it cannot be read") from None
        if channel.type not in _TYPES:
            why = "it is neither an endorser transaction nor a change of the configuration"
            raise NotOrderedError(common_pb2.Status.BAD_REQUEST, why)
        try:
            admit(
                self._ledger.channel,
                signature.creator,
                message.payload,
                message.signature,
                SUBMITTERS,
            )
        except AccessDeniedError as error:
            raise NotOrderedError(common_pb2.Status.FORBIDDEN, str(error)) from None
        return int(channel.type)

    def _configured(self, update: common_pb2.Envelope) -> bytes:
        """The config transaction that a change becomes, signed by an orderer."""
        channel = self._ledger.channel
        try:
            proposed = configtx.propose(channel, self._channel_id, update)
            configtx.succeed(channel, proposed.config)
        except (configtx.UpdateRefusedError, ValueError) as error:
            why = f"error applying config update to existing channel: {error}"
            raise NotOrderedError(common_pb2.Status.BAD_REQUEST, why) from None
        _, signer = self._quorum()[0]
        return _config_transaction(proposed, self._channel_id, signer)

    def close(self) -> None:
        """Order what was submitted, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._next()) is not None:
            batch = self._batch(first)
            try:
                if batch:
                    self._ledger.commit(self._block(batch))
            except Exception:
                # A devnet that cannot write its ledger must not answer as if it could.
                log.exception("a block could not be committed; the devnet ends")
                os._exit(1)

    def _next(self, timeout: float | None = None) -> _Submitted | None:
        """The next in line, None at the end.

        Raises:
            queue.Empty: there is none in time.
        """
        return self._ahead.pop() if self._ahead else self._queue.get(timeout=timeout)

    def _batch(self, first: _Submitted) -> list[bytes]:
        """Envelopes of the next block; none where what was first is no longer admissible."""
        if first.update is not None:
            return self._still(first)
        batch = self._still(first)
        deadline = time.monotonic() + BATCH_SECONDS
        size = len(first.envelope)
        limits = batch_size(self._ledger.channel.config)
        while len(batch) < limits.max_message_count and size < limits.preferred_max_bytes:
            try:
                further = self._next(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if further is None or further.update is not None:
                self._ahead.append(further)
                break
            batch += self._still(further)
            size += len(further.envelope)
        return batch

    def _still(self, submitted: _Submitted) -> list[bytes]:
        """The envelope, judged again where the configuration has changed since it came."""
        if submitted.sequence == self._ledger.channel.config.sequence:
            return [submitted.envelope]
        try:
            if submitted.update is not None:
                return [self._configured(submitted.update)]
            self._admit(submitted.envelope)
        except NotOrderedError as error:
            log.warning("an envelope is dropped after a change of the configuration: %s", error)
            return []
        return [submitted.envelope]

    def _quorum(self) -> list[tuple[int, Signer]]:
        channel = self._ledger.channel
        present = [(n, self._signers[n]) for n in sorted(channel.consenters) if n in self._signers]
        return present[: quorum(len(channel.consenters))]

    def _block(self, envelopes: list[bytes]) -> common_pb2.Block:
        number = self._ledger.height
        block = common_pb2.Block(
            header=common_pb2.BlockHeader(number=number, previous_hash=self._ledger.last_hash),
            data=common_pb2.BlockData(data=envelopes),
            metadata=common_pb2.BlockMetadata(metadata=[b""] * 5),
        )
        block.header.data_hash = data_hash(block)
        index = number if sets_config(block) else self._ledger.last_config
        last_config = common_pb2.LastConfig(index=index)
        value = common_pb2.OrdererBlockMetadata(last_config=last_config).SerializeToString()
        signatures = [_sign(one, signer, value, block.header) for one, signer in self._quorum()]
        metadata = common_pb2.Metadata(value=value, signatures=signatures)
        block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()
        block.metadata.metadata[LAST_CONFIG] = common_pb2.Metadata(
            value=last_config.SerializeToString()
        ).SerializeToString()
        return block


_TYPES = (common_pb2.HeaderType.ENDORSER_TRANSACTION, common_pb2.HeaderType.CONFIG_UPDATE)


def _config_transaction(
    proposed: configtx_pb2.ConfigEnvelope, channel_id: str, signer: Signer
) -> bytes:
    channel = common_pb2.ChannelHeader(type=common_pb2.HeaderType.CONFIG, channel_id=channel_id)
    channel.timestamp.GetCurrentTime()
    about = common_pb2.SignatureHeader(creator=signer.identity, nonce=os.urandom(24))
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=channel.SerializeToString(),
            signature_header=about.SerializeToString(),
        ),
        data=proposed.SerializeToString(deterministic=True),
    ).SerializeToString()
    envelope = common_pb2.Envelope(payload=payload, signature=signer.sign(payload))
    return bytes(envelope.SerializeToString())


def _sign(
    number: int, signer: Signer, value: bytes, header: common_pb2.BlockHeader
) -> common_pb2.MetadataSignature:
    identifier = common_pb2.IdentifierHeader(
        identifier=number, nonce=os.urandom(24)
    ).SerializeToString()
    signature = signer.sign(signed_bytes(value, identifier, header))
    return common_pb2.MetadataSignature(signature=signature, identifier_header=identifier)


def batch_size(config: configtx_pb2.Config) -> configuration_pb2.BatchSize:
    """How large transactions and blocks may be."""
    value = config.channel_group.groups["Orderer"].values["BatchSize"].value
    return configuration_pb2.BatchSize.FromString(value)
