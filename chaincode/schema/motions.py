"""Motions: what is put to the hospitals' vote, other than charter and plans."""

from __future__ import annotations

from enum import StrEnum

from chaincode.schema import canonical
from chaincode.schema.base import (
    Count,
    Language,
    MspId,
    Name,
    PageArgs,
    Reason,
    Seconds,
    Sha256,
)
from chaincode.schema.consortium import Subject
from chaincode.schema.voting import VotingRules


class MotionStatus(StrEnum):
    OPEN = "OPEN"
    CARRIED = "CARRIED"
    DEFEATED = "DEFEATED"
    LAPSED = "LAPSED"


class MotionTerms(Language):
    """What the votes bind to, by the SHA-256 of its canonical form.

    ``subject_id``: the hospital's MSP id, or ``rules``. ``number`` counts the motions on this
    subject, so that no vote on one counts for a later one. ``name`` is that of a hospital to admit,
    ``rules`` what would be in force.
    """

    subject: Subject
    subject_id: Name
    number: Count
    proposed_by: MspId
    proposed_at: Seconds
    reason: Reason
    name: Name | None = None
    rules: VotingRules | None = None

    @property
    def sha256(self) -> str:
        """What hospitals vote on."""
        return canonical.sha256(self)


class Motion(Language):
    """A motion on a subject. Votes are taken until ``expires_at``."""

    terms: MotionTerms
    terms_sha256: Sha256
    status: MotionStatus
    expires_at: Seconds
    decided_at: Seconds | None = None


# Arguments


class ProposeExpulsionArgs(Language):
    msp_id: MspId
    reason: Reason


class ProposeRulesArgs(Language):
    rules: VotingRules
    reason: Reason = ""


class LeaveArgs(Language):
    reason: Reason = ""


class MotionPageArgs(PageArgs):
    """``subject``: motions of one kind only. ``past``: those that later ones have replaced."""

    subject: Subject | None = None
    past: bool = False


# Results


class MotionPage(Language):
    motions: tuple[Motion, ...]
    bookmark: str
