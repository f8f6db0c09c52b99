"""What goes wrong, by stage, with what the peers say of it.

A refusal by the contracts keeps its own code (``error.code == "MF-5001"``), at whatever stage a
peer reports it; everything else has the code of its stage.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import grpc
from fabric_protos.gateway import gateway_pb2
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code, MedFabricError, parse

_TRAILER = "grpc-status-details-bin"
_LONGEST = 2_000
_MISMATCH = "ProposalResponsePayloads do not match"
_DENIED = re.compile(r"access denied|\bFORBIDDEN\b")
"""What peers and orderers say to an identity that the channel's rules do not let ask."""
_UNSEEN = (
    "no peer combination can satisfy the endorsement policy",
    "required chaincodes are not installed on sufficient peers",
)
"""What Fabric's discovery says while gossip has not told it of peers, or of what runs on them."""

_CONFLICTS = frozenset(
    {
        "MVCC_READ_CONFLICT",
        "PHANTOM_READ_CONFLICT",
        # Fabric's verdict where an earlier transaction of the same block wrote the policy of a
        # key that this one writes: seen before the versions that were read are compared.
        "ENDORSEMENT_POLICY_FAILURE",
    }
)


@dataclass(frozen=True)
class Detail:
    """What one peer or orderer says of the failure."""

    address: str
    msp_id: str
    message: str


class GatewayError(MedFabricError):
    """A stage of a transaction failed.

    ``status`` is the name of the gRPC status ("" where none applies), ``details`` what single
    peers say, ``transaction_id`` empty for events.
    """

    stage_code: ClassVar[Code]

    def __init__(
        self,
        code: Code | str,
        message: str,
        *,
        transaction_id: str = "",
        status: str = "",
        details: Sequence[Detail] = (),
    ) -> None:
        super().__init__(code, message)
        self.transaction_id = transaction_id
        self.status = status
        self.details = tuple(details)

    @classmethod
    def from_rpc(cls, error: grpc.RpcError, transaction_id: str = "", doing: str = "") -> Self:
        """The typed error of a failed call; ``doing`` says what was tried."""
        status, text, details = error.code(), _clean(error.details() or ""), _details(error)
        found = _refusal(text, details)
        said = "; ".join(f"{d.msp_id} at {d.address}: {d.message}" for d in details)
        told = f"{status.name}: {text}" + (f" [{said}]" if said else "")
        if found is not None:
            code, message = found.code, found.message
        elif status is grpc.StatusCode.PERMISSION_DENIED or _DENIED.search(told):
            code = Code.IDENTITY_REFUSED
            message = (
                f"{doing}: {told}; the channel does not take this identity: it is revoked or "
                "expired, or of another hospital than its connection.json; have the hospital "
                "enrol the node anew"
            )
        elif status is grpc.StatusCode.UNAVAILABLE and not details:
            code = Code.UNREACHABLE
            message = f"{doing}: no answer ({text}); check that the hospital's peer runs"
        else:
            code = cls.stage_code
            message = f"{doing}: {told}"
        return cls(
            code, message, transaction_id=transaction_id, status=status.name, details=details
        )


class EvaluateError(GatewayError):
    """A query failed; nothing was written."""

    stage_code = Code.EVALUATE_FAILED


class EndorseError(GatewayError):
    """Peers did not endorse the proposal; nothing was submitted."""

    stage_code = Code.ENDORSE_FAILED

    def disagreement(self, msp_id: str) -> bool:
        """Whether other hospitals' peers saw another state than the own one: one of them is a few
        blocks behind, and a new proposal a moment later may well succeed."""
        if self.status != grpc.StatusCode.ABORTED.name:
            return False
        if not self.details:
            return self.code == self.stage_code
        others = all(detail.msp_id != msp_id for detail in self.details)
        return others or msp_id in self.mismatched

    @property
    def unseen(self) -> bool:
        """Whether the own peer saw too few others to endorse, as it does for moments under load and
        after a start. A policy that nobody can satisfy is told with the same words."""
        refused = self.status == grpc.StatusCode.FAILED_PRECONDITION.name
        return refused and any(words in self.message for words in _UNSEEN)

    @property
    def mismatched(self) -> frozenset[str]:
        """MSP ids whose peers saw another state than the first that answered; where all are asked
        at once that may be the one that is behind."""
        return frozenset(d.msp_id for d in self.details if _MISMATCH in d.message)


class SubmitError(GatewayError):
    """The ordering service refused the transaction; it will not commit."""

    stage_code = Code.SUBMIT_FAILED


class CommitStatusError(GatewayError):
    """Nobody could say what became of the transaction; it may have committed."""

    stage_code = Code.STATUS_UNKNOWN


class CommitError(GatewayError):
    """The transaction is in a block and is not valid; it wrote nothing.

    ``validation`` is the name of the ``TxValidationCode``.
    """

    stage_code = Code.NOT_COMMITTED

    def __init__(
        self, code: Code | str, message: str, *, validation: str = "", **fields: Any
    ) -> None:
        super().__init__(code, message, **fields)
        self.validation = validation

    @property
    def conflict(self) -> bool:
        """Whether another transaction may have changed what this one was simulated on."""
        return self.validation in _CONFLICTS


class EventsError(GatewayError):
    """The stream of events broke off."""

    stage_code = Code.EVENTS_BROKEN


def _refusal(text: str, details: Sequence[Detail]) -> MedFabricError | None:
    refusals = [found for detail in details if (found := parse(detail.message))]
    if not refusals:
        return parse(text)
    most_said = Counter(refusal.code for refusal in refusals).most_common(1)[0][0]
    return next(refusal for refusal in refusals if refusal.code == most_said)


def _details(error: grpc.RpcError) -> tuple[Detail, ...]:
    metadata: Any = error.trailing_metadata() or ()
    trailers = dict(metadata)
    packed = trailers.get(_TRAILER)
    if not isinstance(packed, bytes):
        return ()
    try:
        status = RPC_STATUS.FromString(packed)
        return tuple(_detail(found) for found in status.details if _is_detail(found))
    except DecodeError:
        return ()


def _is_detail(found: any_pb2.Any) -> bool:
    return bool(found.Is(gateway_pb2.ErrorDetail.DESCRIPTOR))


def _detail(found: any_pb2.Any) -> Detail:
    detail = gateway_pb2.ErrorDetail.FromString(found.value)
    return Detail(_clean(detail.address), _clean(detail.msp_id), _clean(detail.message))


def _clean(text: str) -> str:
    # Peers' words end up on terminals and in logs.
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST])


def _rpc_status() -> Any:
    # google.rpc.Status, as gRPC defines the trailer; its generated module is not among ours.
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="medfabric/rpc_status.proto",
        package="medfabric",
        syntax="proto3",
        dependency=["google/protobuf/any.proto"],
    )
    message = file.message_type.add(name="RpcStatus")
    message.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=field.TYPE_BYTES, label=field.LABEL_OPTIONAL)
    message.field.add(
        name="details",
        number=3,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".google.protobuf.Any",
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("medfabric.RpcStatus"))


RPC_STATUS = _rpc_status()
