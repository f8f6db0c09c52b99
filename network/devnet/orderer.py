"""Ordering: cuts blocks, has a quorum of the hospitals' orderers sign them, commits them.

Signatures have the very form that SmartBFT gives them in Fabric 3.1: an identifier header with the
orderer's number, over the metadata value, that header and the block's header.
"""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import configuration_pb2
from google.protobuf.message import DecodeError

from client.audit.blocks import SIGNATURES, data_hash, signed_bytes
from client.audit.transactions import InvalidTransactionError, header
from network.devnet.access import SUBMITTERS, AccessDeniedError, admit
from network.devnet.ledger import Ledger
from network.devnet.signer import Signer

log = logging.getLogger("medfabric.devnet")

BATCH_SECONDS = 0.02


class NotOrderedError(Exception):
    """An envelope that no orderer takes, with the status that it gives."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(
            "received unsuccessful response from orderer: "
            f"status={common_pb2.Status.Name(status)}, info={why}"
        )


@dataclass(frozen=True)
class Consenter:
    """One hospital's orderer and its number in the channel's configuration."""

    number: int
    signer: Signer


class Orderer:
    """The consortium's ordering service, in one process.

    Args:
        genesis: the channel's; it says how large transactions and blocks may be.
    """

    def __init__(
        self, consenters: Sequence[Consenter], ledger: Ledger, genesis: common_pb2.Block
    ) -> None:
        faulty = (len(consenters) - 1) // 3
        quorum = math.ceil((len(consenters) + faulty + 1) / 2)
        self._signing = consenters[:quorum]
        self._ledger = ledger
        self._limits = _batch_size(genesis)
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="orderer", daemon=True)
        self._thread.start()

    def submit(self, envelope: bytes) -> None:
        """Take an envelope into a coming block.

        As in Fabric, an orderer asks whether its creator may write, and how long it is; what it
        holds is judged when its block is committed.

        Raises:
            NotOrderedError: refused.
        """
        if len(envelope) > self._limits.absolute_max_bytes:
            raise NotOrderedError(common_pb2.Status.BAD_REQUEST, "the transaction is too large")
        message = common_pb2.Envelope.FromString(envelope)
        try:
            payload, channel = header(envelope)
            signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        except (InvalidTransactionError, DecodeError):
            raise NotOrderedError(common_pb2.Status.BAD_REQUEST, "it cannot be read") from None
        if channel.type != common_pb2.HeaderType.ENDORSER_TRANSACTION:
            why = "the devnet takes endorser transactions alone"
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
        self._queue.put(envelope)

    def close(self) -> None:
        """Order what was submitted, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, ended = self._batch(first)
            try:
                self._ledger.commit(self._block(batch))
            except Exception:
                # A devnet that cannot write its ledger must not answer as if it could.
                log.exception("a block could not be committed; the devnet ends")
                os._exit(1)
            if ended:
                return

    def _batch(self, first: bytes) -> tuple[list[bytes], bool]:
        batch = [first]
        deadline = time.monotonic() + BATCH_SECONDS
        size = len(first)
        while (
            len(batch) < self._limits.max_message_count and size < self._limits.preferred_max_bytes
        ):
            try:
                envelope = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return batch, False
            if envelope is None:
                return batch, True
            batch.append(envelope)
            size += len(envelope)
        return batch, False

    def _block(self, envelopes: list[bytes]) -> common_pb2.Block:
        block = common_pb2.Block(
            header=common_pb2.BlockHeader(
                number=self._ledger.height, previous_hash=self._ledger.last_hash
            ),
            data=common_pb2.BlockData(data=envelopes),
            metadata=common_pb2.BlockMetadata(metadata=[b""] * 5),
        )
        block.header.data_hash = data_hash(block)
        value = common_pb2.OrdererBlockMetadata(
            last_config=common_pb2.LastConfig(index=0)
        ).SerializeToString()
        signatures = [_sign(consenter, value, block.header) for consenter in self._signing]
        metadata = common_pb2.Metadata(value=value, signatures=signatures)
        block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()
        return block


def _sign(
    consenter: Consenter, value: bytes, header: common_pb2.BlockHeader
) -> common_pb2.MetadataSignature:
    identifier = common_pb2.IdentifierHeader(
        identifier=consenter.number, nonce=os.urandom(24)
    ).SerializeToString()
    signature = consenter.signer.sign(signed_bytes(value, identifier, header))
    return common_pb2.MetadataSignature(signature=signature, identifier_header=identifier)


def _batch_size(genesis: common_pb2.Block) -> configuration_pb2.BatchSize:
    payload, _ = header(genesis.data.data[0])
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data).config
    value = config.channel_group.groups["Orderer"].values["BatchSize"].value
    return configuration_pb2.BatchSize.FromString(value)
