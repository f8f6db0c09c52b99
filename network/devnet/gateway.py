"""Fabric's Gateway service, for one hospital's clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import chaincode_event_pb2, transaction_pb2
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

from client.audit.transactions import chaincode_action, header
from client.gateway.errors import RPC_STATUS
from network.devnet import endorser
from network.devnet.access import READERS, AccessDeniedError, admit
from network.devnet.collecting import Collector, NotEndorsedError, refusal
from network.devnet.endorser import Peer, Proposal
from network.devnet.ledger import Ledger
from network.devnet.orderer import NotOrderedError, Orderer
from network.devnet.stream import ChaincodeUnavailableError

_WAIT_SECONDS = 1.0


class GatewayService(gateway_pb2_grpc.GatewayServicer):  # type: ignore[misc]
    """Evaluate, Endorse, Submit, CommitStatus and ChaincodeEvents at one hospital's peer.

    Args:
        own: this hospital's peer.
        peers: all hospitals' peers; others may come and go.
    """

    def __init__(
        self, own: Peer, peers: Sequence[Peer], ledger: Ledger, orderer: Orderer, channel_id: str
    ) -> None:
        self._own = own
        self._all = peers
        self._ledger = ledger
        self._orderer = orderer
        self._channel_id = channel_id
        self._collector = Collector(own, self._peers, ledger, channel_id)

    def Evaluate(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        proposal = self._check(request.proposed_transaction, context)
        # Transient data stays in the own hospital unless the client names others.
        own = [self._own.msp_id] if proposal.transient else []
        named = list(request.target_organizations) or own
        failures: list[tuple[Peer, str]] = []
        for peer in self._peers():
            if named and peer.msp_id not in named:
                continue
            try:
                response = peer.simulate(proposal).response
            except ChaincodeUnavailableError as error:
                failures.append((peer, str(error)))
                continue
            if response.status >= 400:
                why = refusal(response.status, response.message)
                message = f"evaluate call to endorser returned error: {why}"
                _abort(context, grpc.StatusCode.UNKNOWN, message, [(peer, why)])
            return gateway_pb2.EvaluateResponse(result=response)
        message = "failed to evaluate transaction, see attached details for more info"
        _abort(context, grpc.StatusCode.ABORTED, message, failures)

    def Endorse(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        proposal = self._check(request.proposed_transaction, context)
        try:
            payload = self._collector.collect(proposal, request.endorsing_organizations)
        except NotEndorsedError as error:
            _abort(context, error.code, str(error), error.failures)
        prepared = common_pb2.Envelope(payload=payload)
        return gateway_pb2.EndorseResponse(prepared_transaction=prepared)

    def Submit(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        prepared = request.prepared_transaction
        if not prepared.signature:
            message = "prepared transaction must be signed"
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, message, [])
        try:
            self._orderer.submit(prepared.SerializeToString())
        except NotOrderedError as error:
            message = (
                "insufficient number of orderers could successfully process transaction to "
                "satisfy quorum requirement"
            )
            failures = [(peer, str(error)) for peer in self._peers()]
            _abort(context, grpc.StatusCode.UNAVAILABLE, message, failures)
        return gateway_pb2.SubmitResponse()

    def CommitStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        asked = self._ask(gateway_pb2.CommitStatusRequest, request, context)
        while context.is_active():
            place = self._ledger.wait_for_transaction(asked.transaction_id, _WAIT_SECONDS)
            if place is not None:
                return gateway_pb2.CommitStatusResponse(result=place.code, block_number=place.block)
        _abort(context, grpc.StatusCode.CANCELLED, "the client has gone", [])

    def ChaincodeEvents(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        asked = self._ask(gateway_pb2.ChaincodeEventsRequest, request, context)
        number = _start(asked.start_position, self._ledger.height)
        after = asked.after_transaction_id
        while context.is_active():
            if not self._ledger.wait_for_block(number, _WAIT_SECONDS):
                continue
            block = self._ledger.block(number)
            if block is not None:
                events = self._events(block, asked.chaincode_id, after)
                if events:
                    yield gateway_pb2.ChaincodeEventsResponse(events=events, block_number=number)
            after = ""
            number += 1

    def _peers(self) -> list[Peer]:
        """Peers of the channel's present members, the own one first."""
        members = self._ledger.channel.hospitals
        others = [peer for peer in self._all if peer is not self._own and peer.msp_id in members]
        return [self._own, *others]

    def _check(self, signed: Any, context: grpc.ServicerContext) -> Proposal:
        try:
            return endorser.check(signed, self._ledger, self._channel_id)
        except endorser.ProposalRefusedError as error:
            why = str(error)
            _abort(context, grpc.StatusCode.FAILED_PRECONDITION, why, [(self._own, why)])

    def _ask(self, kind: Any, request: Any, context: grpc.ServicerContext) -> Any:
        """A signed request for what readers of the channel may see."""
        try:
            asked = kind.FromString(request.request)
        except DecodeError:
            message = "the request cannot be read"
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, message, [])
        if asked.channel_id != self._channel_id:
            message = f"channel {asked.channel_id!r} not found"
            _abort(context, grpc.StatusCode.NOT_FOUND, message, [])
        try:
            admit(self._ledger.channel, asked.identity, request.request, request.signature, READERS)
        except AccessDeniedError as error:
            _abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error), [])
        return asked

    def _events(self, block: Any, chaincode: str, after: str) -> list[Any]:
        found = []
        skipping = bool(after)
        for _, raw, code in self._ledger.judged(block):
            payload, channel_header = header(raw)
            if skipping:
                skipping = channel_header.tx_id != after
                continue
            if code != transaction_pb2.TxValidationCode.VALID:
                continue
            event = _event_of(payload)
            if event is not None and event.chaincode_id == chaincode:
                found.append(event)
        return found


def _event_of(payload: common_pb2.Payload) -> chaincode_event_pb2.ChaincodeEvent | None:
    action = chaincode_action(payload)
    if action is None or not action.events:
        return None
    return chaincode_event_pb2.ChaincodeEvent.FromString(action.events)


def _start(position: ab_pb2.SeekPosition, height: int) -> int:
    kind = position.WhichOneof("Type")
    if kind == "oldest":
        return 0
    if kind == "specified":
        return int(position.specified.number)
    return height


def _abort(
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    failures: Sequence[tuple[Peer, str]],
) -> NoReturn:
    details = []
    for peer, error in failures:
        detail = gateway_pb2.ErrorDetail(address=peer.address, msp_id=peer.msp_id, message=error)
        packed = any_pb2.Any()
        packed.Pack(detail)
        details.append(packed)
    status = RPC_STATUS(code=code.value[0], message=message.encode(), details=details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)
    raise AssertionError("abort raises")
