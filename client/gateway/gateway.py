"""One identity's view of a channel's chaincode through one peer."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
from fabric_protos.common import ledger_pb2
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import peer_pb2_grpc

from client.closing import Closing
from client.connection import Connection, open_channel
from client.gateway.blockevents import BlockEvents, BlockEventsRequest, Form
from client.gateway.chaincodeevents import ChaincodeEvents, ChaincodeEventsRequest
from client.gateway.checkpoint import Checkpoint
from client.gateway.commit import Commit
from client.gateway.endorsers import Endorsers
from client.gateway.errors import CommitError, EndorseError
from client.gateway.policy import Policy
from client.gateway.proposal import Proposal
from client.gateway.scope import Scope
from client.gateway.transaction import Transaction
from client.identity import Identity

_CLOSE_SECONDS = 2.0


@dataclass(frozen=True)
class Committed:
    """A transaction that is in a block and valid."""

    result: bytes
    transaction_id: str
    block_number: int


class Gateway(Closing):
    """Evaluates and submits transactions; synchronous, and safe to share among threads.

    Calls that take a ``scope`` go on no longer than it; without one, a call takes what the
    policy's seconds and tries amount to.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        identity: Identity,
        *,
        channel_name: str,
        chaincode: str,
        policy: Policy | None = None,
    ) -> None:
        self.grpc_channel = channel
        self.identity = identity
        self.channel_name = channel_name
        self.chaincode = chaincode
        self.policy = policy or Policy()
        self.stub: Any = gateway_pb2_grpc.GatewayStub(channel)
        self.endorser: Any = peer_pb2_grpc.EndorserStub(channel)

    @classmethod
    def connect(
        cls, connection: Connection, identity: Identity, *, policy: Policy | None = None
    ) -> Self:
        """Over mutual TLS to the hospital's own peer; it connects at the first call."""
        return cls(
            open_channel(connection.gateway, identity),
            identity,
            channel_name=connection.channel,
            chaincode=connection.chaincode,
            policy=policy,
        )

    def evaluate(
        self,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        chaincode: str | None = None,
        organizations: Sequence[str] = (),
        scope: Scope | None = None,
    ) -> bytes:
        """Query one peer: the own hospital's, or one of those named.

        Raises:
            EvaluateError: the peer did not answer, or the chaincode refused.
        """
        proposal = self.proposal(
            arguments, transient=transient, chaincode=chaincode, organizations=organizations
        )
        return proposal.evaluate(scope=scope)

    def submit(
        self,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        chaincode: str | None = None,
        organizations: Sequence[str] = (),
        endorsers: Endorsers | None = None,
        scope: Scope | None = None,
    ) -> Committed:
        """Endorse, order and commit. Proposed anew, with a new transaction id, only where it is
        certain that the last one wrote nothing: a conflict with another transaction, peers that
        were not at the same block or not to be seen, or others to ask. A lost outcome is never one
        of these.

        ``endorsers`` choose the organizations of each proposal.

        Raises:
            EndorseError: nothing was submitted.
            SubmitError: the ordering service refused it; it will not commit.
            CommitStatusError: it may have committed; read the state.
            CommitError: it is in a block and not valid.
        """
        scope = scope or Scope()
        for attempt in range(1, self.policy.proposals + 1):
            named = endorsers.choose(scope) if endorsers else organizations
            proposal = self.proposal(
                arguments, transient=transient, chaincode=chaincode, organizations=named
            )
            try:
                return self._submit_once(proposal, scope)
            except (CommitError, EndorseError) as error:
                others = endorsers is not None and endorsers.learn(error, named)
                if attempt == self.policy.proposals or not (others or self._passing(error)):
                    raise
            scope.pause(attempt)
        raise AssertionError("a policy has at least one proposal")

    def height(self, *, scope: Scope | None = None) -> int:
        """Number of blocks that this very peer has committed.

        Raises:
            EvaluateError: the peer did not answer, or lets us not ask.
        """
        arguments = [b"GetChainInfo", self.channel_name.encode()]
        info = Proposal(self, arguments, chaincode="qscc").ask_peer(scope=scope)
        return int(ledger_pb2.BlockchainInfo.FromString(info).height)

    def proposal(
        self,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        chaincode: str | None = None,
        organizations: Sequence[str] = (),
    ) -> Proposal:
        """A proposal, for going through the stages one by one; see :class:`Proposal`."""
        return Proposal(
            self,
            arguments,
            chaincode=chaincode,
            transient=transient,
            organizations=organizations,
        )

    def signed_proposal(self, content: bytes, signature: bytes) -> Proposal:
        """Go on with a proposal whose ``digest`` was signed off-line."""
        return Proposal.from_bytes(self, content, signature)

    def signed_transaction(self, content: bytes, signature: bytes) -> Transaction:
        """Go on with an endorsed transaction whose ``digest`` was signed off-line."""
        return Transaction.from_bytes(self, content, signature)

    def signed_commit(self, content: bytes, signature: bytes) -> Commit:
        """Go on with a commit whose ``digest`` was signed off-line."""
        return Commit.from_bytes(self, content, signature)

    def events(
        self,
        *,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
        chaincode: str | None = None,
    ) -> ChaincodeEvents:
        """Events from the checkpoint on, else from ``start_block``, else from now on."""
        request = self.events_request(
            start_block=start_block, checkpoint=checkpoint, chaincode=chaincode
        )
        return request.open()

    def events_request(
        self,
        *,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
        chaincode: str | None = None,
    ) -> ChaincodeEventsRequest:
        """What :meth:`events` opens, for signing it off-line."""
        return ChaincodeEventsRequest(self, start_block, checkpoint, chaincode)

    def signed_events_request(self, content: bytes, signature: bytes) -> ChaincodeEventsRequest:
        """Go on with a request for events whose ``digest`` was signed off-line."""
        return ChaincodeEventsRequest.from_bytes(self, content, signature)

    def block_events(
        self,
        *,
        form: Form = Form.BLOCK,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> BlockEvents:
        """Blocks from the checkpoint on, else from ``start_block``, else from now on."""
        request = self.block_events_request(
            form=form, start_block=start_block, checkpoint=checkpoint
        )
        return request.open()

    def block_events_request(
        self,
        *,
        form: Form = Form.BLOCK,
        start_block: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> BlockEventsRequest:
        """What :meth:`block_events` opens, for signing it off-line."""
        return BlockEventsRequest(self, form, start_block, checkpoint)

    def signed_block_events_request(
        self, content: bytes, signature: bytes, *, form: Form = Form.BLOCK
    ) -> BlockEventsRequest:
        """Go on with a request for blocks whose ``digest`` was signed off-line."""
        return BlockEventsRequest.from_bytes(self, form, content, signature)

    def close(self) -> None:
        """Close the connection; what waits on it fails."""
        # A call that a signal (Ctrl-C) interrupted while it was made never ends for grpc, which
        # waits for it here without end.
        closing = threading.Thread(target=self.grpc_channel.close, daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _submit_once(self, proposal: Proposal, scope: Scope) -> Committed:
        transaction = proposal.endorse(scope=scope)
        status = transaction.submit(scope=scope).status(scope=scope)
        status.check()
        return Committed(transaction.result, status.transaction_id, status.block_number)

    def _passing(self, error: CommitError | EndorseError) -> bool:
        if isinstance(error, CommitError):
            return error.conflict
        return error.unseen or error.disagreement(self.identity.msp_id)
