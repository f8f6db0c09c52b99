"""Training plans: proposed, amended, voted on, carried out, paused, stopped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chaincode.contracts import handover, plan_terms, voting
from chaincode.contracts.framework import Context, transaction
from chaincode.contracts.hospital import told_by
from chaincode.schema import keys, states
from chaincode.schema.base import PageArgs
from chaincode.schema.ceremonies import Ceremony, CeremonyStatus
from chaincode.schema.consortium import Subject, Vote
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import (
    Plan,
    PlanArgs,
    PlanPage,
    PlanReasonArgs,
    PlanState,
    PlanStatus,
    PlanTerms,
    PlanVersion,
    PlanVersionPage,
    PlanVersionsArgs,
    PlanView,
)
from chaincode.schema.rounds import Model, Round, RoundStatus

RUNNING = (PlanStatus.ACTIVE, PlanStatus.PAUSED)
"""While an open round goes on."""


class PlanContract:
    """A plan is approved by the hospitals' vote; consent per dataset is separate."""

    @transaction("plan:Propose")
    def propose(self, context: Context, terms: PlanTerms) -> PlanState:
        if context.find(keys.plan(terms.plan_id), PlanState) is not None:
            raise MedFabricError(Code.EXISTS, f"plan {terms.plan_id} exists; name another")
        plan = _proposed(context, terms, 1)
        context.emit("plan.proposed", plan_id=terms.plan_id, msp_id=context.msp_id)
        return plan

    @transaction("plan:Amend")
    def amend(self, context: Context, terms: PlanTerms) -> PlanState:
        plan = _own(context, terms.plan_id)
        if plan.status is not PlanStatus.PROPOSED:
            raise MedFabricError(
                Code.BAD_STATE, f"plan {terms.plan_id} is {plan.status}; propose another plan"
            )
        amended = _proposed(context, terms, plan.terms.version + 1)
        replaced = PlanVersion(
            terms=plan.terms,
            terms_sha256=plan.terms_sha256,
            proposed_at=plan.proposed_at,
            replaced_at=context.now,
        )
        context.put(keys.plan_version(terms.plan_id, plan.terms.version), replaced)
        context.emit("plan.amended", plan_id=terms.plan_id, msp_id=context.msp_id)
        return amended

    @transaction("plan:Advance")
    def advance(self, context: Context, args: PlanArgs) -> PlanState:
        plan = get(context, args.plan_id)
        if plan.status is not PlanStatus.PROPOSED:
            failed = _without(context, plan, lost_holders(context, plan.terms))
            return PlanState.of(failed)
        ballot = voting.ballot(context, question(context, plan))
        if not voting.decided(ballot):
            why = "the vote has lapsed" if ballot.lapsed else "refused by vote"
            return PlanState.of(move(context, plan, PlanStatus.REJECTED, why))
        if gone := gone_holders(context, plan.terms):
            return PlanState.of(move(context, plan, PlanStatus.REJECTED, departed(gone)))
        _open_ceremony(context, plan, handover.begin(context, plan.terms))
        return PlanState.of(move(context, plan, PlanStatus.APPROVED))

    @transaction("plan:Pause")
    def pause(self, context: Context, args: PlanReasonArgs) -> PlanState:
        plan = _own(context, args.plan_id)
        return PlanState.of(move(context, plan, PlanStatus.PAUSED, args.reason, "plan.paused"))

    @transaction("plan:Resume")
    def resume(self, context: Context, args: PlanReasonArgs) -> PlanState:
        plan = _own(context, args.plan_id)
        if plan.status is not PlanStatus.PAUSED:
            raise MedFabricError(
                Code.BAD_STATE, f"plan {args.plan_id} is {plan.status}, not {PlanStatus.PAUSED}"
            )
        handover.check_kept(plan)
        return PlanState.of(move(context, plan, PlanStatus.ACTIVE, args.reason, "plan.resumed"))

    @transaction("plan:Abort")
    def abort(self, context: Context, args: PlanReasonArgs) -> PlanState:
        plan = _own(context, args.plan_id)
        aborted = move(context, plan, PlanStatus.ABORTED, args.reason)
        _end_ceremony(context, plan, f"{Code.PLAN_ABORTED}: {args.reason}"[:512])
        _end_round(context, plan, args.reason)
        return PlanState.of(aborted)

    @transaction("plan:Get")
    def get(self, context: Context, args: PlanArgs) -> PlanView:
        plan = get(context, args.plan_id)
        votes = context.all("vote", (Subject.PLAN.value, args.plan_id, plan.terms_sha256), Vote)
        return PlanView(plan=plan, votes=votes, hospitals=told_by(context, plan.terms))

    @transaction("plan:List")
    def list(self, context: Context, args: PageArgs) -> PlanPage:
        plans, bookmark = context.page("plan", (), PlanState, args.page_size, args.bookmark)
        return PlanPage(plans=plans, bookmark=bookmark)

    @transaction("plan:Versions")
    def versions(self, context: Context, args: PlanVersionsArgs) -> PlanVersionPage:
        below = (args.plan_id,)
        found = context.page("plan-version", below, PlanVersion, args.page_size, args.bookmark)
        return PlanVersionPage(versions=found[0], bookmark=found[1])


def question(context: Context, plan: Plan) -> voting.Question:
    """The plan's present terms as a question to the hospitals, as long as the plan is not over."""
    rule = voting.rules(context).plan
    members = context.consortium().hospitals
    over = states.is_final(states.PLAN, plan.status)
    until = min(plan.expires_at, plan.changed_at) if over else plan.expires_at
    return voting.question(
        Subject.PLAN, plan.terms.plan_id, plan.terms_sha256, members, rule, until
    )


def get(context: Context, plan_id: str) -> Plan:
    """A plan, by requests to the peer that are one.

    Raises:
        MedFabricError: ``NOT_FOUND``.
    """
    context.values([keys.plan(plan_id), keys.plan_terms(plan_id)])
    state = context.get(keys.plan(plan_id), PlanState)
    return Plan.joined(state, context.get(keys.plan_terms(plan_id), PlanTerms))


def put(context: Context, plan: Plan) -> None:
    """Write where a plan stands; its terms stay as they were."""
    context.put(keys.plan(plan.plan_id), PlanState.of(plan))


def move(
    context: Context,
    plan: Plan,
    to: PlanStatus,
    reason: str | None = None,
    event: str | None = None,
) -> Plan:
    """Write the plan in another state, with the reason if there is one, and say so by event."""
    states.check(states.PLAN, plan.status, to)
    said = {} if reason is None else {"reason": reason}
    moved = plan.model_copy(update={"status": to, "changed_at": context.now, **said})
    put(context, moved)
    context.emit(event or f"plan.{to.value.lower()}", plan_id=plan.terms.plan_id)
    return moved


def running(context: Context, plan_id: str, *wanted: PlanStatus) -> Plan:
    """The plan, if an open round of it goes on; or if it is in one of the states wanted.

    Raises:
        MedFabricError: ``PLAN_NOT_APPROVED``.
    """
    plan = get(context, plan_id)
    if plan.status not in (wanted or RUNNING):
        raise MedFabricError(
            Code.PLAN_NOT_APPROVED,
            f"plan {plan_id} is {plan.status}; rounds run while it is {PlanStatus.ACTIVE}",
        )
    return plan


def participating(context: Context, terms: PlanTerms) -> None:
    """Refuse a hospital that takes no part in the plan.

    Raises:
        MedFabricError: ``NOT_A_PARTICIPANT``.
    """
    if context.msp_id not in terms.hospitals:
        raise MedFabricError(
            Code.NOT_A_PARTICIPANT, f"{context.msp_id} takes no part in {terms.plan_id}"
        )


def absent(wanted: Iterable[str], posted: Iterable[Any]) -> tuple[str, ...]:
    """Those of the hospitals ``wanted`` that posted none of these."""
    present = {post.msp_id for post in posted}
    return tuple(msp_id for msp_id in wanted if msp_id not in present)


def gone_holders(context: Context, terms: PlanTerms) -> tuple[str, ...]:
    """Key holders that are no members any more."""
    members = context.consortium().hospitals
    return tuple(h for h in terms.hospitals if h not in members)


def lost_holders(context: Context, terms: PlanTerms) -> tuple[str, ...]:
    """Key holders that are no members any more, where the key cannot do without them."""
    return terms.lost(gone_holders(context, terms))


def departed(lost: tuple[str, ...]) -> str:
    """Why a plan ends without these key holders, as it stands on the ledger."""
    return f"{Code.KEY_HOLDER_LEFT}: {', '.join(lost)} left the consortium and held the key"[:512]


def take_over(context: Context, terms: PlanTerms) -> None:
    """End the plan that has handed its key on to this one, if it has not ended."""
    if terms.key is None:
        return
    former = get(context, terms.key.plan_id)
    if former.status is PlanStatus.PAUSED:
        move(context, former, PlanStatus.COMPLETED, f"its key went to {terms.plan_id}")


def last_round(context: Context, plan: Plan) -> Round | None:
    """The round that was opened last."""
    if not plan.rounds_opened:
        return None
    return context.get(keys.round_(plan.terms.plan_id, plan.rounds_opened), Round)


def _proposed(context: Context, terms: PlanTerms, version: int) -> PlanState:
    if terms.version != version:
        raise MedFabricError(
            Code.PLAN_INVALID,
            f"the terms say version {terms.version}, and the next is {version}; correct them",
        )
    plan_terms.check(context, terms)
    plan = PlanState(
        plan_id=terms.plan_id,
        terms_sha256=terms.sha256,
        status=PlanStatus.PROPOSED,
        proposed_by=context.msp_id,
        proposed_at=context.now,
        changed_at=context.now,
        model_sha256=terms.model.base.sha256,
        rounds_opened=0,
        reason="",
        expires_at=context.now + voting.rules(context).plan.open_seconds,
    )
    context.put(keys.plan(terms.plan_id), plan)
    context.put(keys.plan_terms(terms.plan_id), terms)
    return plan


def _own(context: Context, plan_id: str) -> Plan:
    """A plan that the caller proposed; or takes part in, where the proposer is no member."""
    plan = get(context, plan_id)
    orphan = plan.proposed_by not in context.consortium().hospitals
    if plan.proposed_by != context.msp_id and not (
        orphan and context.msp_id in plan.terms.hospitals
    ):
        raise MedFabricError(
            Code.NOT_OWNER, f"{plan.proposed_by} proposed {plan_id}; ask its admin to decide"
        )
    return plan


def _without(context: Context, plan: Plan, lost: tuple[str, ...]) -> Plan:
    """Fail a plan whose key lost a holder, once its ceremony or round has come to an end."""
    if plan.status not in RUNNING or not lost:
        raise MedFabricError(Code.ALREADY, f"plan {plan.terms.plan_id} is {plan.status} already")
    last = last_round(context, plan)
    if last is not None and not states.is_final(states.ROUND, last.status):
        raise MedFabricError(Code.NOT_YET, f"round {last.number} is {last.status}; advance it")
    return move(context, plan, PlanStatus.FAILED, departed(lost))


def _open_ceremony(context: Context, plan: Plan, dealers: tuple[str, ...]) -> None:
    terms = plan.terms
    ceremony = Ceremony(
        plan_id=terms.plan_id,
        status=CeremonyStatus.COMMIT,
        hospitals=terms.hospitals,
        dealers=dealers,
        deadline=context.now + terms.participation.ceremony_seconds,
    )
    context.put(keys.ceremony(terms.plan_id), ceremony)
    address = terms.model.base.sha256
    if context.find(keys.model(address), Model) is None:
        base = Model(
            model=terms.model.base,
            plan_id=terms.plan_id,
            round=0,
            architecture_sha256=terms.model.architecture_sha256,
            parents=(),
            aggregate_sha256=None,
            correct=0,
            total=0,
            published_at=context.now,
        )
        context.put(keys.model(address), base)


def _end_ceremony(context: Context, plan: Plan, reason: str) -> None:
    ceremony = context.find(keys.ceremony(plan.terms.plan_id), Ceremony)
    if ceremony is None or states.is_final(states.CEREMONY, ceremony.status):
        return
    states.check(states.CEREMONY, ceremony.status, CeremonyStatus.FAILED)
    failed = ceremony.model_copy(update={"status": CeremonyStatus.FAILED, "reason": reason})
    context.put(keys.ceremony(plan.terms.plan_id), failed)
    handover.release(context, plan.terms)


def _end_round(context: Context, plan: Plan, reason: str) -> None:
    last = last_round(context, plan)
    if last is None or states.is_final(states.ROUND, last.status):
        return
    states.check(states.ROUND, last.status, RoundStatus.FAILED)
    changes = {
        "status": RoundStatus.FAILED,
        "changed_at": context.now,
        "failure": Code.PLAN_ABORTED.value,
        "reason": reason,
    }
    context.put(keys.round_(last.plan_id, last.number), last.model_copy(update=changes))
