"""Local models that a hospital shares with chosen others: what, with whom, who fetched it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

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
from chaincode.schema.datasets import LocalSpending, LocalTraining


class LocalKind(StrEnum):
    """A personal model is a global one trained on at one hospital; an encrypted one stays so."""

    PERSONAL = "personal"
    ENCRYPTED = "encrypted"


class GrantStatus(StrEnum):
    GRANTED = "GRANTED"
    REVOKED = "REVOKED"


class Gain(Language):
    """Correct predictions of the global model and of the local one, of ``total`` records of the
    hospital that neither was trained on: those of its test part, or where it has none of its
    validation part."""

    part: Literal["test", "validation"]
    base_correct: Annotated[int, Field(ge=0, le=2**40)]
    correct: Annotated[int, Field(ge=0, le=2**40)]
    total: Annotated[int, Field(ge=1, le=2**40)]

    @model_validator(mode="after")
    def _of_total(self) -> Gain:
        if max(self.base_correct, self.correct) > self.total:
            raise ValueError("more predictions are correct than there are records")
        return self


class LocalModel(Language):
    """A hospital's own model, kept enciphered under a content key that the ledger never sees.

    ``content`` is the envelope in the content store, None where the model stays with its node and
    is granted to nobody; ``plain_sha256`` the model itself; ``base_sha256`` the global model that
    it was trained on from. ``trained``: what it told of a dataset, charged to the dataset's
    account. ``gain``: where the hospital tells it.
    """

    msp_id: MspId
    model_id: Id
    kind: LocalKind
    node_id: Name
    base_sha256: Sha256 | None
    plain_sha256: Sha256
    content: ContentRef | None
    trained: LocalSpending | None = None
    gain: Gain | None = None
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
    trained: LocalTraining | None = None
    gain: Gain | None = None

    @model_validator(mode="after")
    def _charged_where_shared(self) -> PublishLocalArgs:
        if self.trained is not None and self.content is None:
            raise ValueError("a model that stays with its node is charged to no account")
        return self


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


class LocalGain(Language):
    """What a hospital tells of a model of its own."""

    msp_id: MspId
    model_id: Id
    base_sha256: Sha256 | None
    gain: Gain


class GainPage(Language):
    """``bookmark``: not empty where further local models may follow, whatever this page has."""

    gains: tuple[LocalGain, ...]
    bookmark: str


class ReceiptPage(Language):
    receipts: tuple[Receipt, ...]
    bookmark: str
