"""What ends a round's stage, and how: one function per stage.

Each decides from what was posted and from the transaction's time alone, so that whoever asks first
gets the outcome that everybody would get. A stage ends early when nothing can change its outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from chaincode.contracts import cohort as cohorts
from chaincode.contracts import dispute, grouptest, reputation, staging
from chaincode.contracts import masking as masks
from chaincode.contracts import plan as plans
from chaincode.contracts.framework import Context
from chaincode.schema import disputes, keys, states
from chaincode.schema.base import ContentRef
from chaincode.schema.conduct import Posts
from chaincode.schema.dropping import verdicts
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import Masking, MaskingTerms
from chaincode.schema.plans import Plan, PlanStatus, PlanTerms
from chaincode.schema.rounds import (
    Attestation,
    Cohort,
    Contributions,
    DecryptionShare,
    Dropped,
    Evaluation,
    Model,
    NodeRef,
    Objection,
    Objections,
    Round,
    RoundStatus,
    Update,
)
from chaincode.schema.waiting import evaluated_at, unevaluated


@dataclass(frozen=True)
class Outcome:
    """Where a stage leads and what it fixes on the round.

    ``page``: of the round's nodes, done by it; ``to`` is None where others remain to be done.
    """

    to: RoundStatus | None
    changes: dict[str, Any] = field(default_factory=dict)
    model: Model | None = None
    page: Cohort | Contributions | None = None
    masking: Masking | None = None

    @property
    def failure(self) -> str | None:
        """The code of the failure, if it is one."""
        return self.changes.get("failure")


def ended(round_: Round) -> bool:
    """Whether nothing of a round remains to be done. A plan's abort ends its round as it is."""
    over = states.is_final(states.ROUND, round_.status)
    return over and (round_.booked == round_.pages or round_.failure == Code.PLAN_ABORTED)


def conclude(context: Context, plan: Plan, round_: Round, page: int) -> Outcome:
    """The outcome of the present stage, or of one page of it.

    Raises:
        MedFabricError: ``NOT_YET`` while the stage is neither complete nor overdue, ``ALREADY`` or
            ``BAD_STATE`` for a page that is not the next.
    """
    lost = plans.lost_holders(context, plan.terms)
    if lost and not _decryptable(context, plan.terms, round_, lost):
        return _failed(Code.KEY_HOLDER_LEFT, plans.departed(lost), absent=lost)
    if round_.status is RoundStatus.ENLISTING:
        return _enlist(context, plan, round_, page)
    if round_.status is RoundStatus.OPEN:
        return _seal(context, plan, round_, page)
    by_stage: dict[RoundStatus, Callable[[Context, Plan, Round], Outcome]] = {
        RoundStatus.KEYING: _key,
        RoundStatus.SEALED: _aggregate,
        RoundStatus.AGGREGATED: _unmask if _masked(plan.terms) else _decrypt,
        RoundStatus.DECRYPTED: _publish,
        RoundStatus.DISPUTED: _prove,
        RoundStatus.JUDGING: _judge,
    }
    return by_stage[round_.status](context, plan, round_)


def carry_out(context: Context, plan: Plan, round_: Round, outcome: Outcome) -> Round:
    """Write the round in its next state, and what follows for plan, model and reputations."""
    if isinstance(page := outcome.page, Cohort):
        context.put(keys.cohort(page.plan_id, page.number, page.page), page)
    elif page is not None:
        context.put(keys.contributions(page.plan_id, page.number, page.page), page)
    if outcome.to is None:
        context.emit("round.page", plan_id=round_.plan_id, round=round_.number)
        return round_
    states.check(states.ROUND, round_.status, outcome.to)
    deadline = context.now + _seconds(plan, outcome.to)
    over = states.is_final(states.ROUND, outcome.to)
    fixed = {"status": outcome.to, "changed_at": context.now, "deadline": deadline}
    moved = round_.model_copy(update={**fixed, "booked": int(over), **outcome.changes})
    context.put(keys.round_(round_.plan_id, round_.number), moved)
    if outcome.masking is not None:
        context.put(keys.masking(round_.plan_id, round_.number), outcome.masking)
    if outcome.model is not None:
        _publish_model(context, outcome.model)
        plan = plan.model_copy(update={"model_sha256": outcome.model.model.sha256})
    if over:
        sealing = page if isinstance(page, Contributions) else None
        posts = _posts(context, plan.terms, round_, sealing=sealing)
        reputation.book(context, moved, posts, 0)
    if not (ended(moved) and _end_plan(context, plan, moved)) and outcome.model is not None:
        plans.put(context, plan)
    if outcome.to is RoundStatus.DECRYPTED:
        grouptest.draw(context, plan, moved, shares(context, round_))
    name = f"round.{outcome.to.value.lower()}"
    context.emit(name, plan_id=round_.plan_id, round=round_.number)
    return moved


def book(context: Context, plan: Plan, round_: Round, page: int) -> Round:
    """Book the conduct of a further page of a round that is over, and end the plan with the last.

    Raises:
        MedFabricError: ``ALREADY`` or ``BAD_STATE`` for a page that is not the next.
    """
    if page != round_.booked:
        code = Code.ALREADY if page < round_.booked else Code.BAD_STATE
        raise MedFabricError(code, f"page {round_.booked} is the next to book; read it again")
    booked = round_.model_copy(update={"booked": page + 1})
    context.put(keys.round_(round_.plan_id, round_.number), booked)
    reputation.book(context, booked, _posts(context, plan.terms, round_, page), page)
    if ended(booked):
        _end_plan(context, plan, booked)
    context.emit("round.page", plan_id=round_.plan_id, round=round_.number)
    return booked


def _end_plan(context: Context, plan: Plan, round_: Round) -> bool:
    """End the plan with its round, if it does; whether it did."""
    lost = plans.lost_holders(context, plan.terms)
    if round_.failure != Code.KEY_HOLDER_LEFT and round_.number == plan.terms.training.rounds:
        plans.move(context, plan, PlanStatus.COMPLETED)
    elif lost:
        plans.move(context, plan, PlanStatus.FAILED, plans.departed(lost))
    else:
        return False
    return True


def _seconds(plan: Plan, status: RoundStatus) -> int:
    terms = plan.terms.participation
    return terms.update_seconds if status is RoundStatus.OPEN else terms.stage_seconds


# What was posted, in the order of the round's participants or the plan's hospitals.


def attestations(context: Context, terms: PlanTerms, round_: Round) -> tuple[Attestation, ...]:
    """Posted attestations of the sum of the updates that are left, by hospital."""
    place = (round_.plan_id, round_.number, len(round_.dropped))
    wanted = [keys.attestation(*place, h) for h in terms.hospitals]
    return context.existing(wanted, Attestation)


def shares(context: Context, round_: Round) -> tuple[DecryptionShare, ...]:
    """Decryption shares of the present attempt, by hospital."""
    place = (round_.plan_id, round_.number, round_.attempt)
    wanted = [keys.share(*place, h) for h in round_.key_holders]
    return context.existing(wanted, DecryptionShare)


def evaluations(context: Context, terms: PlanTerms, round_: Round) -> tuple[Evaluation, ...]:
    """Evaluations of the present attempt, by hospital."""
    place = (round_.plan_id, round_.number, round_.attempt)
    wanted = [keys.evaluation(*place, h) for h in terms.hospitals]
    return context.existing(wanted, Evaluation)


def _posts(
    context: Context,
    terms: PlanTerms,
    round_: Round,
    page: int = 0,
    *,
    sealing: Contributions | None = None,
) -> Posts:
    """All that was posted, of the nodes those of one page; which shares could not be used counts
    where a decryption ended. ``sealing``: the page that this transaction itself writes."""
    number = round_.number
    posted = shares(context, round_)
    decrypted = round_.status is RoundStatus.DECRYPTED
    unusable = _unusable_shares(context, terms, round_) if decrypted else ()
    found, last = (
        sealing
        if sealing is not None and sealing.page == wanted
        else cohorts.sealed(context, round_, wanted)
        for wanted in (page, round_.pages - 1)
    )
    cohort = context.find(keys.cohort(round_.plan_id, number, page), Cohort)
    return Posts(
        updates=cohorts.updates(context, cohort) if cohort else (),
        missing=found.missing if found else (),
        sealed=last,
        attestations=attestations(context, terms, round_),
        shares=posted,
        evaluations=evaluations(context, terms, round_),
        unusable_shares=frozenset(unusable),
    )


def _unusable_shares(context: Context, terms: PlanTerms, round_: Round) -> tuple[str, ...]:
    """Key holders whose share an agreement of hospitals objects to."""
    said = _objected(context, terms, round_)
    tally = Counter(sha256 for objections in said for sha256 in objections.subjects)
    needed = terms.participation.agreement
    return tuple(s.msp_id for s in shares(context, round_) if tally[s.share.sha256] >= needed)


def _objected(context: Context, terms: PlanTerms, round_: Round) -> tuple[Objections, ...]:
    """What each hospital objects to that objects to anything."""
    place = (round_.plan_id, round_.number)
    return context.existing([keys.objections(*place, h) for h in terms.hospitals], Objections)


def names(context: Context, terms: PlanTerms, round_: Round, sha256: str) -> bool:
    """Whether the round names content with this hash."""
    update = update_of(context, round_, sha256)
    refs: list[ContentRef] = [a.aggregate for a in attestations(context, terms, round_)]
    refs += [s.share for s in shares(context, round_)]
    refs += [p.proof for p in dispute.proofs(context, round_)]
    dealt = masks.mask_keys(context, round_) if _masked(terms) else ()
    refs += [k.dealing for k in dealt]
    return update is not None or sha256 in {ref.sha256 for ref in refs}


def update_of(context: Context, round_: Round, sha256: str) -> Update | None:
    """The round's update with this content, or None."""
    owner = context.find(keys.update_content(round_.plan_id, sha256), NodeRef)
    if owner is None:
        return None
    place = (round_.plan_id, round_.number)
    update = context.find(keys.update(*place, owner.msp_id, owner.node_id), Update)
    return update if update is not None and update.update.sha256 == sha256 else None


# The stages.


def _enlist(context: Context, plan: Plan, round_: Round, page: int) -> Outcome:
    cohorts.check_next(context, round_, page, Cohort)
    cohort = cohorts.enlist(context, plan, round_.number, page)
    last = page + 1 == round_.pages
    return Outcome(RoundStatus.OPEN if last else None, page=cohort)


def _seal(context: Context, plan: Plan, round_: Round, page: int) -> Outcome:
    cohorts.check_next(context, round_, page, Contributions)
    waived = masks.unkeyed(context, plan, round_)
    sealed = cohorts.seal(context, plan, round_, page, waived)
    if page + 1 < round_.pages:
        return Outcome(None, page=sealed)
    quorum = plan.terms.participation.quorum
    if sealed.updates < quorum or len(sealed.hospitals) < 2:
        why = f"{sealed.updates} of at least {quorum} updates came in time"
        return _failed(Code.QUORUM_MISSED, why, page=sealed)
    if refused := _lopsided(context, plan, round_, sealed):
        return _failed(Code.WEIGHT_CAP, refused, page=sealed)
    return Outcome(RoundStatus.SEALED, {"sealed_page": page}, page=sealed)


def _lopsided(context: Context, plan: Plan, round_: Round, sealed: Contributions) -> str | None:
    """Why the updates that are left must not be summed: weights under masks are fixed before it is
    known whose updates are."""
    if not _masked(plan.terms):
        return None
    heavy = masks.overweight(masks.among(context, round_, sealed))
    return heavy and f"among the nodes that are left, {heavy} weighs more than its cap"


def _key(context: Context, plan: Plan, round_: Round) -> Outcome:
    terms, cohort = plan.terms.participation, cohorts.of(context, round_, 0)
    present = {(k.msp_id, k.node_id) for k in masks.mask_keys(context, round_)}
    keyed = [p for p in cohort.participants if (p.msp_id, p.node_id) in present]
    missing = [p for p in cohort.participants if (p.msp_id, p.node_id) not in present]
    gone = plans.gone_holders(context, plan.terms)
    declined = {(d.msp_id, d.node_id) for d in cohorts.declines(context, cohort)}
    if awaited := [
        f"{p.node_id} of {p.msp_id}"
        for p in missing
        if p.msp_id not in gone and (p.msp_id, p.node_id) not in declined
    ]:
        staging.wait(context, round_, awaited)
    if len(keyed) < terms.quorum or len({p.msp_id for p in keyed}) < 2:
        absent = ", ".join(f"{p.node_id} of {p.msp_id}" for p in missing)
        why = f"{len(keyed)} of at least {terms.quorum} nodes posted mask keys; absent: {absent}"
        return _failed(Code.QUORUM_MISSED, why)
    return Outcome(RoundStatus.OPEN, masking=masks.begun(context, plan, round_, keyed))


def _aggregate(context: Context, plan: Plan, round_: Round) -> Outcome:
    posted = attestations(context, plan.terms, round_)
    needed = plan.terms.attestations_needed
    absent = plans.absent(plan.terms.hospitals, posted)
    tally = Counter(a.aggregate_sha256 for a in posted)
    digest, votes = max(tally.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    if votes >= needed:
        disagreed = tuple(a.msp_id for a in posted if a.aggregate_sha256 != digest)
        agreed = tuple(a.msp_id for a in posted if a.aggregate_sha256 == digest)
        holders = {"attempt": 1, "key_holders": _key_holders(plan.terms, agreed)}
        if _masked(plan.terms):
            holders = {}
        changes = {"aggregate_sha256": digest, "disagreed": disagreed, **holders}
        return Outcome(RoundStatus.AGGREGATED, changes)
    if bad := _unusable(context, plan, round_):
        return _drop(context, plan, round_, bad)
    gone = plans.gone_holders(context, plan.terms)
    awaited = [h for h in absent if h not in gone]
    if votes + len(awaited) >= needed:
        staging.wait(context, round_, awaited)
        why = f"too few attestations in time; absent: {', '.join(absent)}"
        return _failed(Code.NO_AGREEMENT, why, absent=absent)
    return _failed(Code.NO_AGREEMENT, f"{votes} of {needed} attest the same aggregate")


def _unusable(context: Context, plan: Plan, round_: Round) -> tuple[Dropped, ...]:
    """Updates that are to be dropped, in the order of their nodes."""
    found = []
    for verdict in verdicts(_firm(context, plan.terms, round_), plan.terms.participation):
        update = update_of(context, round_, verdict.update_sha256)
        if update and verdict.update_sha256 not in {d.update_sha256 for d in round_.dropped}:
            node = NodeRef(msp_id=update.msp_id, node_id=update.node_id)
            found.append(Dropped(**dict(node), **asdict(verdict)))
    return tuple(sorted(found, key=lambda one: (one.msp_id, one.node_id)))


def _firm(context: Context, terms: PlanTerms, round_: Round) -> tuple[Objection, ...]:
    """Firm objections to what most hospitals object to so."""
    place = (round_.plan_id, round_.number)
    said = _objected(context, terms, round_)
    tally = Counter(sha256 for objections in said for sha256 in objections.firm)
    most = sorted(s for s, votes in tally.items() if votes >= terms.participation.agreement)
    wanted = [
        keys.objection(*place, h, s, again=again)
        for s in most
        for h in terms.hospitals
        for again in (False, True)
    ]
    return context.existing(wanted, Objection)


def _drop(context: Context, plan: Plan, round_: Round, bad: tuple[Dropped, ...]) -> Outcome:
    """The round goes on without updates that cannot be summed, if enough others are there."""
    dropped = (*round_.dropped, *bad)
    without = round_.model_copy(update={"dropped": dropped})
    sealed = cohorts.sealed(context, round_, round_.pages - 1)
    assert sealed is not None
    left, quorum = sealed.updates - len(dropped), plan.terms.participation.quorum
    if left < quorum or len(sealed.hospitals_without(dropped)) < 2:
        names = ", ".join(f"{update.node_id} of {update.msp_id}" for update in dropped)
        why = f"{left} of at least {quorum} updates can be used; most hospitals cannot use {names}"
        return _failed(Code.CONTENT_UNUSABLE, why, dropped=dropped)
    if refused := _lopsided(context, plan, without, sealed):
        return _failed(Code.WEIGHT_CAP, refused, dropped=dropped)
    return Outcome(RoundStatus.SEALED, {"dropped": dropped})


def _decrypt(context: Context, plan: Plan, round_: Round) -> Outcome:
    present = {share.msp_id for share in shares(context, round_)}
    disagreed = _late_disagreement(context, plan, round_)
    if absent := tuple(h for h in round_.key_holders if h not in present):
        if not set(absent) & set(plans.gone_holders(context, plan.terms)):
            staging.wait(context, round_, absent)
        return _decrypt_without(context, plan, round_, absent)
    everyone = tuple(sorted({*round_.disagreed, *disagreed}))
    return Outcome(RoundStatus.DECRYPTED, {"disagreed": everyone})


def _unmask(context: Context, plan: Plan, round_: Round) -> Outcome:
    """Complete when of every node enough shares are there, whichever hospitals posted them."""
    assert isinstance(plan.terms.encryption, MaskingTerms)
    threshold = plan.terms.encryption.threshold
    posted = masks.unmaskings(context, plan.terms, round_.number)
    disagreed = _late_disagreement(context, plan, round_)
    lacking = masks.unrecoverable(context, plan.terms, round_, threshold)
    if not lacking:
        everyone = tuple(sorted({*round_.disagreed, *disagreed}))
        return Outcome(RoundStatus.DECRYPTED, {"disagreed": everyone})
    absent = plans.absent(plan.terms.hospitals, posted)
    gone = plans.gone_holders(context, plan.terms)
    if awaited := [h for h in absent if h not in gone]:
        staging.wait(context, round_, awaited)
    if len(posted) < threshold:
        why = f"no shares of {', '.join(absent)}; {threshold} hospitals are needed"
        return _failed(Code.KEY_HOLDER_MISSING, why, absent=absent)
    node = NodeRef(msp_id=lacking[0].msp_id, node_id=lacking[0].node_id)
    why = f"too few hospitals can open what {node.node_id} of {node.msp_id} dealt"
    return _failed(Code.CONTENT_UNUSABLE, why, absent=absent, unusable=node)


def _decrypt_without(
    context: Context, plan: Plan, round_: Round, absent: tuple[str, ...]
) -> Outcome:
    """A further attempt without key holders who let the deadline pass, where enough remain.

    Those remain who attest the accepted aggregate and were not absent yet.
    """
    left = plans.gone_holders(context, plan.terms)
    gone = tuple(sorted({*round_.absent, *absent, *left}))
    ready = _ready(context, plan.terms, round_, {*gone, round_.left_out})
    threshold = plan.terms.encryption.threshold
    if threshold is None or len(ready) < threshold:
        needed = threshold or len(plan.terms.hospitals)
        why = f"no decryption share of {', '.join(absent)}; {needed} key holders are needed"
        return _failed(Code.KEY_HOLDER_MISSING, why, absent=gone)
    holders = _key_holders(plan.terms, ready)
    changes = {"attempt": round_.attempt + 1, "key_holders": holders, "absent": gone}
    return Outcome(RoundStatus.AGGREGATED, changes)


def _ready(
    context: Context, terms: PlanTerms, round_: Round, without: Iterable[str | None]
) -> tuple[str, ...]:
    """Hospitals that attest the accepted aggregate, but for these."""
    return tuple(
        a.msp_id
        for a in attestations(context, terms, round_)
        if a.aggregate_sha256 == round_.aggregate_sha256 and a.msp_id not in without
    )


def _decrypt_other(
    context: Context,
    plan: Plan,
    round_: Round,
    suspects: tuple[str, ...],
    why: str,
    absent: tuple[str, ...],
) -> Outcome:
    """A further attempt where the shares decode to nothing: without one after the other of the
    suspects, as long as enough others are there. Where all are needed, they prove their shares."""
    threshold = plan.terms.encryption.threshold
    if threshold is None and not _unusable_shares(context, plan.terms, round_):
        return Outcome(RoundStatus.DISPUTED, {"absent": absent, "reason": why[:512]})
    suspects = round_.suspects or suspects
    tried = 0 if round_.left_out is None else 1 + suspects.index(round_.left_out)
    away = {*round_.absent, *plans.gone_holders(context, plan.terms)}
    for suspect in suspects[tried:]:
        ready = _ready(context, plan.terms, round_, {*away, suspect})
        if threshold is not None and len(ready) >= threshold:
            holders = _key_holders(plan.terms, ready)
            changes = {"attempt": round_.attempt + 1, "key_holders": holders}
            changes |= {"suspects": suspects, "left_out": suspect}
            return Outcome(RoundStatus.AGGREGATED, changes)
    if round_.suspects:
        why += "; nor do others' without any one hospital: more are wrong, or an update is"
    return _failed(Code.DECRYPTION_FAILED, why, absent=absent, left_out=None)


def _prove(context: Context, plan: Plan, round_: Round) -> Outcome:
    """Complete when every key holder has proven its share."""
    absent = plans.absent(round_.key_holders, dispute.proofs(context, round_))
    gone = plans.gone_holders(context, plan.terms)
    if awaited := [h for h in absent if h not in gone]:
        staging.wait(context, round_, awaited)
    return Outcome(RoundStatus.JUDGING, {"unproven": absent})


def _judge(context: Context, plan: Plan, round_: Round) -> Outcome:
    """The round has failed either way; what is found is who is at fault."""
    posted = dispute.verdicts(context, plan.terms, round_.number)
    absent = plans.absent(plan.terms.hospitals, posted)
    gone = plans.gone_holders(context, plan.terms)
    if awaited := [h for h in absent if h not in gone]:
        staging.wait(context, round_, awaited)
    absent = tuple(sorted({*round_.absent, *absent}))
    unproven = dispute.unproven(context, plan.terms, round_)
    why = disputes.verdict(round_.reason, unproven, "an update is wrong")
    return _failed(Code.DECRYPTION_FAILED, why, absent=absent, unproven=unproven)


def _key_holders(terms: PlanTerms, ready: tuple[str, ...]) -> tuple[str, ...]:
    """Who shares in the decryption: all, or the first of those who are ready for it."""
    threshold = terms.encryption.threshold
    return terms.hospitals if threshold is None else ready[:threshold]


def _late_disagreement(context: Context, plan: Plan, round_: Round) -> tuple[str, ...]:
    """Hospitals that attested another aggregate after the agreement."""
    return tuple(
        a.msp_id
        for a in attestations(context, plan.terms, round_)
        if a.aggregate_sha256 != round_.aggregate_sha256 and a.msp_id not in round_.disagreed
    )


def _publish(context: Context, plan: Plan, round_: Round) -> Outcome:
    posted = evaluations(context, plan.terms, round_)
    needed = plan.terms.participation.agreement
    tally = Counter(e.candidate.sha256 for e in posted if e.candidate is not None)
    digest, votes = max(tally.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    absent = plans.absent(plan.terms.hospitals, posted)
    gone = plans.gone_holders(context, plan.terms)
    awaited = unevaluated(plan.terms.hospitals, posted, gone)
    heard = {a.msp_id for a in attestations(context, plan.terms, round_)}
    heard |= {share.msp_id for share in shares(context, round_)}
    ends = evaluated_at(round_, plan.terms.participation, awaited, posted, heard)
    if context.now < ends:
        raise MedFabricError(Code.NOT_YET, staging.waiting(round_, awaited))
    absent = tuple(sorted({*round_.absent, *absent}))
    failures = Counter(e.failure for e in posted if e.failure is not None)
    if sum(failures.values()) > len(plan.terms.hospitals) - needed:
        why = f"the shares do not decode: {', '.join(sorted(failures))}"
        suspects = _unusable_shares(context, plan.terms, round_)[:1] or round_.key_holders
        return _decrypt_other(context, plan, round_, suspects, why, absent)
    if votes < needed:
        if unusable := _unusable_shares(context, plan.terms, round_):
            why = f"most hospitals cannot use the share of {unusable[0]}"
            return _decrypt_other(context, plan, round_, unusable[:1], why, absent)
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
        if beyond := sum(e.beyond_norm for e in naming):
            why += f"; {beyond} find its update longer than the plan's norm bound"
        return _failed(Code.CANDIDATE_REJECTED, why, absent=absent)
    model = _model(context, plan, round_, naming)
    changes = {"model_sha256": digest, "absent": absent}
    return Outcome(RoundStatus.PUBLISHED, changes, model=model)


def _masked(terms: PlanTerms) -> bool:
    return isinstance(terms.encryption, MaskingTerms)


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


def _decryptable(context: Context, terms: PlanTerms, round_: Round, lost: tuple[str, ...]) -> bool:
    """Whether the aggregate can be, or was, decrypted although these key holders are gone. Nobody
    leaves a dispute by leaving."""
    if round_.status in (RoundStatus.DECRYPTED, RoundStatus.DISPUTED, RoundStatus.JUDGING):
        return True
    if isinstance(terms.encryption, MaskingTerms):
        threshold = terms.encryption.threshold
        unmasking = round_.status is RoundStatus.AGGREGATED
        return unmasking and not masks.unrecoverable(context, terms, round_, threshold)
    wanted = [keys.share(round_.plan_id, round_.number, round_.attempt, h) for h in lost]
    return round_.status is RoundStatus.AGGREGATED and None not in context.find_all(
        wanted, DecryptionShare
    )


def _failed(code: Code, why: str, page: Contributions | None = None, **changes: object) -> Outcome:
    said = {"failure": code.value, "reason": why[:512], **changes}
    return Outcome(RoundStatus.FAILED, said, page=page)
