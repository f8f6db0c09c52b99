"""Local models that a hospital shares with chosen others: what, with whom, who fetched it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema import canonical
from chaincode.schema.base import (
    ContentRef,
    Id,
    Language,
    MspId,
    Name,
    PageArgs,
    Reason,
    Seconds,
    Sha256,
)


class LocalKind(StrEnum):
    """A personal model is a global one trained on at one hospital; an encrypted one stays so."""

    PERSONAL = "personal"
    ENCRYPTED = "encrypted"


class GrantStatus(StrEnum):
    GRANTED = "GRANTED"
    REVOKED = "REVOKED"


class LocalModel(Language):
    """A hospital's own model, kept enciphered under a content key that the ledger never sees.

    ``content`` is the envelope in the content store, None where the model stays with its node and
    is granted to nobody; ``plain_sha256`` the model itself; ``base_sha256`` the global model that
    it was trained on from.
    """

    msp_id: MspId
    model_id: Id
    kind: LocalKind
    node_id: Name
    base_sha256: Sha256 | None
    plain_sha256: Sha256
    content: ContentRef | None
    published_at: Seconds


class Grant(Language):
    """A recipient's leave to fetch a local model until a point in time.

    ``key`` is the content key in the content store, wrapped for the recipient's registered public
    key; ``public_key_sha256`` says which.
    """

    msp_id: MspId
    model_id: Id
    recipient_msp: MspId
    recipient_node: Id
    public_key_sha256: Sha256
    key: ContentRef
    until: Seconds
    status: GrantStatus
    reason: Reason
    changed_at: Seconds


class Receipt(Language):
    """A recipient's own word that it fetches a local model now; one for each time."""

    msp_id: MspId
    model_id: Id
    recipient_msp: MspId
    recipient_node: Name
    plain_sha256: Sha256
    received_at: Seconds


class EnvelopeBinding(Language):
    """What an envelope belongs to: its hash is the associated data of the encryption."""

    msp_id: MspId
    model_id: Id
    plain_sha256: Sha256

    @property
    def digest(self) -> bytes:
        return bytes.fromhex(canonical.sha256(self))


class KeyBinding(EnvelopeBinding):
    """What a wrapped key belongs to, likewise."""

    recipient_msp: MspId
    recipient_node: Id
    public_key_sha256: Sha256


# Arguments


class PublishLocalArgs(Language):
    model_id: Id
    kind: LocalKind
    base_sha256: Sha256 | None = None
    plain_sha256: Sha256
    content: ContentRef | None = None


class GrantArgs(Language):
    model_id: Id
    recipient_msp: MspId
    recipient_node: Id
    key: ContentRef
    until: Seconds


class RevokeArgs(Language):
    model_id: Id
    recipient_msp: MspId
    recipient_node: Id
    reason: Annotated[str, Field(min_length=1, max_length=512)]


class LocalModelArgs(Language):
    msp_id: MspId
    model_id: Id


class LocalModelPageArgs(PageArgs):
    """Grants or receipts of one local model of the caller's hospital."""

    model_id: Id


# Results


class SharedModel(Language):
    """A local model and the caller's own grant; None for its own hospital."""

    model: LocalModel
    grant: Grant | None


class GrantPage(Language):
    grants: tuple[Grant, ...]
    bookmark: str


class ReceiptPage(Language):
    receipts: tuple[Receipt, ...]
    bookmark: str
