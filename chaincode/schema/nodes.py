"""The life of nodes: what changed, when and by whom, and the keys that they signed with."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chaincode.schema.base import (
    Id,
    Language,
    MspId,
    Name,
    PageArgs,
    Reason,
    Seconds,
    Sha256,
)
from chaincode.schema.consortium import NodeStatus

EVERY_CHANGE = 99_999
"""Changes that one node's history can hold."""


class NodeChange(Language):
    """One change of a node's status or key; together they are its history.

    ``number`` counts from 1. ``changed_by`` is the common name of the certificate that signed.
    """

    msp_id: MspId
    node_id: Id
    number: Annotated[int, Field(ge=1, le=EVERY_CHANGE)]
    status: NodeStatus
    public_key_sha256: Sha256
    reason: Reason
    changed_at: Seconds
    changed_by: Name


class NodeKey(Language):
    """A key, and the one node of the hospital that it is bound to for good."""

    msp_id: MspId
    node_id: Id
    public_key_sha256: Sha256
    bound_at: Seconds


# Arguments


class RenewNodeArgs(Language):
    """``public_key_sha256`` is of the new certificate's key."""

    node_id: Id
    public_key_sha256: Sha256
    reason: Reason = ""


class NodePageArgs(PageArgs):
    """``msp_id``: nodes of one hospital only."""

    msp_id: MspId | None = None


class NodeHistoryArgs(PageArgs):
    msp_id: MspId
    node_id: Id


# Results


class NodeChangePage(Language):
    """Oldest first."""

    changes: tuple[NodeChange, ...]
    bookmark: str
