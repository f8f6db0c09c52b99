"""Events of committed, valid transactions, in the order of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2

from client.closing import Closing
from client.gateway.errors import EventsError

if TYPE_CHECKING:
    from client.gateway.checkpoint import Checkpoint
    from client.gateway.gateway import Gateway


@dataclass(frozen=True)
class ChaincodeEvent:
    block_number: int
    transaction_id: str
    name: str
    payload: bytes


class ChaincodeEvents(Closing, Iterator[ChaincodeEvent]):
    """An iterator that waits for the next event; :meth:`close` ends it, from any thread.

    Raises (while iterating):
        EventsError: the stream broke off. Begin again from the checkpoint.
    """

    def __init__(
        self, gateway: Gateway, start_block: int | None, checkpoint: Checkpoint | None
    ) -> None:
        request = gateway_pb2.ChaincodeEventsRequest(
            channel_id=gateway.channel_name,
            chaincode_id=gateway.chaincode,
            identity=gateway.identity.serialize(),
            start_position=_position(start_block),
        )
        if checkpoint is not None and (checkpoint.block_number or checkpoint.transaction_id):
            request.start_position.CopyFrom(_position(checkpoint.block_number))
            request.after_transaction_id = checkpoint.transaction_id
        content = request.SerializeToString()
        signed = gateway_pb2.SignedChaincodeEventsRequest(
            request=content, signature=gateway.identity.sign(content)
        )
        self._closed = False
        self._call = gateway.stub.ChaincodeEvents(signed)
        self._events = self._stream()

    def __next__(self) -> ChaincodeEvent:
        return next(self._events)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread. Harmless when repeated."""
        self._closed = True
        self._call.cancel()

    def _stream(self) -> Iterator[ChaincodeEvent]:
        try:
            for response in self._call:
                for event in response.events:
                    yield ChaincodeEvent(
                        response.block_number, event.tx_id, event.event_name, event.payload
                    )
        except grpc.RpcError as error:
            if not self._closed:
                raise EventsError.from_rpc(error, doing="events") from None


def _position(block: int | None) -> ab_pb2.SeekPosition:
    if block is None:
        return ab_pb2.SeekPosition(next_commit=ab_pb2.SeekNextCommit())
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=block))
