"""Events of committed, valid transactions, in the order of the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import grpc
from fabric_protos.gateway import gateway_pb2

from client.closing import Closing
from client.gateway.checkpoint import Checkpoint, position
from client.gateway.errors import EventsError
from client.gateway.signable import Signable, parse

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway


@dataclass(frozen=True)
class ChaincodeEvent:
    block_number: int
    transaction_id: str
    name: str
    payload: bytes


class ChaincodeEventsRequest(Signable):
    """Asks for a chaincode's events from the checkpoint on, else from ``start_block``, else from
    now on."""

    def __init__(
        self,
        gateway: Gateway,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
        chaincode: str | None = None,
    ) -> None:
        request = gateway_pb2.ChaincodeEventsRequest(
            channel_id=gateway.channel_name,
            chaincode_id=chaincode or gateway.chaincode,
            identity=gateway.identity.serialize(),
            start_position=position(start_block, checkpoint),
        )
        if checkpoint is not None:
            request.after_transaction_id = checkpoint.transaction_id
        self._sign(gateway, request.SerializeToString(), None)

    @classmethod
    def from_bytes(cls, gateway: Gateway, content: bytes, signature: bytes) -> Self:
        """The request whose :meth:`to_bytes` this is, with its signature.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` where the bytes or the signature are no such thing.
        """
        signed = parse(gateway_pb2.SignedChaincodeEventsRequest, content)
        request = cls.__new__(cls)
        request._sign(gateway, signed.request, signature)
        return request

    def to_bytes(self) -> bytes:
        """``gateway.SignedChaincodeEventsRequest`` bytes."""
        return bytes(self._request().SerializeToString())

    def open(self) -> ChaincodeEvents:
        """Begin to listen.

        Raises:
            EventsError: ``UNSIGNED``.
        """
        self._require_signature(EventsError)
        return ChaincodeEvents(self._gateway.stub.ChaincodeEvents(self._request()))

    def _request(self) -> gateway_pb2.SignedChaincodeEventsRequest:
        return gateway_pb2.SignedChaincodeEventsRequest(
            request=self._message, signature=self._signature
        )


class ChaincodeEvents(Closing, Iterator[ChaincodeEvent]):
    """An iterator that waits for the next event; :meth:`close` ends it, from any thread.

    Raises (while iterating):
        EventsError: the stream broke off. Begin again from the checkpoint.
    """

    def __init__(self, call: Any) -> None:
        self._closed = False
        self._call = call
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
