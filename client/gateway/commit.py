"""What became of a submitted transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import grpc
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2

from client.gateway.errors import CommitError, CommitStatusError, SubmitError
from client.gateway.scope import Scope
from client.gateway.signable import Signable, parse

if TYPE_CHECKING:
    from client.gateway.gateway import Gateway

_ASK_AGAIN = frozenset(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.ABORTED,
    }
)


@dataclass(frozen=True)
class Status:
    """The verdict of the committing peer; ``validation`` is the ``TxValidationCode``'s name."""

    transaction_id: str
    block_number: int
    validation: str

    @property
    def successful(self) -> bool:
        return self.validation == "VALID"

    def check(self) -> None:
        """Refuse an invalid transaction.

        Raises:
            CommitError: the transaction wrote nothing.
        """
        if not self.successful:
            raise CommitError(
                CommitError.stage_code,
                f"transaction {self.transaction_id[:8]} in block {self.block_number} is not valid "
                f"({self.validation}) and wrote nothing; read the ledger's state and try again",
                transaction_id=self.transaction_id,
                validation=self.validation,
            )


class Commit(Signable):
    """A transaction on its way into a block. ``doubt``: why it may never have been ordered."""

    def __init__(self, gateway: Gateway, transaction_id: str) -> None:
        request = gateway_pb2.CommitStatusRequest(
            transaction_id=transaction_id,
            channel_id=gateway.channel_name,
            identity=gateway.identity.serialize(),
        ).SerializeToString()
        self._take(gateway, transaction_id, request, None)

    @classmethod
    def from_bytes(cls, gateway: Gateway, content: bytes, signature: bytes) -> Self:
        """The commit whose :meth:`to_bytes` this is, with its signature.

        Raises:
            MedFabricError: ``BAD_ARGUMENT`` where the bytes or the signature are no such thing.
        """
        request = parse(gateway_pb2.SignedCommitStatusRequest, content).request
        asked = parse(gateway_pb2.CommitStatusRequest, request)
        commit = cls.__new__(cls)
        commit._take(gateway, asked.transaction_id, request, signature)
        return commit

    def to_bytes(self) -> bytes:
        """``gateway.SignedCommitStatusRequest`` bytes."""
        return bytes(self._request().SerializeToString())

    def status(self, *, scope: Scope | None = None) -> Status:
        """Wait for the transaction's block. Asks again where no answer comes; never resubmits.

        Raises:
            CommitStatusError: no answer after all tries, the transaction may still commit; or the
                peer refuses to say; ``UNSIGNED``.
        """
        self._require_signature(CommitStatusError, self.transaction_id)
        scope = scope or Scope()
        policy = self._gateway.policy
        for attempt in range(policy.asks):
            try:
                response = scope.call(
                    self._gateway.stub.CommitStatus, self._request(), policy.commit_seconds
                )
            except grpc.RpcError as error:
                failure = error
                if error.code() not in _ASK_AGAIN or scope.over:
                    break
            else:
                name = transaction_pb2.TxValidationCode.Name(response.result)
                return Status(self.transaction_id, response.block_number, name)
            if attempt + 1 < policy.asks:
                scope.pause(attempt)
        raise self._unknown(failure) from None

    def _take(
        self, gateway: Gateway, transaction_id: str, request: bytes, signature: bytes | None
    ) -> None:
        self.transaction_id = transaction_id
        self.doubt: SubmitError | None = None
        self._sign(gateway, request, signature)

    def _request(self) -> gateway_pb2.SignedCommitStatusRequest:
        return gateway_pb2.SignedCommitStatusRequest(
            request=self._message, signature=self._signature
        )

    def _unknown(self, error: grpc.RpcError) -> CommitStatusError:
        said = CommitStatusError.from_rpc(error, self.transaction_id, "commit status")
        doubt = f" After {self.doubt.message}." if self.doubt else ""
        return CommitStatusError(
            CommitStatusError.stage_code,
            f"transaction {self.transaction_id[:8]} may or may not have committed "
            f"({said.message}); read the ledger's state before anything is tried again.{doubt}",
            transaction_id=self.transaction_id,
            status=said.status,
            details=said.details,
        )
