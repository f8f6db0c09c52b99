"""Hospitals, their votes and their nodes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema.base import Count, Id, Language, MspId, Name, Reason, Role, Seconds, Sha256
from chaincode.schema.reputation import Reputation, Suspension
from chaincode.schema.voting import Rulebook, VotingRules


class ConsortiumStatus(StrEnum):
    FOUNDING = "FOUNDING"
    ACTIVE = "ACTIVE"


class HospitalStatus(StrEnum):
    PROPOSED = "PROPOSED"
    ADMITTED = "ADMITTED"
    REJECTED = "REJECTED"
    LEFT = "LEFT"
    EXPELLED = "EXPELLED"


class NodeStatus(StrEnum):
    ACTIVE = "ACTIVE"
    RESTING = "RESTING"
    SUSPENDED = "SUSPENDED"
    LEFT = "LEFT"
    REVOKED = "REVOKED"


class Subject(StrEnum):
    """What can be voted on."""

    CHARTER = "charter"
    HOSPITAL = "hospital"
    EXPULSION = "expulsion"
    RULES = "rules"
    PLAN = "plan"
    COMPLAINT = "complaint"
    CLASSIFIER = "classifier"
    RECALL = "recall"
    STUDY = "study"
    LIFTING = "lifting"


class Founder(Language):
    msp_id: MspId
    name: Name


class Consortium(Language):
    """The consortium itself; exactly one on a channel.

    ``hospitals`` are the admitted ones (while founding: the founders), sorted; ``membership``
    counts their changes. The charter's hash is the SHA-256 of the canonical :class:`FoundArgs`;
    every founder votes on that hash. ``form`` is that of everything on this ledger (see
    :mod:`~chaincode.schema.forms`).
    """

    name: Name
    status: ConsortiumStatus
    charter_sha256: Sha256
    hospitals: tuple[MspId, ...]
    membership: Count
    founded_at: Seconds
    form: Count = 0


class Hospital(Language):
    """``decided_at`` and ``reason`` are of its last change: admitted, rejected, left, expelled."""

    msp_id: MspId
    name: Name
    status: HospitalStatus
    proposed_by: MspId
    proposed_at: Seconds
    decided_at: Seconds | None = None
    reason: Reason = ""


class Vote(Language):
    """One hospital's vote on one subject, bound to its hash; a hospital votes once on each."""

    subject: Subject
    subject_id: Name
    subject_sha256: Sha256
    msp_id: MspId
    approve: bool
    reason: Reason
    cast_at: Seconds
    cast_by: Name


class Node(Language):
    """An enrolled machine of a hospital, bound to the public key in its certificate.

    ``public_key_sha256`` is over the DER SubjectPublicKeyInfo. ``device`` is its class, by which
    plans may choose. ``changes`` counts the entries of its history.
    """

    msp_id: MspId
    node_id: Id
    roles: tuple[Role, ...]
    dynamic: bool
    device: Name
    public_key_sha256: Sha256
    status: NodeStatus
    reason: Reason
    registered_at: Seconds
    changed_at: Seconds
    changes: Count = 1


# Arguments


class FoundArgs(Language):
    name: Name
    hospitals: Annotated[tuple[Founder, ...], Field(min_length=2, max_length=64)]
    rules: VotingRules = VotingRules()


class ProposeHospitalArgs(Language):
    msp_id: MspId
    name: Name


class VoteArgs(Language):
    """``subject_sha256`` binds the vote to what the voter saw: a plan's or a motion's terms."""

    subject: Subject
    subject_id: Name
    subject_sha256: Sha256
    approve: bool
    reason: Reason = ""


class SubjectArgs(Language):
    subject: Subject
    subject_id: Name


class RegisterNodeArgs(Language):
    node_id: Id
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=4)]
    public_key_sha256: Sha256
    device: Name
    dynamic: bool = False


class NodeStatusArgs(Language):
    node_id: Id
    reason: Reason = ""


class NodeArgs(Language):
    msp_id: MspId
    node_id: Id


# Results


class ConsortiumView(Language):
    consortium: Consortium
    rulebook: Rulebook
    hospitals: tuple[Hospital, ...]
    reputations: tuple[Reputation, ...]


class Ballot(Language):
    """A subject's votes and what they decide: True, False, or None while undecided.

    ``needed`` approvals among at least ``quorum`` votes carry it. Undecided at ``expires_at`` (0:
    never), it has lapsed: ``decided`` is False then.
    """

    subject: Subject
    subject_id: Name
    subject_sha256: Sha256
    votes: tuple[Vote, ...]
    needed: Count
    quorum: Count
    expires_at: Seconds
    lapsed: bool
    decided: bool | None


class NodePage(Language):
    """``suspensions``: those of these nodes by vote that are in force, whatever their status."""

    nodes: tuple[Node, ...]
    bookmark: str
    suspensions: tuple[Suspension, ...] = ()
