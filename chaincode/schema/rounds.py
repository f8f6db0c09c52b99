"""Rounds and the models they publish."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema import weights
from chaincode.schema.base import (
    ContentRef,
    Count,
    Id,
    Language,
    Micro,
    MspId,
    Reason,
    RoundNumber,
    Seconds,
    Sha256,
)
from chaincode.schema.disputes import ShareProof, ShareVerdict
from chaincode.schema.enclaves import EnclaveEvidence
from chaincode.schema.masking import Masking, MaskKeys, Unmasking
from chaincode.schema.plans import Participant

Attempt = Annotated[int, Field(ge=0, le=65)]
"""Which set of key holders shares in the decryption of a round's aggregate; 0 before the first."""


_OF_CONTENT = "MF-6"
"""What the codes begin with that say something of the bytes that a hash names."""
Drops = Annotated[int, Field(ge=0, le=10_000)]
"""How many updates a round has dropped so far: which set of updates a sum is of."""


Page = Annotated[int, Field(ge=0, le=10_000)]
"""A round's nodes are taken so many at a time that no transaction grows with their number."""


class RoundStatus(StrEnum):
    ENLISTING = "ENLISTING"
    KEYING = "KEYING"
    OPEN = "OPEN"
    SEALED = "SEALED"
    AGGREGATED = "AGGREGATED"
    DECRYPTED = "DECRYPTED"
    DISPUTED = "DISPUTED"
    JUDGING = "JUDGING"
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


class Dropped(Language):
    """An update that is out of its round's sum, since most hospitals could not use it: whose it
    was, its content, ``objectors`` with their objections under that hash, and the code that most of
    them gave."""

    msp_id: MspId
    node_id: Id
    update_sha256: Sha256
    code: str
    objectors: tuple[MspId, ...]


class Exclusion(Language):
    """A node that the plan names or admitted and that does not take part in a round; ``code`` says
    why: its owner's consent, the node's status, its hospital."""

    msp_id: MspId
    node_id: Id
    dataset_id: Id
    code: str


class Cohort(Language):
    """A page of a round's nodes, fixed at opening: who takes part and who is ``excluded``, sorted
    by (msp_id, node_id). Who joins or leaves later does so for the next round."""

    plan_id: Id
    number: RoundNumber
    page: Page
    participants: tuple[Participant, ...]
    excluded: tuple[Exclusion, ...]


class NodeStanding(Language):
    """What reputation multiplies the samples of a node's update by."""

    msp_id: MspId
    node_id: Id
    standing_milli: Annotated[int, Field(ge=1, le=1000)]


class Contributions(Language):
    """A page of a round's updates, fixed at sealing, in the order of its cohort; ``missing`` are
    the nodes without one. ``updates``, their number of each of the ``hospitals`` that has any, and
    ``owing`` hospitals with a missing node are of all pages up to this one."""

    plan_id: Id
    number: RoundNumber
    page: Page
    contributions: tuple[NodeStanding, ...]
    missing: tuple[NodeRef, ...]
    updates: Count
    hospitals: dict[MspId, Count]
    owing: tuple[MspId, ...]

    @property
    def silent(self) -> tuple[str, ...]:
        """Hospitals whose nodes are all missing."""
        return tuple(h for h in self.owing if h not in self.hospitals)

    def hospitals_without(self, dropped: Sequence[Dropped]) -> tuple[str, ...]:
        """Hospitals with an update that is still in the sum."""
        lost = Counter(update.msp_id for update in dropped)
        return tuple(h for h, number in self.hospitals.items() if number > lost[h])

    def present(self, dropped: Sequence[Dropped]) -> tuple[NodeStanding, ...]:
        """Those of this page that are still in the sum."""
        out = {(update.msp_id, update.node_id) for update in dropped}
        return tuple(s for s in self.contributions if (s.msp_id, s.node_id) not in out)


class Round(Language):
    """Where a round stands: what changes from stage to stage.

    ``deadline`` is that of the present stage. Its nodes are on ``pages`` of their own (see
    :class:`Cohort`), and so are its updates once it is sealed (see :class:`Contributions`), the
    last of them ``sealed_page``; ``booked`` counts the pages whose nodes' conduct is booked since
    the round ended. ``dropped`` are the updates that it goes on without, in the order in which they
    were dropped: all of them before any aggregate is accepted. ``absent`` are hospitals that a
    stage ended without, ``disagreed`` hospitals whose attestation differs from the accepted one,
    ``unusable`` a node whose masks too few hospitals can take off. ``key_holders`` share in the
    decryption; a further ``attempt`` is made without those who did not. Where their shares decode
    to nothing, they are ``suspects``, and attempts follow without one after the other of them:
    ``left_out`` is of the present attempt, and where that decodes, its share was wrong. Where all
    hospitals are needed, they prove their shares instead, and ``unproven`` are those whose share is
    not shown to be right. ``failure`` is the code of the reason why a round FAILED."""

    plan_id: Id
    number: RoundNumber
    status: RoundStatus
    base_sha256: Sha256
    opened_at: Seconds
    changed_at: Seconds
    deadline: Seconds
    pages: Annotated[int, Field(ge=1, le=10_000)] = 1
    sealed_page: Page | None = None
    dropped: tuple[Dropped, ...] = ()
    booked: Page = 0
    aggregate_sha256: Sha256 | None = None
    attempt: Attempt = 0
    key_holders: tuple[MspId, ...] = ()
    disagreed: tuple[MspId, ...] = ()
    absent: tuple[MspId, ...] = ()
    suspects: tuple[MspId, ...] = ()
    left_out: MspId | None = None
    unproven: tuple[MspId, ...] = ()
    unusable: NodeRef | None = None
    model_sha256: Sha256 | None = None
    failure: str | None = None
    reason: Reason = ""


class WholeRound(Round):
    """A round and all pages of its nodes. ``enlisted`` and ``sealed`` count the pages there are."""

    participants: tuple[Participant, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    contributions: tuple[Contribution, ...] = ()
    total_weight: Count = 0
    missing: tuple[NodeRef, ...] = ()
    enlisted: Page = 1
    sealed: Page = 0

    @classmethod
    def of(
        cls,
        round_: Round,
        cohorts: Sequence[Cohort],
        sealed: Sequence[Contributions],
        updates: Sequence[Update],
        weight_bits: int,
        masking: Masking | None = None,
        *,
        alike: bool = False,
    ) -> WholeRound:
        """Of its parts as they are on the ledger. The weights follow from the samples of the
        updates that are in the sum and their nodes' standing, once all pages are sealed (see
        :mod:`~chaincode.schema.weights`), or are ``alike``; those of masked updates were fixed
        before."""
        found: tuple[Contribution, ...] = ()
        standings = [one for page in sealed for one in page.present(round_.dropped)]
        if round_.sealed_page is not None and standings:
            found = _contributions(standings, updates, weight_bits, masking, alike=alike)
        return cls(
            **dict(round_),
            participants=tuple(p for cohort in cohorts for p in cohort.participants),
            excluded=tuple(e for cohort in cohorts for e in cohort.excluded),
            contributions=found,
            total_weight=sum(c.weight for c in found),
            missing=tuple(node for page in sealed for node in page.missing),
            enlisted=len(cohorts),
            sealed=len(sealed),
        )


def _contributions(
    standings: Sequence[NodeStanding],
    updates: Sequence[Update],
    weight_bits: int,
    masking: Masking | None,
    *,
    alike: bool,
) -> tuple[Contribution, ...]:
    by_node = {(update.msp_id, update.node_id): update for update in updates}
    wanted = [by_node[standing.msp_id, standing.node_id] for standing in standings]
    claims = [
        weights.Claim(u.msp_id, u.node_id, u.samples, s.standing_milli)
        for u, s in zip(wanted, standings, strict=True)
    ]
    weighed = weights.weigh(weights.alike(claims) if alike else claims, weight_bits)
    if masking is not None:
        fixed = {(node.msp_id, node.node_id): node.weight for node in masking.nodes}
        weighed = [fixed[u.msp_id, u.node_id] for u in wanted]
    return tuple(
        Contribution(
            msp_id=u.msp_id, node_id=u.node_id, update=u.update, samples=u.samples, weight=weight
        )
        for u, weight in zip(wanted, weighed, strict=True)
    )


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


class Posted(Language):
    """That a contribution stands. It is read by a query: what a transaction answers stays on the
    ledger beside what it wrote."""

    posted_at: Seconds


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
    """The aggregate as this hospital computed it, or an enclave for it: then with the hash of the
    evidence, which the contract has verified. It is of the updates that were left after so many
    were ``dropped``. ``draw_sha256`` commits the hospital to its part in the draw of a group test,
    where the plan has any."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    aggregate_sha256: Sha256
    aggregate: ContentRef
    dropped: Drops
    evidence_sha256: Sha256 | None = None
    posted_at: Seconds
    draw_sha256: Sha256 | None = None


class DecryptionShare(Language):
    """A key holder's share in the decryption; with it, its part in the draw of a group test."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    aggregate_sha256: Sha256
    attempt: Attempt
    share: ContentRef
    posted_at: Seconds
    draw: Sha256 | None = None


class Evaluation(Language):
    """A hospital's verdict on the candidate, from counts on its own validation split.

    ``candidate`` is None where the shares did not decode; ``failure`` then says why, by code.
    ``beyond_norm``: the mean update is longer than the plan's bound, which decides by itself.
    ``accept`` is None where there were no records to evaluate on: an abstention. It is of one
    ``attempt`` at the decryption.
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
    attempt: Attempt = 0
    posted_at: Seconds
    beyond_norm: bool = False


class Objection(Language):
    """A hospital could not use content that the round names: its hash, its length or its form is
    wrong. The owner's node stores its own copy again when it reads this. ``again``: it is so still,
    after the time that the owner has for that. An update to which ``agreement`` hospitals object
    firmly is dropped (see :mod:`~chaincode.schema.dropping`)."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    subject_sha256: Sha256
    code: str
    posted_at: Seconds
    again: bool = False

    @property
    def firm(self) -> bool:
        """Whether nothing can repair what is objected to, or nobody has in time."""
        return self.again or self.code.startswith(_OF_CONTENT)


class Objections(Language):
    """What a hospital objects to in a round, and to which of it firmly: hashes, in the order of its
    objections, without what was dropped before the last of them."""

    subjects: tuple[Sha256, ...] = ()
    firm: tuple[Sha256, ...] = ()


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


class RoundPageArgs(RoundArgs):
    """``page``: of the round's nodes."""

    page: Page = 0


class AdvanceArgs(RoundArgs):
    """``page``: of the round's nodes, where a stage takes them page by page."""

    page: Page = 0


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
    dropped: Drops
    evidence: EnclaveEvidence | None = None
    draw_sha256: Sha256 | None = None


class ShareArgs(Language):
    plan_id: Id
    round: RoundNumber
    aggregate_sha256: Sha256
    attempt: Attempt
    share: ContentRef
    draw: Sha256 | None = None


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
    beyond_norm: bool = False


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


class RoundPage(Language):
    """A round and one page of its nodes: ``cohort`` is None before they are enlisted,
    ``contributions`` before their updates are sealed.

    ``enlisted`` and ``sealed`` count the pages that are; ``weight_bits`` and ``alike`` are how the
    plan has updates weighed. What hospitals posted, and what masks need, is on the first page.
    """

    round: Round
    page: Page
    enlisted: Page
    sealed: Page
    weight_bits: Count
    alike: bool
    cohort: Cohort | None
    contributions: Contributions | None
    updates: tuple[Update, ...]
    declines: tuple[Decline, ...]
    attestations: tuple[Attestation, ...] = ()
    shares: tuple[DecryptionShare, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    objections: tuple[Objection, ...] = ()
    mask_keys: tuple[MaskKeys, ...] = ()
    masking: Masking | None = None
    unmaskings: tuple[Unmasking, ...] = ()
    proofs: tuple[ShareProof, ...] = ()
    verdicts: tuple[ShareVerdict, ...] = ()


class RoundView(Language):
    """A round and everything contributed to it, as a reader puts it together from its pages; or
    from some of them, whose nodes it then has, without weights."""

    round: WholeRound
    updates: tuple[Update, ...]
    attestations: tuple[Attestation, ...]
    shares: tuple[DecryptionShare, ...]
    evaluations: tuple[Evaluation, ...]
    objections: tuple[Objection, ...]
    declines: tuple[Decline, ...] = ()
    mask_keys: tuple[MaskKeys, ...] = ()
    masking: Masking | None = None
    unmaskings: tuple[Unmasking, ...] = ()
    proofs: tuple[ShareProof, ...] = ()
    verdicts: tuple[ShareVerdict, ...] = ()
    cohorts: tuple[Cohort, ...] = ()

    def on_page(self, number: int) -> tuple[Participant, ...]:
        """Who takes part in the round on one of the pages it is put together from."""
        found = (cohort.participants for cohort in self.cohorts if cohort.page == number)
        return next(found, ())

    def owing(self, hospitals: tuple[str, ...]) -> tuple[str, ...]:
        """Of a plan's hospitals those that the stage asks for something: nobody, where it asks
        nodes."""
        match self.round.status:
            case RoundStatus.SEALED | RoundStatus.DECRYPTED | RoundStatus.JUDGING:
                return hospitals
            case RoundStatus.AGGREGATED if self.masking is not None:
                return hospitals
            case RoundStatus.AGGREGATED | RoundStatus.DISPUTED:
                return self.round.key_holders
        return ()

    @property
    def given(self) -> tuple[str, ...]:
        """Hospitals that have given what the stage asks of them."""
        shares = self.shares if self.masking is None else self.unmaskings
        posts: dict[RoundStatus, Sequence[Language]] = {
            RoundStatus.SEALED: self.attestations,
            RoundStatus.AGGREGATED: shares,
            RoundStatus.DECRYPTED: self.evaluations,
            RoundStatus.DISPUTED: self.proofs,
            RoundStatus.JUDGING: self.verdicts,
        }
        return tuple(str(getattr(p, "msp_id", "")) for p in posts.get(self.round.status, ()))

    @classmethod
    def of(cls, pages: Sequence[RoundPage]) -> RoundView:
        """Of these pages, the first in front."""
        first = pages[0]
        cohorts = tuple(page.cohort for page in pages if page.cohort is not None)
        sealed = [page.contributions for page in pages if page.contributions is not None]
        updates = tuple(update for page in pages for update in page.updates)
        round_ = WholeRound.of(
            first.round,
            cohorts,
            sealed if len(sealed) == first.round.pages else (),
            updates,
            first.weight_bits,
            first.masking,
            alike=first.alike,
        )
        counted = {"enlisted": first.enlisted, "sealed": first.sealed}
        posted = ("attestations", "shares", "evaluations", "objections", "proofs", "verdicts")
        masks = ("mask_keys", "masking", "unmaskings")
        return cls(
            round=round_.model_copy(update=counted),
            updates=updates,
            declines=tuple(decline for page in pages for decline in page.declines),
            cohorts=cohorts,
            **{name: getattr(first, name) for name in (*posted, *masks)},
        )


class ModelPage(Language):
    models: tuple[Model, ...]
    bookmark: str
