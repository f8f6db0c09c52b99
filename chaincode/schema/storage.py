"""The storage layer: who keeps which content until when, and whether it answers for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema.base import (
    ContentRef,
    Language,
    MspId,
    Name,
    PageArgs,
    Seconds,
    Sha256,
)

_DOMAIN = b"medfabric possession v1\x00"


class ChallengeStatus(StrEnum):
    OPEN = "OPEN"
    ANSWERED = "ANSWERED"
    MISSED = "MISSED"
    LATE = "LATE"
    PROVEN = "PROVEN"
    REFUTED = "REFUTED"


class Holding(Language):
    """A hospital's word that it keeps content until a point in time; it may extend, not shorten."""

    msp_id: MspId
    node_id: Name
    content: ContentRef
    until: Seconds
    declared_at: Seconds


class Challenge(Language):
    """A hospital is asked to answer for content that it holds.

    ``challenge`` is the id of the transaction that asked, and the nonce of the answer: nobody can
    have computed the answer before it was committed. The answer is :func:`possession`.
    """

    challenge: Sha256
    holder: MspId
    content: ContentRef
    asked_by: MspId
    asked_at: Seconds
    deadline: Seconds
    status: ChallengeStatus
    answer_sha256: Sha256 | None = None
    answered_at: Seconds | None = None


class Check(Language):
    """The answer as another hospital computed it from its own copy, after the holder's stood."""

    challenge: Sha256
    msp_id: MspId
    node_id: Name
    answer_sha256: Sha256
    checked_at: Seconds


def possession(challenge: str, holder: str, content: Iterable[bytes]) -> str:
    """What answers a challenge: hex SHA-256 over nonce, holder and the whole content.

    The nonce comes first, so that no part of it can be computed ahead; the holder's name makes one
    hospital's answer useless to another.

    Args:
        challenge: the challenge's transaction id, hex.
        holder: MSP id.
        content: in chunks of any size.
    """
    digest = hashlib.sha256(_DOMAIN + bytes.fromhex(challenge))
    name = holder.encode("utf-8")
    digest.update(len(name).to_bytes(2, "big") + name)
    for chunk in content:
        digest.update(chunk)
    return digest.hexdigest()


# Arguments


class HoldArgs(Language):
    content: ContentRef
    until: Seconds


class ChallengeArgs(Language):
    """``answer_seconds``: how long the holder has."""

    holder: MspId
    sha256: Sha256
    answer_seconds: Annotated[int, Field(ge=60, le=30 * 24 * 3600)]


class AnswerArgs(Language):
    challenge: Sha256
    answer_sha256: Sha256


class ChallengeRefArgs(Language):
    challenge: Sha256


class HolderPageArgs(PageArgs):
    """All who hold a content."""

    sha256: Sha256


# Results


class HoldingPage(Language):
    holdings: tuple[Holding, ...]
    bookmark: str


class ChallengeView(Language):
    challenge: Challenge
    checks: tuple[Check, ...]


class ChallengePage(Language):
    challenges: tuple[Challenge, ...]
    bookmark: str


class PendingChallenge(Language):
    """A challenge without a conclusion. ``holders``: hospitals that say they keep the content,
    the challenged one among them. ``conclusion``: what concluding it would come to, None where it
    is too early."""

    challenge: Challenge
    checks: tuple[Check, ...]
    holders: tuple[MspId, ...]
    conclusion: ChallengeStatus | None


class PendingPage(Language):
    pending: tuple[PendingChallenge, ...]
    bookmark: str
