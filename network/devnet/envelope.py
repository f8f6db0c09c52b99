"""Transactions put together from a proposal and its endorsements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from network.devnet.endorser import Proposal
from network.devnet.signer import Signer


def payload(proposal: Proposal, responses: Sequence[Any]) -> bytes:
    """``Payload`` bytes of the transaction, for the creator to sign."""
    action = transaction_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=proposal.payload,
        action=transaction_pb2.ChaincodeEndorsedAction(
            proposal_response_payload=responses[0].payload,
            endorsements=[response.endorsement for response in responses],
        ),
    )
    transaction = transaction_pb2.Transaction(
        actions=[
            transaction_pb2.TransactionAction(
                header=proposal.header.signature_header, payload=action.SerializeToString()
            )
        ]
    )
    whole = common_pb2.Payload(header=proposal.header, data=transaction.SerializeToString())
    return bytes(whole.SerializeToString())


def envelope(proposal: Proposal, responses: Sequence[Any], creator: Signer) -> bytes:
    """A signed ``Envelope``."""
    content = payload(proposal, responses)
    signed = common_pb2.Envelope(payload=content, signature=creator.sign(content))
    return bytes(signed.SerializeToString())
