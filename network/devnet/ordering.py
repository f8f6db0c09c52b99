"""Fabric's AtomicBroadcast service, at one hospital's orderer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2, ab_pb2_grpc

from network.devnet.deliver import DeliverService
from network.devnet.ledger import Ledger
from network.devnet.orderer import NotOrderedError, Orderer


class BroadcastService(ab_pb2_grpc.AtomicBroadcastServicer):  # type: ignore[misc]
    """Broadcast, of transactions and changes of the configuration; Deliver, of whole blocks."""

    def __init__(self, orderer: Orderer, ledger: Ledger, channel_id: str) -> None:
        self._orderer = orderer
        self._deliver = DeliverService(ledger, channel_id)

    def Broadcast(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        for envelope in requests:
            try:
                self._orderer.submit(envelope.SerializeToString())
            except NotOrderedError as error:
                yield ab_pb2.BroadcastResponse(status=error.status, info=error.why)
                continue
            yield ab_pb2.BroadcastResponse(status=common_pb2.Status.SUCCESS)

    def Deliver(  # noqa: N802
        self, requests: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        for answer in self._deliver.Deliver(requests, context):
            # The orderer's answer has the peer's fields.
            yield ab_pb2.DeliverResponse.FromString(answer.SerializeToString())
