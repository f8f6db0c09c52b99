"""Transactions through a peer's Gateway service, with the semantics of Fabric's own clients.

One module per concept, as there: proposal, transaction, commit, chaincode events, errors.
"""

from client.gateway.chaincodeevents import ChaincodeEvent, ChaincodeEvents
from client.gateway.checkpoint import Checkpoint, FileCheckpoint, MemoryCheckpoint
from client.gateway.commit import Commit, Status
from client.gateway.errors import (
    CommitError,
    CommitStatusError,
    Detail,
    EndorseError,
    EvaluateError,
    EventsError,
    GatewayError,
    SubmitError,
)
from client.gateway.gateway import Committed, Gateway
from client.gateway.policy import Policy
from client.gateway.proposal import Proposal
from client.gateway.transaction import Transaction

__all__ = [
    "ChaincodeEvent",
    "ChaincodeEvents",
    "Checkpoint",
    "Commit",
    "CommitError",
    "CommitStatusError",
    "Committed",
    "Detail",
    "EndorseError",
    "EvaluateError",
    "EventsError",
    "FileCheckpoint",
    "Gateway",
    "GatewayError",
    "MemoryCheckpoint",
    "Policy",
    "Proposal",
    "Status",
    "SubmitError",
    "Transaction",
]
