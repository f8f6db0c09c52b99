"""Types that every part of the ledger's language shares."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
MspId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")]
RoundNumber = Annotated[int, Field(ge=1, le=10_000)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Cid = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,128}$")]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern="^[^\\x00-\\x1f\U0010ffff]+$")
]
"""Text for people. Control characters and U+10FFFF have a meaning of their own in keys. The pattern
holds U+10FFFF itself, since no escape of it means the same to every reader of the schema."""
Reason = Annotated[str, StringConstraints(max_length=512, pattern=r"^[^\x00]*$")]
Micro = Annotated[int, Field(ge=0, le=10**12)]
"""A non-negative number in units of 1e-6."""
Nano = Annotated[int, Field(ge=0, le=10**9)]
"""A number in [0, 1] in units of 1e-9."""
Seconds = Annotated[int, Field(ge=0, le=2**40)]
"""Whole seconds, of the transaction timestamp where it is a point in time."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Language(BaseModel):
    """Base of every model: frozen, nothing unknown, nothing coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Role(StrEnum):
    """What a certificate allows; a node may have several."""

    ADMIN = "admin"
    TRAINER = "trainer"
    VALIDATOR = "validator"
    AUDITOR = "auditor"


class ContentRef(Language):
    """Content outside the ledger. The hash is the truth; the CID only says where."""

    cid: Cid
    sha256: Sha256
    size_bytes: Count


class Empty(Language):
    """The argument of a transaction that needs none."""


class PageArgs(Language):
    """Which page of a list. An empty bookmark is the first."""

    page_size: Annotated[int, Field(ge=1, le=200)] = 100
    bookmark: Annotated[str, StringConstraints(max_length=8192)] = ""


class Event(Language):
    """The payload of a chaincode event: identifiers only. Read the committed state, not this."""

    plan_id: Id | None = None
    round: Count | None = None
    msp_id: MspId | None = None
    subject: Annotated[str, StringConstraints(max_length=128)] | None = None
