"""What ends a round's stage, and how: one function per stage.

Each decides from what was posted and from the transaction's time alone, so that whoever asks first
gets the outcome that everybody would get. A stage ends early when nothing can change its outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from chaincode.contracts import plan as plans
from chaincode.contracts import reputation, weights
from chaincode.contracts.framework import Context
from chaincode.schema import keys, states
from chaincode.schema.base import ContentRef
from chaincode.schema.conduct import Posts
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import Plan, PlanStatus, PlanTerms
from chaincode.schema.rounds import (
    Attestation,
    Contribution,
    Decline,
    DecryptionShare,
    Evaluation,
    Model,
    NodeRef,
    Objection,
    Round,
    RoundStatus,
    Update,
)


@dataclass(frozen=True)
class Outcome:
    """Where a stage leads and what it fixes on the round."""

    to: RoundStatus
    changes: dict[str, Any] = field(default_factory=dict)
    model: Model | None = None

    @property
    def failure(self) -> str | None:
        """The code of the failure, if it is one."""
        return self.changes.get("failure")


def conclude(context: Context, plan: Plan, round_: Round) -> Outcome:
    """The outcome of the present stage.

    Raises:
        MedFabricError: ``NOT_YET`` while the stage is neither complete nor overdue.
    """
    lost = plans.lost_holders(context, plan.terms)
    if lost and not _decryptable(context, round_, lost):
        return _failed(Code.KEY_HOLDER_LEFT, plans.departed(lost), absent=lost)
    by_stage: dict[RoundStatus, Callable[[Context, Plan, Round], Outcome]] = {
        RoundStatus.OPEN: _seal,
        RoundStatus.SEALED: _aggregate,
        RoundStatus.AGGREGATED: _decrypt,
        RoundStatus.DECRYPTED: _publish,
    }
    return by_stage[round_.status](context, plan, round_)


def carry_out(context: Context, plan: Plan, round_: Round, outcome: Outcome) -> Round:
    """Write the round in its next state, and what follows for plan, model and reputations."""
    states.check(states.ROUND, round_.status, outcome.to)
    deadline = context.now + plan.terms.participation.stage_seconds
    fixed = {"status": outcome.to, "changed_at": context.now, "deadline": deadline}
    moved = round_.model_copy(update={**fixed, **outcome.changes})
    context.put(keys.round_(round_.plan_id, round_.number), moved)
    if outcome.model is not None:
        _publish_model(context, outcome.model)
        plan = plan.model_copy(update={"model_sha256": outcome.model.model.sha256})
    lost = plans.lost_holders(context, plan.terms)
    ended = states.is_final(states.ROUND, outcome.to)
    completed = outcome.failure != Code.KEY_HOLDER_LEFT
    if ended and completed and round_.number == plan.terms.training.rounds:
        plans.move(context, plan, PlanStatus.COMPLETED)
    elif ended and lost:
        plans.move(context, plan, PlanStatus.FAILED, plans.departed(lost))
    elif outcome.model is not None:
        plans.put(context, plan)
    if states.is_final(states.ROUND, outcome.to):
        reputation.book(context, moved, _posts(context, plan.terms, round_))
    name = f"round.{outcome.to.value.lower()}"
    context.emit(name, plan_id=round_.plan_id, round=round_.number)
    return moved


# What was posted, in the order of the round's participants or the plan's hospitals.


def updates(context: Context, round_: Round) -> tuple[Update, ...]:
    """Posted updates, sorted by hospital and node."""
    place = round_.plan_id, round_.number
    wanted = [keys.update(*place, p.msp_id, p.node_id) for p in round_.participants]
    return context.existing(wanted, Update)


def declines(context: Context, round_: Round) -> tuple[Decline, ...]:
    """Why nodes give no update, sorted by hospital and node."""
    place = round_.plan_id, round_.number
    wanted = [keys.decline(*place, p.msp_id, p.node_id) for p in round_.participants]
    return context.existing(wanted, Decline)


def attestations(context: Context, terms: PlanTerms, number: int) -> tuple[Attestation, ...]:
    """Posted attestations, by hospital."""
    wanted = [keys.attestation(terms.plan_id, number, h) for h in terms.hospitals]
    return context.existing(wanted, Attestation)


def shares(context: Context, round_: Round) -> tuple[DecryptionShare, ...]:
    """Decryption shares of the present attempt, by hospital."""
    place = (round_.plan_id, round_.number, round_.attempt)
    wanted = [keys.share(*place, h) for h in round_.key_holders]
    return context.existing(wanted, DecryptionShare)


def evaluations(context: Context, terms: PlanTerms, number: int) -> tuple[Evaluation, ...]:
    """Posted evaluations, by hospital."""
    wanted = [keys.evaluation(terms.plan_id, number, h) for h in terms.hospitals]
    return context.existing(wanted, Evaluation)


def _posts(context: Context, terms: PlanTerms, round_: Round) -> Posts:
    """All that was posted; which shares could not be used counts where a decryption ended."""
    number = round_.number
    posted = shares(context, round_)
    unusable = [
        share.msp_id
        for share in posted
        if round_.status is RoundStatus.DECRYPTED
        and _objected(context, terms, number, share.share.sha256)
    ]
    return Posts(
        updates=updates(context, round_),
        attestations=attestations(context, terms, number),
        shares=posted,
        evaluations=evaluations(context, terms, number),
        unusable_shares=frozenset(unusable),
    )


def _objected(context: Context, terms: PlanTerms, number: int, subject_sha256: str) -> bool:
    """Whether an agreement of hospitals objects to content."""
    wanted = [keys.objection(terms.plan_id, number, h, subject_sha256) for h in terms.hospitals]
    return len(context.existing(wanted, Objection)) >= terms.participation.agreement


def named_content(context: Context, terms: PlanTerms, round_: Round) -> set[str]:
    """Hashes of all content that the round names."""
    number = round_.number
    refs: list[ContentRef] = [u.update for u in updates(context, round_)]
    refs += [a.aggregate for a in attestations(context, terms, number)]
    refs += [s.share for s in shares(context, round_)]
    return {ref.sha256 for ref in refs}


# The stages.


def _seal(context: Context, plan: Plan, round_: Round) -> Outcome:
    terms = plan.terms.participation
    posted = updates(context, round_)
    present = {(u.msp_id, u.node_id) for u in posted}
    wanted = [(p.msp_id, p.node_id) for p in round_.participants]
    missing = [name for name in wanted if name not in present]
    gone = plans.gone_holders(context, plan.terms)
    declined = {(d.msp_id, d.node_id) for d in declines(context, round_)} if missing else set()
    awaited = [
        f"{node} of {msp_id}"
        for msp_id, node in missing
        if msp_id not in gone and (msp_id, node) not in declined
    ]
    if awaited:
        _await(context, round_, awaited)
    refs = tuple(NodeRef(msp_id=msp_id, node_id=node) for msp_id, node in missing)
    if len(posted) < terms.quorum or len({u.msp_id for u in posted}) < 2:
        why = f"{len(posted)} of at least {terms.quorum} updates came in time"
        return _failed(Code.QUORUM_MISSED, why, missing=refs)
    contributions = _contributions(context, plan.terms, posted)
    changes = {
        "contributions": contributions,
        "total_weight": sum(c.weight for c in contributions),
        "missing": refs,
    }
    return Outcome(RoundStatus.SEALED, changes)


def _aggregate(context: Context, plan: Plan, round_: Round) -> Outcome:
    posted = attestations(context, plan.terms, round_.number)
    needed = plan.terms.attestations_needed
    absent = _absent(plan.terms, posted)
    tally = Counter(a.aggregate_sha256 for a in posted)
    digest, votes = max(tally.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    if votes >= needed:
        disagreed = tuple(a.msp_id for a in posted if a.aggregate_sha256 != digest)
        agreed = tuple(a.msp_id for a in posted if a.aggregate_sha256 == digest)
        holders = {"attempt": 1, "key_holders": _key_holders(plan.terms, agreed)}
        changes = {"aggregate_sha256": digest, "disagreed": disagreed, **holders}
        return Outcome(RoundStatus.AGGREGATED, changes)
    gone = plans.gone_holders(context, plan.terms)
    awaited = [h for h in absent if h not in gone]
    if votes + len(awaited) >= needed:
        _await(context, round_, awaited)
        return _overdue_aggregate(context, plan, round_, absent)
    return _failed(Code.NO_AGREEMENT, f"{votes} of {needed} attest the same aggregate")


def _overdue_aggregate(
    context: Context, plan: Plan, round_: Round, absent: tuple[str, ...]
) -> Outcome:
    for contribution in round_.contributions:
        if _objected(context, plan.terms, round_.number, contribution.update.sha256):
            node = NodeRef(msp_id=contribution.msp_id, node_id=contribution.node_id)
            why = f"most hospitals cannot use the update of {node.node_id} of {node.msp_id}"
            return _failed(Code.CONTENT_UNUSABLE, why, unusable=node)
    why = f"too few attestations in time; absent: {', '.join(absent)}"
    return _failed(Code.NO_AGREEMENT, why, absent=absent)


def _decrypt(context: Context, plan: Plan, round_: Round) -> Outcome:
    present = {share.msp_id for share in shares(context, round_)}
    disagreed = _late_disagreement(context, plan, round_)
    if absent := tuple(h for h in round_.key_holders if h not in present):
        if not set(absent) & set(plans.gone_holders(context, plan.terms)):
            _await(context, round_, absent)
        return _decrypt_without(context, plan, round_, absent)
    everyone = tuple(sorted({*round_.disagreed, *disagreed}))
    return Outcome(RoundStatus.DECRYPTED, {"disagreed": everyone})


def _decrypt_without(
    context: Context, plan: Plan, round_: Round, absent: tuple[str, ...]
) -> Outcome:
    """A further attempt without key holders who let the deadline pass, where enough remain.

    Those remain who attest the accepted aggregate and were not absent yet.
    """
    left = plans.gone_holders(context, plan.terms)
    gone = tuple(sorted({*round_.absent, *absent, *left}))
    ready = tuple(
        a.msp_id
        for a in attestations(context, plan.terms, round_.number)
        if a.aggregate_sha256 == round_.aggregate_sha256 and a.msp_id not in gone
    )
    threshold = plan.terms.encryption.threshold
    if threshold is None or len(ready) < threshold:
        needed = threshold or len(plan.terms.hospitals)
        why = f"no decryption share of {', '.join(absent)}; {needed} key holders are needed"
        return _failed(Code.KEY_HOLDER_MISSING, why, absent=gone)
    holders = _key_holders(plan.terms, ready)
    changes = {"attempt": round_.attempt + 1, "key_holders": holders, "absent": gone}
    return Outcome(RoundStatus.AGGREGATED, changes)


def _key_holders(terms: PlanTerms, ready: tuple[str, ...]) -> tuple[str, ...]:
    """Who shares in the decryption: all, or the first of those who are ready for it."""
    threshold = terms.encryption.threshold
    return terms.hospitals if threshold is None else ready[:threshold]


def _late_disagreement(context: Context, plan: Plan, round_: Round) -> tuple[str, ...]:
    """Hospitals that attested another aggregate after the agreement."""
    return tuple(
        a.msp_id
        for a in attestations(context, plan.terms, round_.number)
        if a.aggregate_sha256 != round_.aggregate_sha256 and a.msp_id not in round_.disagreed
    )


def _publish(context: Context, plan: Plan, round_: Round) -> Outcome:
    posted = evaluations(context, plan.terms, round_.number)
    absent = _absent(plan.terms, posted)
    gone = plans.gone_holders(context, plan.terms)
    if awaited := [h for h in absent if h not in gone]:
        _await(context, round_, awaited)
    absent = tuple(sorted({*round_.absent, *absent}))
    needed = plan.terms.participation.agreement
    failures = Counter(e.failure for e in posted if e.failure is not None)
    if sum(failures.values()) > len(plan.terms.hospitals) - needed:
        codes = ", ".join(sorted(failures))
        return _failed(Code.DECRYPTION_FAILED, f"the shares do not decode: {codes}", absent=absent)
    tally = Counter(e.candidate.sha256 for e in posted if e.candidate is not None)
    digest, votes = max(tally.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    if votes < needed:
        why = f"{votes} of {needed} evaluated the same candidate"
        return _failed(Code.NO_AGREEMENT, why, absent=absent)
    naming = [e for e in posted if e.candidate is not None and e.candidate.sha256 == digest]
    # Over no records, an evaluation says nothing for or against.
    judging = [e for e in posted if e.accept is not None]
    if not judging:
        why = "no hospital has records to evaluate the candidate on"
        return _failed(Code.NOT_EVALUATED, why, absent=absent)
    accepting = sum(e.accept is True for e in naming)
    if 2 * accepting <= len(judging):
        why = f"{accepting} of {len(judging)} hospitals accept the candidate"
        return _failed(Code.CANDIDATE_REJECTED, why, absent=absent)
    model = _model(context, plan, round_, naming)
    changes = {"model_sha256": digest, "absent": absent}
    return Outcome(RoundStatus.PUBLISHED, changes, model=model)


def _contributions(
    context: Context, terms: PlanTerms, posted: tuple[Update, ...]
) -> tuple[Contribution, ...]:
    standings = reputation.standing_milli(context, posted)
    claims = [
        weights.Claim(u.msp_id, u.node_id, u.samples, standing)
        for u, standing in zip(posted, standings, strict=True)
    ]
    return tuple(
        Contribution(
            msp_id=update.msp_id,
            node_id=update.node_id,
            update=update.update,
            samples=update.samples,
            weight=weight,
        )
        for update, weight in zip(
            posted, weights.weigh(claims, terms.encryption.weight_bits), strict=True
        )
    )


def _model(context: Context, plan: Plan, round_: Round, naming: list[Evaluation]) -> Model:
    candidate = naming[0].candidate
    assert candidate is not None
    return Model(
        model=candidate,
        plan_id=round_.plan_id,
        round=round_.number,
        architecture_sha256=plan.terms.model.architecture_sha256,
        parents=(round_.base_sha256,),
        aggregate_sha256=round_.aggregate_sha256,
        correct=sum(e.correct for e in naming),
        total=sum(e.total for e in naming),
        published_at=context.now,
    )


def _publish_model(context: Context, model: Model) -> None:
    key = keys.model(model.model.sha256)
    if context.find(key, Model) is None:
        context.put(key, model)


def _decryptable(context: Context, round_: Round, lost: tuple[str, ...]) -> bool:
    """Whether the aggregate can be, or was, decrypted although these key holders are gone."""
    if round_.status is RoundStatus.DECRYPTED:
        return True
    wanted = [keys.share(round_.plan_id, round_.number, round_.attempt, h) for h in lost]
    return round_.status is RoundStatus.AGGREGATED and None not in context.find_all(
        wanted, DecryptionShare
    )


def _absent(terms: PlanTerms, posted: Iterable[Any]) -> tuple[str, ...]:
    present = {post.msp_id for post in posted}
    return tuple(h for h in terms.hospitals if h not in present)


def _await(context: Context, round_: Round, whom: Iterable[str]) -> None:
    if context.now <= round_.deadline:
        raise MedFabricError(Code.NOT_YET, f"{round_.status}: waiting for {', '.join(whom)}")


def _failed(code: Code, why: str, **changes: object) -> Outcome:
    return Outcome(RoundStatus.FAILED, {"failure": code.value, "reason": why[:512], **changes})
