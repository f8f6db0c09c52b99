"""A Gateway service over the real contracts and an in-memory ledger: one block per transaction."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

from chaincode.contracts import chaincode
from support.memory_stub import MemoryLedger
from support.scenario import HOSPITALS
from support.scripted_gateway import fail, prepare


class LedgerGateway(gateway_pb2_grpc.GatewayServicer):
    """What a consortium's peers do together, without signatures or policies."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self._chaincode = chaincode()
        self._lock = threading.Lock()
        self._endorsed: dict[str, Any] = {}
        self._blocks: dict[str, int] = {}

    def Evaluate(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = self._run(request.proposed_transaction, commit=False)
        if response.status >= 400:
            refuse = _refusing(grpc.StatusCode.UNKNOWN, "evaluate call failed", response)
            return refuse(request, context)
        result = proposal_response_pb2.Response(status=200, payload=response.payload)
        return gateway_pb2.EvaluateResponse(result=result)

    def Endorse(self, request: Any, context: grpc.ServicerContext) -> Any:
        response = self._run(request.proposed_transaction, commit=False)
        if response.status >= 400:
            refuse = _refusing(grpc.StatusCode.ABORTED, "failed to endorse", response)
            return refuse(request, context)
        self._endorsed[request.transaction_id] = request.proposed_transaction
        envelope = prepare(request.proposed_transaction, response.payload)
        return gateway_pb2.EndorseResponse(prepared_transaction=envelope)

    def Submit(self, request: Any, _: grpc.ServicerContext) -> Any:
        with self._lock:
            self._run(self._endorsed[request.transaction_id], commit=True)
            self._blocks[request.transaction_id] = len(self._blocks) + 1
        return gateway_pb2.SubmitResponse()

    def CommitStatus(self, request: Any, _: grpc.ServicerContext) -> Any:
        asked = gateway_pb2.CommitStatusRequest.FromString(request.request)
        return gateway_pb2.CommitStatusResponse(
            result=transaction_pb2.VALID, block_number=self._blocks[asked.transaction_id]
        )

    def ChaincodeEvents(self, request: Any, _: grpc.ServicerContext) -> Any:
        for number, (name, payload) in enumerate(self.ledger.events, 1):
            event = chaincode_event_pb2.ChaincodeEvent(
                chaincode_id="medfabric", tx_id=f"{number:064x}", event_name=name, payload=payload
            )
            yield gateway_pb2.ChaincodeEventsResponse(block_number=number, events=[event])

    def _run(self, signed: Any, *, commit: bool) -> Any:
        proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
        header = common_pb2.Header.FromString(proposal.header)
        creator = common_pb2.SignatureHeader.FromString(header.signature_header).creator
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input)
        name, argument = spec.chaincode_spec.input.args
        return self.ledger.invoke(
            self._chaincode,
            creator,
            name.decode(),
            argument,
            int(channel.timestamp.seconds),
            commit=commit,
            transient=dict(payload.TransientMap),
            tx_id=channel.tx_id,
        )


def _refusing(status: grpc.StatusCode, why: str, response: Any) -> Any:
    """Refuses as a chaincode's response says, on every hospital's peer: one that only others'
    peers give is asked for again."""
    said = f"chaincode response {response.status}, {response.message}"
    return fail(status, why, *((f"{msp_id}:7051", msp_id, said) for msp_id in HOSPITALS))
