"""Blocks as a peer commits them: whole, filtered, or with the private data that it holds.

By the Deliver services of the gateway's own peer, whose word is taken for what it delivers;
:class:`client.following.BlockFollower` checks blocks, and moves to another peer where one fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2

from client.blocks import seek_payload
from client.closing import Closing
from client.gateway.checkpoint import Checkpoint, position
from client.gateway.errors import EventsError
from client.gateway.signable import Signable, parse

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway


class Form(StrEnum):
    """What is delivered of each block."""

    BLOCK = "block"
    FILTERED = "filtered block"
    PRIVATE = "block and private data"


_METHODS = {
    Form.BLOCK: "/protos.Deliver/Deliver",
    Form.FILTERED: "/protos.Deliver/DeliverFiltered",
    Form.PRIVATE: "/protos.Deliver/DeliverWithPrivateData",
}
_FIELDS = {
    Form.BLOCK: "block",
    Form.FILTERED: "filtered_block",
    Form.PRIVATE: "block_and_private_data",
}
_NEVER = 2**64 - 1


class BlockEventsRequest(Signable):
    """Asks for blocks from the checkpoint on, else from ``start_block``, else from now on.

    Signed off-line, it is good for some minutes (peers look at its time) and for the connection
    of this identity's TLS certificate alone.
    """

    def __init__(
        self,
        gateway: Gateway,
        form: Form = Form.BLOCK,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._form = form
        seek = ab_pb2.SeekInfo(
            start=position(start_block, checkpoint),
            stop=ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=_NEVER)),
            behavior=ab_pb2.SeekInfo.SeekBehavior.BLOCK_UNTIL_READY,
        )
        self._sign(gateway, seek_payload(gateway.channel_name, gateway.identity, seek), None)

    @classmethod
    def from_bytes(cls, gateway: Gateway, form: Form, content: bytes, signature: bytes) -> Self:
        """The request whose :meth:`to_bytes` this is, with its signature.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` where the bytes or the signature are no such thing.
        """
        request = cls.__new__(cls)
        request._form = form
        request._sign(gateway, parse(common_pb2.Envelope, content).payload, signature)
        return request

    def to_bytes(self) -> bytes:
        """``common.Envelope`` bytes."""
        return bytes(self._envelope().SerializeToString())

    def open(self) -> BlockEvents:
        """Begin to listen.

        Raises:
            EventsError: ``UNSIGNED``.
        """
        self._require_signature(EventsError)
        deliver = self._gateway.grpc_channel.stream_stream(
            _METHODS[self._form],
            request_serializer=common_pb2.Envelope.SerializeToString,
            response_deserializer=events_pb2.DeliverResponse.FromString,
        )
        return BlockEvents(deliver(itertools.chain([self._envelope()])), self._form)

    def _envelope(self) -> common_pb2.Envelope:
        return common_pb2.Envelope(payload=self._message, signature=self._signature)


class BlockEvents(Closing, Iterator[Any]):
    """An iterator that waits for the next block; :meth:`close` ends it, from any thread.

    Gives ``common.Block``, ``protos.FilteredBlock`` or ``protos.BlockAndPrivateData``.

    Raises (while iterating):
        EventsError: the stream broke off, or the peer refuses. Begin again from the checkpoint.
    """

    def __init__(self, call: Any, form: Form) -> None:
        self._closed = False
        self._call = call
        self._field = _FIELDS[form]
        self._blocks = self._stream()

    def __next__(self) -> Any:
        return next(self._blocks)

    def close(self) -> None:
        """End the iteration, also one that waits in another thread. Harmless when repeated."""
        self._closed = True
        self._call.cancel()

    def _stream(self) -> Iterator[Any]:
        try:
            for response in self._call:
                if response.WhichOneof("Type") != self._field:
                    status = common_pb2.Status.Name(response.status)
                    raise EventsError(
                        EventsError.stage_code,
                        f"the peer delivers no blocks ({status}); use an identity that may read "
                        "the channel, whose TLS certificate this connection has",
                        status=status,
                    )
                yield getattr(response, self._field)
        except grpc.RpcError as error:
            if not self._closed:
                raise EventsError.from_rpc(error, doing="block events") from None
