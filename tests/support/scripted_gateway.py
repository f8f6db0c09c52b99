"""A Gateway service that follows a script and otherwise behaves like a good peer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.peer import (
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf import any_pb2

from client.gateway.errors import RPC_STATUS
from support.pki import Authority

Step = Callable[[Any, grpc.ServicerContext], Any]


def fail(code: grpc.StatusCode, text: str, *details: tuple[str, str, str]) -> Step:
    """A step that ends the call with this status and these (address, msp id, message) details."""

    def step(_: Any, context: grpc.ServicerContext) -> Any:
        status = RPC_STATUS(code=code.value[0], message=text.encode())
        for address, msp_id, message in details:
            packed = any_pb2.Any()
            packed.Pack(
                gateway_pb2.ErrorDetail(address=address, msp_id=msp_id, message=message),
                type_url_prefix="type.googleapis.com/",
            )
            status.details.append(packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, text)

    return step


def hang(request: Any, context: grpc.ServicerContext) -> Any:
    """A step that answers nothing until the client's deadline is over."""
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(20)
    return None


class ScriptedGateway(gateway_pb2_grpc.GatewayServicer):
    """Does the next step of a method's script; without one it behaves like a good peer.

    ``asked`` keeps every request by method; ``answer`` is the chaincode's payload.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, list[Step]] = {}
        self.asked: dict[str, list[object]] = {}
        self.answer = b'{"ok":1}'
        self.validation = [transaction_pb2.VALID]

    def script(self, method: str, *steps: Step) -> None:
        self.scripts[method] = list(steps)

    def Evaluate(self, request: Any, context: grpc.ServicerContext) -> Any:
        def good() -> Any:
            result = proposal_response_pb2.Response(status=200, payload=self.answer)
            return gateway_pb2.EvaluateResponse(result=result)

        return self._step("Evaluate", request, context, good)

    def Endorse(self, request: Any, context: grpc.ServicerContext) -> Any:
        def good() -> Any:
            envelope = prepare(request.proposed_transaction, self.answer)
            return gateway_pb2.EndorseResponse(prepared_transaction=envelope)

        return self._step("Endorse", request, context, good)

    def Submit(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._step("Submit", request, context, gateway_pb2.SubmitResponse)

    def CommitStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        def good() -> Any:
            code = self.validation.pop(0) if len(self.validation) > 1 else self.validation[0]
            return gateway_pb2.CommitStatusResponse(result=code, block_number=7)

        return self._step("CommitStatus", request, context, good)

    def ChaincodeEvents(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.asked.setdefault("ChaincodeEvents", []).append(request)
        for step in self.scripts.get("ChaincodeEvents", []):
            found = step(request, context)
            if found is not None:
                yield found

    def _step(
        self, method: str, request: Any, context: grpc.ServicerContext, good: Callable[[], Any]
    ) -> Any:
        self.asked.setdefault(method, []).append(request)
        steps = self.scripts.get(method)
        return steps.pop(0)(request, context) if steps else good()


def prepare(signed: proposal_pb2.SignedProposal, answer: bytes) -> common_pb2.Envelope:
    """The envelope that a peer prepares from a proposal and its endorsements."""
    proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
    given = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
    action = proposal_pb2.ChaincodeAction(
        response=proposal_response_pb2.Response(status=200, payload=answer),
        chaincode_id=chaincode_pb2.ChaincodeID(name="medfabric"),
    )
    response = proposal_response_pb2.ProposalResponsePayload(extension=action.SerializeToString())
    payload = transaction_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=proposal_pb2.ChaincodeProposalPayload(
            input=given.input
        ).SerializeToString(),
        action=transaction_pb2.ChaincodeEndorsedAction(
            proposal_response_payload=response.SerializeToString()
        ),
    )
    actions = [transaction_pb2.TransactionAction(payload=payload.SerializeToString())]
    header = common_pb2.Header.FromString(proposal.header)
    data = transaction_pb2.Transaction(actions=actions).SerializeToString()
    return common_pb2.Envelope(
        payload=common_pb2.Payload(header=header, data=data).SerializeToString()
    )


@contextmanager
def serve(
    service: gateway_pb2_grpc.GatewayServicer, authority: Authority, folder: Path
) -> Iterator[tuple[Path, grpc.Server]]:
    """Serve over mutual TLS; gives the connection.json, written into the folder, and the server."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    gateway_pb2_grpc.add_GatewayServicer_to_server(service, server)
    certificate, key = authority.issue("localhost")
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority.pem, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    (folder / "ca.pem").write_bytes(authority.pem)
    endpoint = {
        "address": f"127.0.0.1:{port}",
        "server_name": "localhost",
        "tls_ca_file": "ca.pem",
    }
    connection = {
        "channel": "medfabric",
        "chaincode": "medfabric",
        "msp_id": "Hospital1MSP",
        "hospital": "hospital1",
        "gateway": endpoint,
        "orderers": [endpoint],
        "peers": [endpoint],
    }
    (folder / "connection.json").write_text(json.dumps(connection))
    try:
        yield folder / "connection.json", server
    finally:
        server.stop(None).wait()
