"""Transactions through a peer's Gateway service, with the semantics of Fabric's own clients.

One module per concept, as there: proposal, transaction, commit, chaincode events, block events,
checkpoint, errors; and a scope, which is a deadline that can be cancelled.
"""

from client.gateway.blockevents import BlockEvents, BlockEventsRequest, Form
from client.gateway.chaincodeevents import (
    ChaincodeEvent,
    ChaincodeEvents,
    ChaincodeEventsRequest,
)
from client.gateway.checkpoint import Checkpoint, FileCheckpoint, MemoryCheckpoint
from client.gateway.commit import Commit, Status
from client.gateway.endorsers import Endorsers
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
from client.gateway.scope import Scope
from client.gateway.transaction import Transaction

__all__ = [
    "BlockEvents",
    "BlockEventsRequest",
    "ChaincodeEvent",
    "ChaincodeEvents",
    "ChaincodeEventsRequest",
    "Checkpoint",
    "Commit",
    "CommitError",
    "CommitStatusError",
    "Committed",
    "Detail",
    "EndorseError",
    "Endorsers",
    "EvaluateError",
    "EventsError",
    "FileCheckpoint",
    "Form",
    "Gateway",
    "GatewayError",
    "MemoryCheckpoint",
    "Policy",
    "Proposal",
    "Scope",
    "Status",
    "SubmitError",
    "Transaction",
]
