"""Fabric's Deliver service: blocks, whole or filtered, to those who may read the channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2, events_pb2_grpc

from client.audit.msp import IdentityRefusedError
from client.audit.transactions import InvalidTransactionError, chaincode_action, header
from network.devnet.ledger import Ledger

_WAIT_SECONDS = 1.0


class DeliverService(events_pb2_grpc.DeliverServicer):  # type: ignore[misc]
    """Deliver and DeliverFiltered."""

    def __init__(self, ledger: Ledger, channel_id: str) -> None:
        self._ledger = ledger
        self._channel_id = channel_id

    def Deliver(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        def whole(block: common_pb2.Block) -> Any:
            return events_pb2.DeliverResponse(block=block)

        yield from self._serve(requests, context, whole)

    def DeliverFiltered(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        yield from self._serve(requests, context, self._filtered)

    def _serve(
        self,
        requests: Iterator[Any],
        context: grpc.ServicerContext,
        form: Callable[[common_pb2.Block], Any],
    ) -> Iterator[Any]:
        for request in requests:
            try:
                seek = self._check(request)
            except (InvalidTransactionError, IdentityRefusedError, PermissionError):
                yield events_pb2.DeliverResponse(status=common_pb2.Status.FORBIDDEN)
                return
            yield from self._blocks(seek, context, form)

    def _blocks(
        self,
        seek: ab_pb2.SeekInfo,
        context: grpc.ServicerContext,
        form: Callable[[common_pb2.Block], Any],
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
                yield form(block)
            number += 1
        yield events_pb2.DeliverResponse(status=common_pb2.Status.SUCCESS)

    def _check(self, request: common_pb2.Envelope) -> ab_pb2.SeekInfo:
        payload, channel = header(request.SerializeToString())
        signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        reader = self._ledger.channel.members.identity(signature.creator)
        allowed = (
            channel.channel_id == self._channel_id
            and reader.verify(request.payload, request.signature)
            and self._ledger.channel.satisfies("/Channel/Readers", [reader])
        )
        if not allowed:
            raise PermissionError("not a reader of this channel")
        return ab_pb2.SeekInfo.FromString(payload.data)

    def _filtered(self, block: common_pb2.Block) -> Any:
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


def _position(position: ab_pb2.SeekPosition, height: int) -> int:
    kind = position.WhichOneof("Type")
    if kind == "oldest":
        return 0
    if kind == "specified":
        return min(int(position.specified.number), _NEVER)
    if kind == "next_commit":
        return height
    return height - 1
