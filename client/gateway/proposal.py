"""A proposal: what a client asks peers to simulate."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2
from google.protobuf import timestamp_pb2

from client.gateway.errors import EndorseError, EvaluateError
from client.gateway.transaction import Transaction

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway


class Proposal:
    """A signed proposal with its own transaction id, SHA-256(nonce, creator).

    Args:
        arguments: the transaction's name first.
        transient: reaches the chaincode and no ledger.
        organizations: MSP ids that must endorse; none leaves the choice to the peer.
    """

    def __init__(
        self,
        gateway: Gateway,
        arguments: Sequence[bytes],
        *,
        chaincode: str | None = None,
        transient: Mapping[str, bytes] | None = None,
        organizations: Sequence[str] = (),
    ) -> None:
        creator, nonce = gateway.identity.serialize(), secrets.token_bytes(24)
        self._gateway = gateway
        self._organizations = organizations
        self.transaction_id = hashlib.sha256(nonce + creator).hexdigest()
        self.input = _input(chaincode or gateway.chaincode, arguments)
        header = _header(
            gateway.channel_name,
            chaincode or gateway.chaincode,
            self.transaction_id,
            common_pb2.SignatureHeader(creator=creator, nonce=nonce),
        )
        payload = proposal_pb2.ChaincodeProposalPayload(
            input=self.input, TransientMap=dict(transient or {})
        )
        content = proposal_pb2.Proposal(
            header=header.SerializeToString(), payload=payload.SerializeToString()
        ).SerializeToString()
        self._signed = proposal_pb2.SignedProposal(
            proposal_bytes=content, signature=gateway.identity.sign(content)
        )

    @property
    def signed(self) -> proposal_pb2.SignedProposal:
        """The proposal as peers' endorser service takes it."""
        return self._signed

    def evaluate(self) -> bytes:
        """Ask one peer for the result, writing nothing.

        Raises:
            EvaluateError: the peer did not answer, or the chaincode refused.
        """
        request = gateway_pb2.EvaluateRequest(
            transaction_id=self.transaction_id,
            channel_id=self._gateway.channel_name,
            proposed_transaction=self._signed,
        )
        try:
            response = self._gateway.stub.Evaluate(
                request, timeout=self._gateway.policy.evaluate_seconds
            )
        except grpc.RpcError as error:
            raise EvaluateError.from_rpc(error, self.transaction_id, "query") from None
        return bytes(response.result.payload)

    def ask_peer(self) -> bytes:
        """Ask this very peer's Endorser service, which also serves the system chaincodes.

        Raises:
            EvaluateError: the peer did not answer, or refused.
        """
        try:
            answer = self._gateway.endorser.ProcessProposal(
                self._signed, timeout=self._gateway.policy.evaluate_seconds
            )
        except grpc.RpcError as error:
            raise EvaluateError.from_rpc(error, self.transaction_id, "query") from None
        if answer.response.status >= 400:
            raise EvaluateError(
                EvaluateError.stage_code,
                f"the peer refuses to tell: {answer.response.message[:500]}",
                transaction_id=self.transaction_id,
            )
        return bytes(answer.response.payload)

    def endorse(self) -> Transaction:
        """Have peers simulate and endorse the proposal, as many as the policies ask for.

        Raises:
            EndorseError: not enough endorsements, or the chaincode refused; or what the peer
                prepared is not this proposal.
        """
        request = gateway_pb2.EndorseRequest(
            transaction_id=self.transaction_id,
            channel_id=self._gateway.channel_name,
            proposed_transaction=self._signed,
            endorsing_organizations=self._organizations,
        )
        try:
            response = self._gateway.stub.Endorse(
                request, timeout=self._gateway.policy.endorse_seconds
            )
        except grpc.RpcError as error:
            raise EndorseError.from_rpc(error, self.transaction_id, "endorsement") from None
        return Transaction(
            self._gateway, response.prepared_transaction, self.transaction_id, self.input
        )


def _input(chaincode: str, arguments: Sequence[bytes]) -> bytes:
    spec = chaincode_pb2.ChaincodeSpec(
        chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode),
        input=chaincode_pb2.ChaincodeInput(args=list(arguments)),
    )
    invocation = chaincode_pb2.ChaincodeInvocationSpec(chaincode_spec=spec)
    return bytes(invocation.SerializeToString())


def _header(
    channel: str, chaincode: str, transaction_id: str, signature: common_pb2.SignatureHeader
) -> common_pb2.Header:
    now = timestamp_pb2.Timestamp()
    now.GetCurrentTime()
    extension = proposal_pb2.ChaincodeHeaderExtension(
        chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode)
    )
    channel_header = common_pb2.ChannelHeader(
        type=common_pb2.ENDORSER_TRANSACTION,
        timestamp=now,
        channel_id=channel,
        tx_id=transaction_id,
        extension=extension.SerializeToString(),
    )
    return common_pb2.Header(
        channel_header=channel_header.SerializeToString(),
        signature_header=signature.SerializeToString(),
    )
