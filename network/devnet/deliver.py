"""Fabric's Deliver service: blocks, whole or filtered or with the hospital's private data, to those
who may read the channel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2, events_pb2_grpc
from google.protobuf.message import DecodeError

from client.audit.definitions import is_member
from client.audit.msp import Identity
from client.audit.transactions import InvalidTransactionError, chaincode_action, header
from network.devnet.access import READERS, AccessDeniedError, admit
from network.devnet.ledger import Ledger

Form = Callable[[common_pb2.Block, Identity], Any]
"""Makes the ``DeliverResponse`` of a block for its reader."""

_WAIT_SECONDS = 1.0
_SKEW_SECONDS = 15 * 60


class DeliverService(events_pb2_grpc.DeliverServicer):  # type: ignore[misc]
    """Deliver, DeliverFiltered and DeliverWithPrivateData of one hospital's peer.

    Args:
        msp_id: the hospital whose private data are delivered; none for an orderer.
    """

    def __init__(self, ledger: Ledger, channel_id: str, msp_id: str = "") -> None:
        self._ledger = ledger
        self._channel_id = channel_id
        self._msp_id = msp_id

    def Deliver(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        def whole(block: common_pb2.Block, reader: Identity) -> Any:
            return events_pb2.DeliverResponse(block=block)

        yield from self._serve(requests, context, whole)

    def DeliverFiltered(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        yield from self._serve(requests, context, self._filtered)

    def DeliverWithPrivateData(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        yield from self._serve(requests, context, self._with_private)

    def _serve(
        self,
        requests: Iterator[Any],
        context: grpc.ServicerContext,
        form: Form,
    ) -> Iterator[Any]:
        for request in requests:
            try:
                seek, reader = self._check(request, context)
            except (InvalidTransactionError, DecodeError, ValueError):
                yield events_pb2.DeliverResponse(status=common_pb2.Status.BAD_REQUEST)
                return
            except AccessDeniedError:
                yield events_pb2.DeliverResponse(status=common_pb2.Status.FORBIDDEN)
                return
            yield from self._blocks(seek, context, form, reader)

    def _blocks(
        self,
        seek: ab_pb2.SeekInfo,
        context: grpc.ServicerContext,
        form: Form,
        reader: Identity,
    ) -> Iterator[Any]:
        number = _position(seek.start, self._ledger.height)
        last = _position(seek.stop, self._ledger.height)
        may_wait = seek.behavior == ab_pb2.SeekInfo.SeekBehavior.BLOCK_UNTIL_READY
        if last < number:
            yield events_pb2.DeliverResponse(status=common_pb2.Status.BAD_REQUEST)
            return
        while number <= last and context.is_active():
            if number >= self._ledger.height and not may_wait:
                yield events_pb2.DeliverResponse(status=common_pb2.Status.NOT_FOUND)
                return
            if not self._ledger.wait_for_block(number, _WAIT_SECONDS):
                continue
            block = self._ledger.block(number)
            if block is not None:
                yield form(block, reader)
            number += 1
        yield events_pb2.DeliverResponse(status=common_pb2.Status.SUCCESS)

    def _check(
        self, request: common_pb2.Envelope, context: grpc.ServicerContext
    ) -> tuple[ab_pb2.SeekInfo, Identity]:
        payload, channel = header(request.SerializeToString())
        if channel.channel_id != self._channel_id:
            raise ValueError("another channel")
        if abs(time.time() - channel.timestamp.seconds) > _SKEW_SECONDS:
            raise ValueError("a request of another time")
        if channel.tls_cert_hash != _certificate_hash(context):
            raise ValueError("a request from another connection")
        creator = common_pb2.SignatureHeader.FromString(payload.header.signature_header).creator
        reader = admit(self._ledger.channel, creator, request.payload, request.signature, READERS)
        return ab_pb2.SeekInfo.FromString(payload.data), reader

    def _with_private(self, block: common_pb2.Block, reader: Identity) -> Any:
        """The block, and of what the hospital keeps the collections whose members the reader is
        among."""
        answer = events_pb2.DeliverResponse()
        answer.block_and_private_data.block.CopyFrom(block)
        for tx, kept in self._ledger.kept_by(self._msp_id, block.header.number).items():
            shown = rwset_pb2.TxPvtReadWriteSet(data_model=kept.data_model)
            for part in kept.ns_pvt_rwset:
                allowed = [
                    collection
                    for collection in part.collection_pvt_rwset
                    if self._may_see(part.namespace, collection.collection_name, reader)
                ]
                if allowed:
                    shown.ns_pvt_rwset.add(namespace=part.namespace, collection_pvt_rwset=allowed)
            if shown.ns_pvt_rwset:
                answer.block_and_private_data.private_data_map[tx].CopyFrom(shown)
        return answer

    def _may_see(self, chaincode: str, name: str, reader: Identity) -> bool:
        return is_member(self._ledger.collection(chaincode, name), reader)

    def _filtered(self, block: common_pb2.Block, reader: Identity) -> Any:
        transactions = []
        for _, raw, code in self._ledger.judged(block):
            payload, channel = header(raw)
            entry = events_pb2.FilteredTransaction(
                txid=channel.tx_id, type=channel.type, tx_validation_code=code
            )
            action = chaincode_action(payload) if channel.type == _ENDORSED else None
            if action is not None and action.events:
                event = entry.transaction_actions.chaincode_actions.add().chaincode_event
                event.ParseFromString(action.events)
                # Filtered blocks tell that something happened, never what it carried.
                event.payload = b""
            transactions.append(entry)
        filtered = events_pb2.FilteredBlock(
            channel_id=self._channel_id,
            number=block.header.number,
            filtered_transactions=transactions,
        )
        return events_pb2.DeliverResponse(filtered_block=filtered)


_ENDORSED = common_pb2.HeaderType.ENDORSER_TRANSACTION
_NEVER = 2**63


def _certificate_hash(context: grpc.ServicerContext) -> bytes:
    """SHA-256 of the TLS certificate at the other end: a request is good for its sender alone."""
    authenticated: Any = context.auth_context()
    (pem,) = authenticated["x509_pem_cert"]
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256())


def _position(position: ab_pb2.SeekPosition, height: int) -> int:
    kind = position.WhichOneof("Type")
    if kind == "oldest":
        return 0
    if kind == "specified":
        return min(int(position.specified.number), _NEVER)
    if kind == "next_commit":
        return height
    return height - 1
