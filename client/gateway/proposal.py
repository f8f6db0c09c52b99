"""A proposal: what a client asks peers to simulate."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2
from google.protobuf import timestamp_pb2

from client.gateway.errors import EndorseError, EvaluateError
from client.gateway.scope import Scope
from client.gateway.signable import Signable, parse
from client.gateway.transaction import Transaction

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway


class Proposal(Signable):
    """A proposal with its own transaction id, SHA-256(nonce, creator).

    Args:
        arguments: the transaction's name first.
        chaincode: another than the gateway's.
        transient: reaches the chaincode and no ledger.
        organizations: MSP ids whose peers must endorse, or answer a query; none leaves the choice
            to the peer, which knows the policies and who is there.
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
        transaction_id = hashlib.sha256(nonce + creator).hexdigest()
        name = chaincode or gateway.chaincode
        header = _header(
            gateway.channel_name,
            name,
            transaction_id,
            common_pb2.SignatureHeader(creator=creator, nonce=nonce),
        )
        payload = proposal_pb2.ChaincodeProposalPayload(
            input=_input(name, arguments), TransientMap=dict(transient or {})
        )
        content = proposal_pb2.Proposal(
            header=header.SerializeToString(), payload=payload.SerializeToString()
        ).SerializeToString()
        self._take(gateway, transaction_id, content, organizations, None)

    @classmethod
    def from_bytes(cls, gateway: Gateway, content: bytes, signature: bytes) -> Self:
        """The proposal whose :meth:`to_bytes` this is, with its signature.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` where the bytes or the signature are no such thing.
        """
        proposed = parse(gateway_pb2.ProposedTransaction, content)
        proposal = cls.__new__(cls)
        proposal._take(
            gateway,
            proposed.transaction_id,
            proposed.proposal.proposal_bytes,
            list(proposed.endorsing_organizations),
            signature,
        )
        return proposal

    def to_bytes(self) -> bytes:
        """``gateway.ProposedTransaction`` bytes."""
        proposed = gateway_pb2.ProposedTransaction(
            transaction_id=self.transaction_id,
            proposal=self.signed,
            endorsing_organizations=self._organizations,
        )
        return bytes(proposed.SerializeToString())

    @property
    def signed(self) -> proposal_pb2.SignedProposal:
        """The proposal as peers' endorser service takes it."""
        return proposal_pb2.SignedProposal(proposal_bytes=self._message, signature=self._signature)

    def evaluate(self, *, scope: Scope | None = None) -> bytes:
        """Ask one peer for the result, writing nothing.

        Raises:
            EvaluateError: the peer did not answer, or the chaincode refused; ``UNSIGNED``.
        """
        request = gateway_pb2.EvaluateRequest(
            transaction_id=self.transaction_id,
            channel_id=self._gateway.channel_name,
            proposed_transaction=self.signed,
            target_organizations=self._organizations,
        )
        response = self._query(self._gateway.stub.Evaluate, request, scope)
        return bytes(response.result.payload)

    def ask_peer(self, *, scope: Scope | None = None) -> bytes:
        """Ask this very peer's Endorser service, which also serves the system chaincodes.

        Raises:
            EvaluateError: the peer did not answer, or refused; ``UNSIGNED``.
        """
        answer = self._query(self._gateway.endorser.ProcessProposal, self.signed, scope)
        if answer.response.status >= 400:
            raise EvaluateError(
                EvaluateError.stage_code,
                f"the peer refuses to tell: {answer.response.message[:500]}",
                transaction_id=self.transaction_id,
            )
        return bytes(answer.response.payload)

    def endorse(self, *, scope: Scope | None = None) -> Transaction:
        """Have peers simulate and endorse the proposal, as many as the policies ask for.

        Raises:
            EndorseError: not enough endorsements, or the chaincode refused; or what the peer
                prepared is not this proposal; ``UNSIGNED``.
        """
        self._require_signature(EndorseError, self.transaction_id)
        request = gateway_pb2.EndorseRequest(
            transaction_id=self.transaction_id,
            channel_id=self._gateway.channel_name,
            proposed_transaction=self.signed,
            endorsing_organizations=self._organizations,
        )
        seconds = self._gateway.policy.endorse_seconds
        try:
            response = (scope or Scope()).call(self._gateway.stub.Endorse, request, seconds)
        except grpc.RpcError as error:
            raise EndorseError.from_rpc(error, self.transaction_id, "endorsement") from None
        return Transaction(
            self._gateway, response.prepared_transaction, self.transaction_id, self.input
        )

    def _take(
        self,
        gateway: Gateway,
        transaction_id: str,
        content: bytes,
        organizations: Sequence[str],
        signature: bytes | None,
    ) -> None:
        payload = parse(proposal_pb2.Proposal, content).payload
        self.transaction_id = transaction_id
        self.input = bytes(parse(proposal_pb2.ChaincodeProposalPayload, payload).input)
        self._organizations = organizations
        self._sign(gateway, content, signature)

    def _query(self, method: Any, request: Any, scope: Scope | None) -> Any:
        self._require_signature(EvaluateError, self.transaction_id)
        seconds = self._gateway.policy.evaluate_seconds
        try:
            return (scope or Scope()).call(method, request, seconds)
        except grpc.RpcError as error:
            raise EvaluateError.from_rpc(error, self.transaction_id, "query") from None


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
