"""Who takes part in a plan's rounds: the nodes it names, and those that take a place in it.

A place is a key of its own, (plan, hospital, number): nodes join without conflict. Named nodes and
places have positions in a plan, in this order, by which a round takes them page by page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaincode.contracts import node as nodes
from chaincode.contracts import plan as plans
from chaincode.contracts import reputation
from chaincode.contracts.dataset import consents
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys
from chaincode.schema.consortium import Node, NodeStatus
from chaincode.schema.datasets import Consent, Dataset
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.places import (
    JoinPlanArgs,
    LeavePlanArgs,
    Place,
    PlacePage,
    PlacesArgs,
)
from chaincode.schema.plans import DynamicTerms, Participant, Plan, PlanStatus, PlanTerms
from chaincode.schema.reputation import Suspension
from chaincode.schema.rounds import Exclusion

JOINABLE = (PlanStatus.APPROVED, *plans.RUNNING)


class PlaceContract:
    """Dynamic nodes join and leave by themselves, each in a transaction of its own."""

    @transaction("plan:Join")
    def join(self, context: Context, args: JoinPlanArgs) -> Place:
        plan = plans.running(context, args.plan_id, *JOINABLE)
        rule = _rule(context, plan.terms)
        node = context.get(keys.node(context.msp_id, context.node_id), Node)
        if why := _unfit(context, rule, node):
            raise MedFabricError(Code.NOT_ELIGIBLE, f"node {node.node_id} cannot join: {why}")
        _check_dataset(context, plan, rule, args.dataset_id)
        _check_free(context, plan.terms, rule, args)
        place = Place(
            plan_id=args.plan_id,
            msp_id=context.msp_id,
            slot=args.slot,
            node_id=context.node_id,
            dataset_id=args.dataset_id,
            joined_at=context.now,
        )
        return _put(context, place, "plan.joined")

    @transaction("plan:Leave")
    def leave(self, context: Context, args: LeavePlanArgs) -> Place:
        node = nodes.owned(context, args.node_id)
        key = keys.place_of_node(args.plan_id, node.msp_id, node.node_id)
        place = context.find(key, Place)
        if place is None:
            raise MedFabricError(
                Code.NOT_FOUND, f"{node.node_id} of {node.msp_id} has no place in {args.plan_id}"
            )
        if place.left_at is not None:
            raise MedFabricError(Code.ALREADY, f"node {node.node_id} has left already")
        left = place.model_copy(update={"left_at": context.now})
        return _put(context, left, "plan.left")

    @transaction("plan:Places")
    def places(self, context: Context, args: PlacesArgs) -> PlacePage:
        below = (args.plan_id,) if args.msp_id is None else (args.plan_id, args.msp_id)
        found, bookmark = context.page("place", below, Place, args.page_size, args.bookmark)
        return PlacePage(places=found, bookmark=bookmark)


def for_next_round(
    context: Context, plan: Plan, span: range
) -> tuple[tuple[Participant, ...], tuple[Exclusion, ...]]:
    """Who at these positions takes part in a round that opens now, and who does not although named
    or admitted, sorted by hospital and node."""
    candidates = _candidates(context, plan.terms, span)
    nodes = context.find_all([keys.node(c.who.msp_id, c.who.node_id) for c in candidates], Node)
    barred = [keys.suspension(c.who.msp_id, c.who.node_id) for c in candidates]
    suspensions = context.find_all(barred, Suspension)
    wanted = [keys.consent(c.who.dataset_id, plan.terms.plan_id) for c in candidates]
    given = context.find_all(wanted, Consent)
    participants: list[Participant] = []
    excluded: list[Exclusion] = []
    found = zip(candidates, nodes, suspensions, given, strict=True)
    for candidate, node, suspension, consent in found:
        suspended = suspension is not None and context.now < suspension.until
        code = _code(context, plan, candidate, None if suspended else node, consent)
        if code is None:
            participants.append(candidate.who)
        else:
            excluded.append(Exclusion(**candidate.who.model_dump(), code=code.value))
    return tuple(participants), tuple(excluded)


def position(context: Context, terms: PlanTerms, msp_id: str, node_id: str) -> int | None:
    """Where a node is in the plan, or None."""
    who = (msp_id, node_id)
    for number, named in enumerate(_named(terms)):
        if (named.msp_id, named.node_id) == who:
            return number
    rule = terms.participation.dynamic
    place = context.find(keys.place_of_node(terms.plan_id, *who), Place) if rule else None
    if rule is None or place is None:
        return None
    return len(_named(terms)) + _places(rule).index((msp_id, place.slot))


@dataclass(frozen=True)
class _Candidate:
    """``rule``: by which it was admitted, None for one that the plan names."""

    who: Participant
    rule: DynamicTerms | None


def _named(terms: PlanTerms) -> Sequence[Participant]:
    return sorted(terms.participation.participants, key=lambda p: (p.msp_id, p.node_id))


def _places(rule: DynamicTerms) -> Sequence[tuple[str, int]]:
    return [(h, slot) for h in sorted(set(rule.hospitals)) for slot in range(rule.slots)]


def _candidates(context: Context, terms: PlanTerms, span: range) -> Sequence[_Candidate]:
    """Whom the plan names or admitted at these positions, sorted by hospital and node."""
    named = _named(terms)
    found = [_Candidate(participant, None) for participant in named[span.start : span.stop]]
    rule = terms.participation.dynamic
    if rule is not None:
        first = max(0, span.start - len(named))
        taken = _places(rule)[first : max(0, span.stop - len(named))]
        wanted = [keys.place(terms.plan_id, *place) for place in taken]
        for place in context.existing(wanted, Place):
            if place.left_at is None:
                who = Participant(
                    msp_id=place.msp_id, node_id=place.node_id, dataset_id=place.dataset_id
                )
                found.append(_Candidate(who, rule))
    return sorted(found, key=lambda c: (c.who.msp_id, c.who.node_id))


def _code(
    context: Context, plan: Plan, candidate: _Candidate, node: Node | None, consent: Consent | None
) -> Code | None:
    """Why a candidate takes no part, or None. ``node``: None where it may not act."""
    if candidate.who.msp_id not in context.consortium().hospitals:
        return Code.NOT_ADMITTED
    if node is None or node.status is not NodeStatus.ACTIVE:
        return Code.NODE_NOT_ACTIVE
    if candidate.rule is not None and _unfit(context, candidate.rule, node):
        return Code.NOT_ELIGIBLE
    return None if consents(consent, plan) else Code.CONSENT_MISSING


def _rule(context: Context, terms: PlanTerms) -> DynamicTerms:
    rule = terms.participation.dynamic
    if rule is None:
        raise MedFabricError(
            Code.NOT_ELIGIBLE, f"{terms.plan_id} admits no nodes but those that it names"
        )
    if context.msp_id not in rule.hospitals:
        raise MedFabricError(
            Code.NOT_A_PARTICIPANT, f"{terms.plan_id} has no places for nodes of {context.msp_id}"
        )
    return rule


def _unfit(context: Context, rule: DynamicTerms, node: Node) -> str:
    """Why a node is not one that the rule admits; empty where it is."""
    if not node.dynamic:
        return "it is not registered as one that comes and goes"
    if not set(rule.roles) <= set(node.roles):
        return f"it needs the roles {', '.join(sorted(rule.roles))}"
    if rule.devices and node.device not in rule.devices:
        return f"the plan does not admit the device class {node.device}"
    if not reputation.meets(context, node.msp_id, node.node_id, rule.least_reputation_milli):
        return f"a reputation of {rule.least_reputation_milli} thousandths is needed"
    return ""


def _check_dataset(context: Context, plan: Plan, rule: DynamicTerms, dataset_id: str) -> None:
    dataset = context.get(keys.dataset(dataset_id), Dataset)
    if dataset.msp_id != context.msp_id:
        raise MedFabricError(Code.NOT_OWNER, f"dataset {dataset_id} belongs to {dataset.msp_id}")
    if dataset.application != plan.terms.data.application:
        raise MedFabricError(
            Code.NOT_ELIGIBLE, f"dataset {dataset_id} is for another application; name another"
        )
    if dataset.train_samples < rule.least_samples:
        raise MedFabricError(
            Code.NOT_ELIGIBLE,
            f"dataset {dataset_id} has {dataset.train_samples} training records, the plan needs "
            f"{rule.least_samples}",
        )
    if not consents(context.find(keys.consent(dataset_id, plan.terms.plan_id), Consent), plan):
        raise MedFabricError(
            Code.CONSENT_MISSING, f"no consent to train on {dataset_id}; ask the hospital's admin"
        )


def _check_free(context: Context, terms: PlanTerms, rule: DynamicTerms, args: JoinPlanArgs) -> None:
    named = terms.participation.participants
    if (context.msp_id, context.node_id) in {(p.msp_id, p.node_id) for p in named}:
        raise MedFabricError(Code.ALREADY, f"{args.plan_id} names this node itself")
    if args.dataset_id in {p.dataset_id for p in named}:
        raise MedFabricError(Code.EXISTS, f"another node trains on {args.dataset_id}")
    if args.slot >= rule.slots:
        raise MedFabricError(
            Code.NOT_ELIGIBLE, f"a hospital has {rule.slots} places in {args.plan_id}, from 0 on"
        )
    if _taken(context, keys.place_of_node(args.plan_id, context.msp_id, context.node_id)):
        raise MedFabricError(Code.ALREADY, f"{context.node_id} has a place already")
    if _taken(context, keys.place_of_dataset(args.plan_id, args.dataset_id)):
        raise MedFabricError(Code.EXISTS, f"another node trains on {args.dataset_id}")
    if _taken(context, keys.place(args.plan_id, context.msp_id, args.slot)):
        raise MedFabricError(Code.PLACE_TAKEN, f"place {args.slot} is taken; name a free one")


def _taken(context: Context, key: keys.Key) -> bool:
    place = context.find(key, Place)
    return place is not None and place.left_at is None


def _put(context: Context, place: Place, event: str) -> Place:
    for key in (
        keys.place(place.plan_id, place.msp_id, place.slot),
        keys.place_of_node(place.plan_id, place.msp_id, place.node_id),
        keys.place_of_dataset(place.plan_id, place.dataset_id),
    ):
        context.put(key, place)
    context.emit(event, plan_id=place.plan_id, msp_id=place.msp_id, subject=place.node_id)
    return place
