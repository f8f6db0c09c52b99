"""Reputations of hospitals, nodes, datasets and models, and complaints about them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import Field, StringConstraints

from chaincode.schema.base import (
    Count,
    Id,
    Language,
    MspId,
    PageArgs,
    Seconds,
    Sha256,
)

SubjectId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}(/[a-z0-9][a-z0-9-]{0,62})?$")
]
"""A hospital's MSP id, a node as ``MSP/node``, a dataset's id, a model's address."""
Grounds = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00]*$")]
"""Why; never nothing."""
Milli = Annotated[int, Field(ge=0, le=1000)]
"""A share of one, in thousandths."""


class Rated(StrEnum):
    """What has a reputation."""

    HOSPITAL = "hospital"
    NODE = "node"
    DATASET = "dataset"
    MODEL = "model"


class Evidence(StrEnum):
    """What the ledger itself sees of somebody's conduct; each kind with a good and a bad side."""

    UPDATE = "update"
    """An update came in time, or did not."""
    CONTENT = "content"
    """Bad alone: an agreement of hospitals could not use an update, so its round failed, or records
    handed over to a study, so that they were left out."""
    DUTY = "duty"
    """A validator's posts of a round or key ceremony came, or a deadline passed without one."""
    AGREEMENT = "agreement"
    """An aggregate or candidate was named as the consortium agreed, or another was."""
    SHARE = "share"
    """A decryption share led to a candidate; or it could not be used and the round failed."""
    EVALUATION = "evaluation"
    """A vote on a candidate was as the outcome, or against it."""
    OUTCOME = "outcome"
    """A candidate that it had part in was published, or was rejected."""
    OUTCOME_ABSENT = "outcome-absent"
    """The same of candidates that it was expected to have part in and had not."""
    PROGRESS = "progress"
    """A candidate that it had part in was no worse than its base on all evaluations, or was."""
    PROGRESS_ABSENT = "progress-absent"
    """The same of candidates that it was expected to have part in and had not."""
    HASTE = "haste"
    """Its update took a quarter of the round's median time or more, or less."""
    QUALITY = "quality"
    """A plan's group test found a contribution not harmful, or harmful."""
    COMPLAINT = "complaint"
    """Bad alone: a complaint was upheld by vote."""


class Tally(NamedTuple):
    """Evidence of one kind: events ever, and recent ones in thousandths, which fade by the round.

    On the ledger, where every round writes it for every node, it is the four numbers alone. Recent
    good evidence keeps 15/16 of itself per later round, recent bad evidence 31/32.
    """

    good: Count
    bad: Count
    recent_good_milli: Count
    recent_bad_milli: Count


class Rating(Language):
    """What the ledger itself knows of somebody's conduct; it lies under its subject's key.

    ``score_milli`` is the mean of a beta distribution over recent evidence; without any it is 500.
    ``rounds`` counts what was booked. ``validator`` is the node that last posted for a hospital.
    ``suspicion_micro`` is the adopted classifier's log-odds that a node is malicious, in
    millionths, when its conduct was last booked; by ``discount_milli`` its updates are weighed down
    for it, in thousandths.
    """

    score_milli: Milli
    rounds: Count
    tallies: dict[Evidence, Tally]
    validator: Id | None = None
    suspicion_micro: int | None = None
    flagged: bool = False
    discount_milli: Milli = 0
    changed_at: Seconds

    @property
    def factor_milli(self) -> int:
        """What its updates' samples are multiplied by for the classifier, in thousandths."""
        return 1000 - self.discount_milli


class Reputation(Rating):
    """A rating and whose it is."""

    subject: Rated
    subject_id: SubjectId

    @classmethod
    def of(cls, subject: Rated, subject_id: str, rating: Rating) -> Reputation:
        """Of what is kept under a subject's key."""
        return cls(subject=subject, subject_id=subject_id, **dict(rating))

    @property
    def rating(self) -> Rating:
        """What is kept under the subject's key."""
        return Rating(**{name: getattr(self, name) for name in Rating.model_fields})


class ComplaintStatus(StrEnum):
    OPEN = "OPEN"
    UPHELD = "UPHELD"
    DISMISSED = "DISMISSED"


class ComplaintTerms(Language):
    """What is voted on. ``evidence_sha256`` is of evidence that stays outside the ledger.

    ``suspend_seconds``: of a node, for how long it is suspended if the complaint is upheld.
    """

    complaint_id: Id
    subject: Rated
    subject_id: SubjectId
    reason: Grounds
    evidence_sha256: Sha256
    suspend_seconds: Annotated[int, Field(ge=0, le=366 * 86_400)] = 0


class Complaint(Language):
    """``accused`` is the hospital that the subject belongs to; it has no vote. A model has none."""

    terms: ComplaintTerms
    terms_sha256: Sha256
    status: ComplaintStatus
    accused: MspId | None
    opened_by: MspId
    opened_at: Seconds
    decided_at: Seconds | None = None


class Suspension(Language):
    """By vote: the node does nothing until then, whatever its own hospital says.

    ``lifted_by`` is the hash of the motion by which it ended early, with the reason.
    """

    msp_id: MspId
    node_id: Id
    complaint_id: Id
    until: Seconds
    lifted_by: Sha256 | None = None


# Arguments


class RatedArgs(Language):
    subject: Rated
    subject_id: SubjectId


class ReputationPageArgs(PageArgs):
    """Which page of the reputations of one kind of subject."""

    subject: Rated


class ComplaintArgs(Language):
    complaint_id: Id


class LiftingArgs(Language):
    complaint_id: Id
    reason: Grounds


# Results


class ReputationPage(Language):
    reputations: tuple[Reputation, ...]
    bookmark: str


class ComplaintPage(Language):
    complaints: tuple[Complaint, ...]
    bookmark: str
