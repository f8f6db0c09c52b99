"""One identity's view of a channel's chaincode through one peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
from fabric_protos.common import ledger_pb2
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import peer_pb2_grpc

from client.closing import Closing
from client.connection import Connection, open_channel
from client.gateway.chaincodeevents import ChaincodeEvents
from client.gateway.checkpoint import Checkpoint
from client.gateway.errors import CommitError, EndorseError
from client.gateway.policy import Policy, pause
from client.gateway.proposal import Proposal
from client.identity import Identity


@dataclass(frozen=True)
class Committed:
    """A transaction that is in a block and valid."""

    result: bytes
    transaction_id: str
    block_number: int


class Gateway(Closing):
    """Evaluates and submits transactions; synchronous, and safe to share among threads."""

    def __init__(
        self,
        channel: grpc.Channel,
        identity: Identity,
        *,
        channel_name: str,
        chaincode: str,
        policy: Policy | None = None,
    ) -> None:
        self._channel = channel
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

    def evaluate(self, arguments: Sequence[bytes]) -> bytes:
        """Query one peer.

        Raises:
            EvaluateError: the peer did not answer, or the chaincode refused.
        """
        return self.proposal(arguments).evaluate()

    def submit(
        self,
        arguments: Sequence[bytes],
        *,
        transient: Mapping[str, bytes] | None = None,
        chaincode: str | None = None,
        organizations: Sequence[str] = (),
    ) -> Committed:
        """Endorse, order and commit. Proposed anew, with a new transaction id, only where it is
        certain that the last one wrote nothing: a conflict with another transaction, or peers
        that were not at the same block. A lost outcome is never one of these.

        Raises:
            EndorseError: nothing was submitted.
            SubmitError: the ordering service refused it; it will not commit.
            CommitStatusError: it may have committed; read the state.
            CommitError: it is in a block and not valid.
        """
        for attempt in range(1, self.policy.proposals + 1):
            try:
                return self._submit_once(
                    Proposal(
                        self,
                        arguments,
                        chaincode=chaincode,
                        transient=transient,
                        organizations=organizations,
                    )
                )
            except (CommitError, EndorseError) as error:
                if attempt == self.policy.proposals or not self._passing(error):
                    raise
            pause(attempt)
        raise AssertionError("a policy has at least one proposal")

    def height(self) -> int:
        """Number of blocks that this very peer has committed.

        Raises:
            EvaluateError: the peer did not answer, or lets us not ask.
        """
        arguments = [b"GetChainInfo", self.channel_name.encode()]
        info = Proposal(self, arguments, chaincode="qscc").ask_peer()
        return int(ledger_pb2.BlockchainInfo.FromString(info).height)

    def proposal(
        self, arguments: Sequence[bytes], *, transient: Mapping[str, bytes] | None = None
    ) -> Proposal:
        """A signed proposal, for going through the stages one by one."""
        return Proposal(self, arguments, transient=transient)

    def events(
        self, *, start_block: int | None = None, checkpoint: Checkpoint | None = None
    ) -> ChaincodeEvents:
        """Events from the checkpoint on, else from ``start_block``, else from now on."""
        return ChaincodeEvents(self, start_block, checkpoint)

    def close(self) -> None:
        """Close the connection; what waits on it fails."""
        self._channel.close()

    def _submit_once(self, proposal: Proposal) -> Committed:
        transaction = proposal.endorse()
        status = transaction.submit().status()
        status.check()
        return Committed(transaction.result, status.transaction_id, status.block_number)

    def _passing(self, error: CommitError | EndorseError) -> bool:
        if isinstance(error, CommitError):
            return error.conflict
        return error.disagreement(self.identity.msp_id)
