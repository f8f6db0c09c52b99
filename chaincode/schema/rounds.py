"""Rounds and the models they publish."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema.base import (
    ContentRef,
    Count,
    Id,
    Language,
    Micro,
    MspId,
    Reason,
    Seconds,
    Sha256,
)
from chaincode.schema.plans import Participant

RoundNumber = Annotated[int, Field(ge=1, le=10_000)]
Attempt = Annotated[int, Field(ge=0, le=64)]
"""Which set of key holders shares in the decryption of a round's aggregate; 0 before the first."""


class RoundStatus(StrEnum):
    OPEN = "OPEN"
    SEALED = "SEALED"
    AGGREGATED = "AGGREGATED"
    DECRYPTED = "DECRYPTED"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"


class ModelStatus(StrEnum):
    CURRENT = "CURRENT"
    DEPRECATED = "DEPRECATED"
    RECALLED = "RECALLED"


class Contribution(Language):
    """An update whose weight is fixed: what the aggregate is made of."""

    msp_id: MspId
    node_id: Id
    update: ContentRef
    samples: Count
    weight: Annotated[int, Field(ge=1, le=2**20)]


class NodeRef(Language):
    msp_id: MspId
    node_id: Id


class Exclusion(Language):
    """A node that the plan names or admitted and that does not take part in a round; ``code`` says
    why: its owner's consent, the node's status, its hospital."""

    msp_id: MspId
    node_id: Id
    dataset_id: Id
    code: str


class Round(Language):
    """``deadline`` is that of the present stage. ``participants`` are fixed at opening, sorted by
    (msp_id, node_id), and so are those ``excluded``; who joins or leaves later does so for the next
    round. ``contributions`` are fixed at sealing, in the same order. ``missing`` names nodes
    without an update, ``absent`` hospitals that a later stage ended without, ``disagreed``
    hospitals whose attestation differs from the accepted one, ``unusable`` the node whose update an
    agreement of hospitals could not use. ``key_holders`` share in the decryption; a further
    ``attempt`` is made without those who did not. ``failure`` is the code of the reason why a round
    FAILED."""

    plan_id: Id
    number: RoundNumber
    status: RoundStatus
    base_sha256: Sha256
    opened_at: Seconds
    changed_at: Seconds
    deadline: Seconds
    participants: tuple[Participant, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    total_weight: Count = 0
    missing: tuple[NodeRef, ...] = ()
    aggregate_sha256: Sha256 | None = None
    attempt: Attempt = 0
    key_holders: tuple[MspId, ...] = ()
    disagreed: tuple[MspId, ...] = ()
    absent: tuple[MspId, ...] = ()
    unusable: NodeRef | None = None
    model_sha256: Sha256 | None = None
    failure: str | None = None
    reason: Reason = ""


class RoundState(Language):
    """Where a round stands. What a transaction answers stays on the ledger: the round itself is
    read by a query."""

    plan_id: Id
    number: RoundNumber
    status: RoundStatus
    deadline: Seconds
    failure: str | None = None
    reason: Reason = ""

    @classmethod
    def of(cls, round_: Round) -> RoundState:
        """Of a round."""
        return cls(**{name: getattr(round_, name) for name in cls.model_fields})


class Update(Language):
    """One trainer node's encrypted contribution and the privacy terms it was trained under."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    dataset_id: Id
    base_sha256: Sha256
    update: ContentRef
    samples: Count
    steps: Count
    batch_size: Count
    noise_multiplier_micro: Micro
    epsilon_micro: Micro
    """The dataset's epsilon after this update, within this plan."""
    posted_at: Seconds


class Decline(Language):
    """A node's word that it gives no update to a round, and why, by code.

    Where it had trained, ``steps`` are those, and the dataset is charged as for an update: that
    there is none is something that training told. Else ``steps`` is 0 and nothing is charged. A
    late update is declined by ``MF-5003``.
    """

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    dataset_id: Id
    code: str
    steps: Count
    batch_size: Count
    noise_multiplier_micro: Micro
    posted_at: Seconds


class Attestation(Language):
    """The aggregate as this hospital computed it."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    aggregate_sha256: Sha256
    aggregate: ContentRef
    posted_at: Seconds


class DecryptionShare(Language):
    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    aggregate_sha256: Sha256
    attempt: Attempt
    share: ContentRef
    posted_at: Seconds


class Evaluation(Language):
    """A hospital's verdict on the candidate, from counts on its own validation split.

    ``candidate`` is None where the shares did not decode; ``failure`` then says why, by code.
    ``accept`` is None where there were no records to evaluate on: an abstention.
    """

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    candidate: ContentRef | None
    failure: str | None
    correct: Count
    base_correct: Count
    total: Count
    accept: bool | None
    posted_at: Seconds


class Objection(Language):
    """A hospital could not use content that the round names: its hash, its length or its form is
    wrong. The owner's node stores its own copy again when it reads this; an update that
    ``agreement`` hospitals still object to when the stage is overdue fails the round by name."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    subject_sha256: Sha256
    code: str
    posted_at: Seconds


class Model(Language):
    """A global model; its address is the SHA-256 of its file. ``parents`` are addresses.

    ``round`` is 0 for a plan's base model; plan and round are its version. ``correct`` of ``total``
    over all validation splits. A DEPRECATED model has a better one, ``successor_sha256`` where it
    is named; a RECALLED one must not be used any more, nor trained on.
    """

    model: ContentRef
    plan_id: Id
    round: Annotated[int, Field(ge=0, le=10_000)]
    architecture_sha256: Sha256
    parents: tuple[Sha256, ...]
    aggregate_sha256: Sha256 | None
    correct: Count
    total: Count
    published_at: Seconds
    status: ModelStatus = ModelStatus.CURRENT
    reason: Reason = ""
    changed_at: Seconds | None = None
    successor_sha256: Sha256 | None = None


# Arguments


class RoundArgs(Language):
    plan_id: Id
    number: RoundNumber


class SubmitUpdateArgs(Language):
    plan_id: Id
    round: RoundNumber
    dataset_id: Id
    base_sha256: Sha256
    update: ContentRef
    samples: Annotated[int, Field(ge=1, le=2**40)]
    steps: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=2**30)]
    noise_multiplier_micro: Annotated[int, Field(ge=50_000, le=10**9)]


class DeclineArgs(Language):
    """``trained``: whether the update was made already."""

    plan_id: Id
    round: RoundNumber
    code: Annotated[str, Field(pattern=r"^MF-\d{4}$")]
    trained: bool


class AttestArgs(Language):
    plan_id: Id
    round: RoundNumber
    aggregate_sha256: Sha256
    aggregate: ContentRef


class ShareArgs(Language):
    plan_id: Id
    round: RoundNumber
    aggregate_sha256: Sha256
    attempt: Attempt
    share: ContentRef


class ObjectArgs(Language):
    """``subject_sha256`` is the hash under which the ledger names the content."""

    plan_id: Id
    round: RoundNumber
    subject_sha256: Sha256
    code: Annotated[str, Field(pattern=r"^MF-\d{4}$")]


class EvaluateArgs(Language):
    plan_id: Id
    round: RoundNumber
    candidate: ContentRef | None
    failure: Annotated[str, Field(pattern=r"^MF-\d{4}$")] | None = None
    correct: Count
    base_correct: Count
    total: Count


class ModelArgs(Language):
    sha256: Sha256


class DeprecateArgs(Language):
    sha256: Sha256
    reason: Annotated[str, Field(min_length=1, max_length=512)]
    successor_sha256: Sha256 | None = None


class RecallArgs(Language):
    sha256: Sha256
    reason: Annotated[str, Field(min_length=1, max_length=512)]


# Results


class RoundView(Language):
    round: Round
    updates: tuple[Update, ...]
    attestations: tuple[Attestation, ...]
    shares: tuple[DecryptionShare, ...]
    evaluations: tuple[Evaluation, ...]
    objections: tuple[Objection, ...]
    declines: tuple[Decline, ...] = ()


class ModelPage(Language):
    models: tuple[Model, ...]
    bookmark: str
