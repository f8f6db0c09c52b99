"""Key ceremonies: a collective key whose secret nobody holds."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from chaincode.schema.base import ContentRef, Id, Language, MspId, Reason, Seconds, Sha256

Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class CeremonyStatus(StrEnum):
    COMMIT = "COMMIT"
    REVEAL = "REVEAL"
    CONFIRM = "CONFIRM"
    DONE = "DONE"
    FAILED = "FAILED"


class Ceremony(Language):
    """``hospitals`` hold the key together. ``missing`` names those whom a failure waited for."""

    plan_id: Id
    status: CeremonyStatus
    hospitals: tuple[MspId, ...]
    deadline: Seconds
    collective_key_sha256: Sha256 | None = None
    missing: tuple[MspId, ...] = ()
    reason: Reason = ""


class KeyCommitment(Language):
    plan_id: Id
    msp_id: MspId
    commitment_sha256: Sha256
    posted_at: Seconds


class KeyShare(Language):
    """A hospital's public share of the collective key, opened after every commitment stood."""

    plan_id: Id
    msp_id: MspId
    share: ContentRef
    nonce: Nonce
    posted_at: Seconds


class KeyConfirmation(Language):
    """The collective key's hash as this hospital computed it from all shares."""

    plan_id: Id
    msp_id: MspId
    collective_key_sha256: Sha256
    posted_at: Seconds


def commitment(nonce: str, share_sha256: str) -> str:
    """Hex SHA-256 over nonce and share hash (32 bytes each, given as hex)."""
    return hashlib.sha256(bytes.fromhex(nonce) + bytes.fromhex(share_sha256)).hexdigest()


# Arguments


class CommitArgs(Language):
    plan_id: Id
    commitment_sha256: Sha256


class RevealArgs(Language):
    plan_id: Id
    share: ContentRef
    nonce: Nonce


class ConfirmArgs(Language):
    plan_id: Id
    collective_key_sha256: Sha256


# Results


class CeremonyView(Language):
    ceremony: Ceremony
    commitments: tuple[KeyCommitment, ...]
    shares: tuple[KeyShare, ...]
    confirmations: tuple[KeyConfirmation, ...]
