"""Fabric's Gateway service, for one hospital's clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import chaincode_event_pb2, transaction_pb2
from google.protobuf import any_pb2

from client.audit import policy
from client.audit.msp import IdentityRefusedError
from client.audit.transactions import (
    InvalidTransactionError,
    chaincode_action,
    header,
    parse,
    parse_prepared,
)
from client.gateway.errors import RPC_STATUS
from network.devnet import endorser, envelope
from network.devnet.endorser import Peer, Proposal, Simulated
from network.devnet.ledger import Ledger
from network.devnet.orderer import Orderer
from network.devnet.stream import ChaincodeUnavailableError

log = logging.getLogger("medfabric.devnet")

_WAIT_SECONDS = 1.0


class GatewayService(gateway_pb2_grpc.GatewayServicer):  # type: ignore[misc]
    """Evaluate, Endorse, Submit, CommitStatus and ChaincodeEvents at one hospital's peer.

    Args:
        own: this hospital's peer.
        peers: all hospitals' peers.
    """

    def __init__(
        self, own: Peer, peers: Sequence[Peer], ledger: Ledger, orderer: Orderer, channel_id: str
    ) -> None:
        self._own = own
        self._peers = [own, *(peer for peer in peers if peer is not own)]
        self._ledger = ledger
        self._orderer = orderer
        self._channel_id = channel_id
        self._pool = ThreadPoolExecutor(4 * len(peers), thread_name_prefix="endorse")

    def Evaluate(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        proposal = self._check(request.proposed_transaction, context)
        try:
            simulated = self._own.simulate(proposal)
        except ChaincodeUnavailableError as error:
            _abort(context, grpc.StatusCode.UNAVAILABLE, "evaluate failed", [(self._own, error)])
        if simulated.response.status >= 400:
            refusal = _refusal(simulated)
            _abort(context, grpc.StatusCode.UNKNOWN, str(refusal), [(self._own, refusal)])
        return gateway_pb2.EvaluateResponse(result=simulated.response)

    def Endorse(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        proposal = self._check(request.proposed_transaction, context)
        named = set(request.endorsing_organizations)
        peers = [peer for peer in self._peers if not named or peer.msp_id in named]
        answers = self._endorse(proposal, peers)
        good = [answer for _, answer, _ in answers if answer is not None]
        if not good:
            failures = [(peer, error) for peer, _, error in answers if error is not None]
            refused = any(isinstance(error, _RefusedError) for _, error in failures)
            code = grpc.StatusCode.ABORTED if refused else grpc.StatusCode.UNAVAILABLE
            _abort(context, code, "failed to collect enough transaction endorsements", failures)
        agreeing = [a for a in good if a.payload == good[0].payload]
        if len(agreeing) < len(good):
            message = "ProposalResponsePayloads do not match"
            _abort(context, grpc.StatusCode.ABORTED, message, [(self._own, message)])
        prepared = common_pb2.Envelope(payload=envelope.payload(proposal, agreeing))
        missing = self._missing(prepared)
        if missing:
            failures = [(peer, error) for peer, _, error in answers if error is not None]
            _abort(context, grpc.StatusCode.FAILED_PRECONDITION, missing, failures)
        return gateway_pb2.EndorseResponse(prepared_transaction=prepared)

    def Submit(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        raw = request.prepared_transaction.SerializeToString()
        try:
            transaction = parse(raw, self._ledger.channel, self._channel_id)
        except InvalidTransactionError as error:
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, f"BAD_REQUEST: {error}", [])
        if not self._ledger.channel.satisfies("/Channel/Writers", [transaction.creator]):
            _abort(context, grpc.StatusCode.ABORTED, "FORBIDDEN: not a writer", [])
        self._orderer.submit(raw)
        return gateway_pb2.SubmitResponse()

    def CommitStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        asked = gateway_pb2.CommitStatusRequest.FromString(request.request)
        self._check_reader(asked.identity, request, context)
        while context.is_active():
            place = self._ledger.wait_for_transaction(asked.transaction_id, _WAIT_SECONDS)
            if place is not None:
                return gateway_pb2.CommitStatusResponse(result=place.code, block_number=place.block)
        _abort(context, grpc.StatusCode.CANCELLED, "the client has gone", [])

    def ChaincodeEvents(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[Any]:
        asked = gateway_pb2.ChaincodeEventsRequest.FromString(request.request)
        self._check_reader(asked.identity, request, context)
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

    def _check(self, signed: Any, context: grpc.ServicerContext) -> Proposal:
        try:
            return endorser.check(signed, self._ledger, self._channel_id)
        except endorser.ProposalRefusedError as error:
            _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error), [(self._own, error)])

    def _check_reader(self, raw: bytes, request: Any, context: grpc.ServicerContext) -> None:
        try:
            reader = self._ledger.channel.members.identity(raw)
        except IdentityRefusedError as error:
            _abort(context, grpc.StatusCode.PERMISSION_DENIED, str(error), [])
        if not reader.verify(request.request, request.signature):
            _abort(context, grpc.StatusCode.PERMISSION_DENIED, "the signature is false", [])
        if not self._ledger.channel.satisfies("/Channel/Readers", [reader]):
            _abort(context, grpc.StatusCode.PERMISSION_DENIED, "not a reader", [])

    def _endorse(
        self, proposal: Proposal, peers: Sequence[Peer]
    ) -> list[tuple[Peer, Any | None, Exception | None]]:
        def one(peer: Peer) -> tuple[Peer, Any | None, Exception | None]:
            try:
                response, simulated = peer.endorse(proposal)
            except ChaincodeUnavailableError as error:
                return peer, None, error
            if not response.HasField("endorsement"):
                return peer, None, _refusal(simulated)
            return peer, response, None

        return list(self._pool.map(one, peers))

    def _missing(self, prepared: common_pb2.Envelope) -> str:
        """What the endorsement policies still ask for, or nothing."""
        try:
            transaction = parse_prepared(prepared.payload, self._ledger.channel, self._channel_id)
            self._ledger.check_endorsements(transaction)
        except (InvalidTransactionError, policy.UnsupportedPolicyError) as error:
            return str(error)
        return ""

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


class _RefusedError(Exception):
    """The chaincode refused."""


def _refusal(simulated: Simulated) -> _RefusedError:
    response = simulated.response
    return _RefusedError(f"chaincode response {response.status}, {response.message}")


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
    failures: Sequence[tuple[Peer, object]],
) -> NoReturn:
    details = []
    for peer, error in failures:
        detail = gateway_pb2.ErrorDetail(
            address=peer.address, msp_id=peer.msp_id, message=str(error)
        )
        packed = any_pb2.Any()
        packed.Pack(detail)
        details.append(packed)
    status = RPC_STATUS(code=code.value[0], message=message.encode(), details=details)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)
    raise AssertionError("abort raises")
