"""An endorsed transaction, to be signed and ordered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code
from client.gateway.commit import Commit
from client.gateway.errors import EndorseError, SubmitError
from client.gateway.scope import OverError, Scope
from client.gateway.signable import Signable, parse

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway

# After these it is unclear whether the ordering service has the transaction.
_UNCLEAR = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
    }
)


class Transaction(Signable):
    """What the peer prepared from the endorsements, checked to be the proposal it was asked for.

    Raises:
        EndorseError: with ``BAD_RESPONSE``, where it is another transaction; it is not signed.
    """

    def __init__(
        self,
        gateway: Gateway,
        prepared: common_pb2.Envelope,
        transaction_id: str,
        proposed_input: bytes,
    ) -> None:
        self.transaction_id = transaction_id
        self.result = _result(prepared.payload, transaction_id, proposed_input)
        self._sign(gateway, prepared.payload, None)

    @classmethod
    def from_bytes(cls, gateway: Gateway, content: bytes, signature: bytes) -> Self:
        """The transaction whose :meth:`to_bytes` this is, with its signature.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` where the bytes or the signature are no such thing.
        """
        prepared = parse(gateway_pb2.PreparedTransaction, content)
        transaction = cls.__new__(cls)
        transaction.transaction_id = prepared.transaction_id
        transaction.result = _result(prepared.envelope.payload, prepared.transaction_id, None)
        transaction._sign(gateway, prepared.envelope.payload, signature)
        return transaction

    def to_bytes(self) -> bytes:
        """``gateway.PreparedTransaction`` bytes."""
        prepared = gateway_pb2.PreparedTransaction(
            transaction_id=self.transaction_id, envelope=self._envelope()
        )
        return bytes(prepared.SerializeToString())

    def submit(self, *, scope: Scope | None = None) -> Commit:
        """Send the transaction for ordering; the same bytes again while the outcome is unclear.

        Where it stays unclear, the commit status has the last word: a transaction that was sent
        is never reported as failed on a guess.

        Raises:
            SubmitError: the ordering service refused it, or it was not sent at all; ``UNSIGNED``.
        """
        self._require_signature(SubmitError, self.transaction_id)
        scope = scope or Scope()
        # Made first, so that nothing can go wrong between ordering and asking.
        commit = Commit(self._gateway, self.transaction_id)
        request = gateway_pb2.SubmitRequest(
            transaction_id=self.transaction_id,
            channel_id=self._gateway.channel_name,
            prepared_transaction=self._envelope(),
        )
        policy = self._gateway.policy
        for attempt in range(policy.sends):
            try:
                scope.call(self._gateway.stub.Submit, request, policy.submit_seconds)
                return commit
            except grpc.RpcError as error:
                failure = SubmitError.from_rpc(error, self.transaction_id, "ordering")
                if isinstance(error, OverError) or error.code() not in _UNCLEAR:
                    if commit.doubt is None:
                        raise failure from None
                    # Not sent or refused now, but perhaps because the first copy arrived.
                    return commit
                commit.doubt = failure
            if attempt + 1 < policy.sends:
                scope.pause(attempt)
        return commit

    def _envelope(self) -> common_pb2.Envelope:
        return common_pb2.Envelope(payload=self._message, signature=self._signature)


def _result(payload_bytes: bytes, transaction_id: str, proposed_input: bytes | None) -> bytes:
    try:
        payload = common_pb2.Payload.FromString(payload_bytes)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        transaction = transaction_pb2.Transaction.FromString(payload.data)
        if len(transaction.actions) != 1:
            raise _refused(transaction_id, "it holds more or less than one action")
        action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
        proposed = proposal_pb2.ChaincodeProposalPayload.FromString(
            action.chaincode_proposal_payload
        )
        response = proposal_response_pb2.ProposalResponsePayload.FromString(
            action.action.proposal_response_payload
        )
        outcome = proposal_pb2.ChaincodeAction.FromString(response.extension)
    except DecodeError:
        raise _refused(transaction_id, "it cannot be read") from None
    if header.tx_id != transaction_id or proposed_input not in (None, proposed.input):
        raise _refused(transaction_id, "it is not the transaction that was proposed")
    return bytes(outcome.response.payload)


def _refused(transaction_id: str, why: str) -> EndorseError:
    return EndorseError(
        Code.BAD_RESPONSE,
        f"the peer prepared a transaction that is not signed, because {why}; "
        "check the peer and its software",
        transaction_id=transaction_id,
    )
