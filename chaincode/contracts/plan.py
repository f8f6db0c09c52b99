"""Training plans: proposed, voted on, carried out."""

from __future__ import annotations

from chaincode.contracts import voting
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import accounting, keys, states
from chaincode.schema.base import PageArgs, Role
from chaincode.schema.ceremonies import Ceremony, CeremonyStatus
from chaincode.schema.consortium import Node, NodeStatus, Subject, Vote
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import (
    AbortArgs,
    EncryptionTerms,
    Plan,
    PlanArgs,
    PlanPage,
    PlanStatus,
    PlanTerms,
    PlanView,
)
from chaincode.schema.rounds import Model


class PlanContract:
    """A plan is approved by a majority of hospitals; consent per dataset is separate."""

    @transaction("plan:Propose")
    def propose(self, context: Context, terms: PlanTerms) -> Plan:
        if context.find(keys.plan(terms.plan_id), Plan) is not None:
            raise MedFabricError(Code.EXISTS, f"plan {terms.plan_id} exists; name another")
        _check_participation(context, terms)
        _check_encryption(terms.encryption, len(terms.participation.participants))
        plan = Plan(
            terms=terms,
            terms_sha256=terms.sha256,
            status=PlanStatus.PROPOSED,
            proposed_by=context.msp_id,
            proposed_at=context.now,
            changed_at=context.now,
            model_sha256=terms.model.base.sha256,
            rounds_opened=0,
            reason="",
        )
        context.put(keys.plan(terms.plan_id), plan)
        context.emit("plan.proposed", plan_id=terms.plan_id, msp_id=context.msp_id)
        return plan

    @transaction("plan:Advance")
    def advance(self, context: Context, args: PlanArgs) -> Plan:
        plan = context.get(keys.plan(args.plan_id), Plan)
        if plan.status is not PlanStatus.PROPOSED:
            raise MedFabricError(Code.ALREADY, f"plan {args.plan_id} is {plan.status} already")
        voters = context.consortium().hospitals
        needed = voting.majority(voters)
        ballot = voting.ballot(context, Subject.PLAN, args.plan_id, voters, needed)
        if ballot.decided is None:
            raise MedFabricError(Code.NOT_YET, "the votes decide nothing yet; wait for more")
        if not ballot.decided:
            return move(context, plan, PlanStatus.REJECTED, reason="refused by vote")
        self._open_ceremony(context, plan)
        return move(context, plan, PlanStatus.APPROVED)

    @transaction("plan:Abort")
    def abort(self, context: Context, args: AbortArgs) -> Plan:
        plan = context.get(keys.plan(args.plan_id), Plan)
        if plan.proposed_by != context.msp_id:
            raise MedFabricError(Code.NOT_OWNER, f"{plan.proposed_by} proposed it; it may abort it")
        return move(context, plan, PlanStatus.ABORTED, reason=args.reason)

    @transaction("plan:Get")
    def get(self, context: Context, args: PlanArgs) -> PlanView:
        plan = context.get(keys.plan(args.plan_id), Plan)
        votes = context.all("vote", (Subject.PLAN.value, args.plan_id), Vote)
        return PlanView(plan=plan, votes=votes)

    @transaction("plan:List")
    def list(self, context: Context, args: PageArgs) -> PlanPage:
        plans, bookmark = context.page("plan", (), Plan, args.page_size, args.bookmark)
        return PlanPage(plans=plans, bookmark=bookmark)

    def _open_ceremony(self, context: Context, plan: Plan) -> None:
        terms = plan.terms
        ceremony = Ceremony(
            plan_id=terms.plan_id,
            status=CeremonyStatus.COMMIT,
            hospitals=terms.hospitals,
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


def move(context: Context, plan: Plan, to: PlanStatus, **changes: object) -> Plan:
    """Write the plan in another state and say so by event."""
    states.check(states.PLAN, plan.status, to)
    update = {"status": to, "changed_at": context.now, **changes}
    moved = plan.model_copy(update=update)
    context.put(keys.plan(plan.terms.plan_id), moved)
    context.emit(f"plan.{to.value.lower()}", plan_id=plan.terms.plan_id)
    return moved


def active(context: Context, plan_id: str) -> Plan:
    """The plan, if its rounds may run.

    Raises:
        MedFabricError: ``PLAN_NOT_APPROVED``.
    """
    plan = context.get(keys.plan(plan_id), Plan)
    if plan.status is not PlanStatus.ACTIVE:
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


def _check_participation(context: Context, terms: PlanTerms) -> None:
    members = context.consortium().hospitals
    participation = terms.participation
    participants = participation.participants
    named = {(p.msp_id, p.node_id) for p in participants}
    if len(named) != len(participants):
        raise _invalid("a node takes part twice")
    if len({p.dataset_id for p in participants}) != len(participants):
        raise _invalid("two nodes train on the same dataset")
    if not set(terms.hospitals) <= set(members):
        raise _invalid("a participant's hospital is not admitted")
    if len(terms.hospitals) < 2:
        raise _invalid("an aggregate of one hospital is that hospital's update")
    if not len(terms.hospitals) // 2 < participation.agreement <= len(terms.hospitals):
        raise _invalid("agreement must be more than half of the hospitals, and no more than all")
    if participation.quorum > len(participants):
        raise _invalid("quorum is larger than the number of participants")
    for participant in participants:
        _check_node(context, participant.msp_id, participant.node_id)
        dataset = context.get(keys.dataset(participant.dataset_id), Dataset)
        if dataset.msp_id != participant.msp_id:
            raise _invalid(f"dataset {dataset.dataset_id} belongs to another hospital")
        _check_privacy(terms, dataset)


def _check_node(context: Context, msp_id: str, node_id: str) -> None:
    node = context.get(keys.node(msp_id, node_id), Node)
    if Role.TRAINER not in node.roles:
        raise _invalid(f"node {node_id} of {msp_id} is no trainer")
    if node.status is NodeStatus.REVOKED:
        raise _invalid(f"node {node_id} of {msp_id} is revoked for good")


def _check_privacy(terms: PlanTerms, dataset: Dataset) -> None:
    if dataset.application != terms.data.application:
        raise _invalid(f"dataset {dataset.dataset_id} is for another application")
    if terms.training.batch_size > dataset.train_samples:
        raise _invalid(f"the batch is larger than dataset {dataset.dataset_id}")
    # As the rounds will be charged: each is rounded up by itself.
    per_round = accounting.rdp_pico(
        terms.training.batch_size,
        dataset.train_samples,
        terms.privacy.noise_multiplier_micro,
        terms.training.steps,
    )
    loss = [terms.training.rounds * divergence for divergence in per_round]
    epsilon = accounting.epsilon_micro(loss, terms.privacy.delta_nano)
    if epsilon > terms.privacy.epsilon_micro:
        raise _invalid(
            f"all rounds would cost dataset {dataset.dataset_id} an epsilon of {epsilon} "
            f"millionths, the plan allows {terms.privacy.epsilon_micro}"
        )


def _check_encryption(terms: EncryptionTerms, updates: int) -> None:
    # sum(w) * clip * scale <= 2^(bits - 2); beyond it the sum wraps around unnoticed.
    bits = sum(terms.modulus_bits[:-1])
    largest = (1 << terms.weight_bits) * terms.clip_micro << terms.scale_bits
    if largest > (1 << (bits - 2)) * 1_000_000:
        raise _invalid("the weighted sum of updates does not fit into the modulus")
    if 2 * updates > 1 << terms.weight_bits:
        raise _invalid("the weights' resolution is too small for so many updates")
    if terms.flood_bits >= terms.scale_bits:
        raise _invalid("the flooding noise is larger than the scale")


def _invalid(why: str) -> MedFabricError:
    return MedFabricError(Code.PLAN_INVALID, f"{why}; correct the plan and propose it again")
