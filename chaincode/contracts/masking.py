"""Rounds whose updates are masked: keys first, then updates, then the shares that unmask the sum.

For no node are shares of both its secrets ever taken: of which one they are follows from the
round's contributions, which are fixed before the first share, and each share is held against the
hash of that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chaincode.contracts import cohort as cohorts
from chaincode.contracts import plan as plans
from chaincode.contracts import reputation, staging
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, weights
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import (
    Masked,
    Masking,
    MaskingTerms,
    MaskKeys,
    PostMaskKeysArgs,
    UnmaskArgs,
    Unmasking,
    bound_sha256,
)
from chaincode.schema.plans import Participant, Plan, PlanTerms
from chaincode.schema.rounds import Contributions, Round, RoundStatus


class MaskingContract:
    """What a masked round has beside the others' transactions."""

    @transaction("masking:PostKeys")
    def post_keys(self, context: Context, args: PostMaskKeysArgs) -> MaskKeys:
        plan, round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.KEYING)
        me = (context.msp_id, context.node_id)
        cohorts.participant(context, plan, round_)
        if len(args.bound) != len(plan.terms.hospitals):
            raise MedFabricError(
                Code.BAD_ARGUMENT, "bind one pair of shares for each hospital of the plan"
            )
        if args.mask_key == args.channel_key:
            raise MedFabricError(
                Code.BAD_ARGUMENT, "the key of the masks may be recovered; deal with another one"
            )
        posted = MaskKeys(
            msp_id=context.msp_id,
            node_id=context.node_id,
            posted_at=context.now,
            **dict(args),
        )
        key = keys.mask_keys(args.plan_id, args.round, *me)
        return context.post(key, posted, "masking.keys", plan_id=args.plan_id, round=args.round)

    @transaction("masking:Unmask")
    def unmask(self, context: Context, args: UnmaskArgs) -> Unmasking:
        plan, round_ = _in_stage(context, args.plan_id, args.round, RoundStatus.AGGREGATED)
        if args.aggregate_sha256 != round_.aggregate_sha256:
            raise MedFabricError(
                Code.WRONG_AGGREGATE, "the shares are for another aggregate than the accepted one"
            )
        masking = fixed(context, round_)
        if len(args.shares) != len(masking.nodes):
            raise MedFabricError(
                Code.BAD_ARGUMENT, "one share for each node of the round's masking, or an empty one"
            )
        hospital = plan.terms.hospitals.index(context.msp_id)
        contributed = _contributed(context, round_)
        for posted, share in zip(mask_keys_of(context, masking), args.shares, strict=True):
            if share:
                _check_share(round_, contributed, posted, (context.msp_id, hospital), share)
        unmasking = Unmasking(
            msp_id=context.msp_id,
            node_id=context.node_id,
            posted_at=context.now,
            **dict(args),
        )
        key = keys.unmasking(args.plan_id, args.round, context.msp_id)
        return context.post(
            key, unmasking, "masking.unmasking", plan_id=args.plan_id, round=args.round
        )


def _check_share(
    round_: Round,
    contributed: frozenset[tuple[str, str]],
    posted: MaskKeys,
    dealt_to: tuple[str, int],
    share: str,
) -> None:
    msp_id, hospital = dealt_to
    of_node = (posted.msp_id, posted.node_id)
    bound = posted.bound[hospital]
    kind, wanted = (
        ("own", bound.own_sha256) if of_node in contributed else ("pairwise", bound.pairwise_sha256)
    )
    place = (*of_node, msp_id)
    if bound_sha256(round_.plan_id, round_.number, place, kind, share) != wanted:
        raise MedFabricError(
            Code.MASK_SHARE_REFUSED,
            f"not the share of its {kind} secret that {posted.node_id} of {posted.msp_id} bound "
            "for this hospital; leave it empty",
        )


def _in_stage(
    context: Context, plan_id: str, number: int, stage: RoundStatus
) -> tuple[Plan, Round]:
    plan = plans.running(context, plan_id)
    plans.participating(context, plan.terms)
    round_ = context.get(keys.round_(plan_id, number), Round)
    if not isinstance(plan.terms.encryption, MaskingTerms):
        raise MedFabricError(Code.BAD_STATE, f"plan {plan_id} masks nothing")
    staging.check_stage(f"round {round_.number}", round_, stage)
    staging.check_time(context, f"round {round_.number}", round_)
    return plan, round_


# What the stages need.


def fixed(context: Context, round_: Round) -> Masking:
    """Whose masks a round counts on."""
    return context.get(keys.masking(round_.plan_id, round_.number), Masking)


def posted(context: Context, plan: Plan, round_: Round) -> dict[str, Any]:
    """What a round's masks need, where it has any; for transactions that do not write."""
    if not isinstance(plan.terms.encryption, MaskingTerms):
        return {}
    return {
        "mask_keys": mask_keys(context, round_),
        "masking": context.find(keys.masking(round_.plan_id, round_.number), Masking),
        "unmaskings": unmaskings(context, plan.terms, round_.number),
    }


def mask_keys(context: Context, round_: Round) -> tuple[MaskKeys, ...]:
    """Posted keys, in the order of the round's participants; a masked round has one page."""
    place = round_.plan_id, round_.number
    participants = cohorts.of(context, round_, 0).participants
    wanted = [keys.mask_keys(*place, p.msp_id, p.node_id) for p in participants]
    return context.existing(wanted, MaskKeys)


def unkeyed(context: Context, plan: Plan, round_: Round) -> frozenset[tuple[str, str]]:
    """Participants that cannot submit, having posted no keys in time."""
    if not isinstance(plan.terms.encryption, MaskingTerms):
        return frozenset()
    keyed = {(node.msp_id, node.node_id) for node in fixed(context, round_).nodes}
    participants = cohorts.of(context, round_, 0).participants
    return frozenset((p.msp_id, p.node_id) for p in participants) - keyed


def mask_keys_of(context: Context, masking: Masking) -> tuple[MaskKeys, ...]:
    """The keys of those whose masks count, in order."""
    place = masking.plan_id, masking.round
    wanted = [keys.mask_keys(*place, node.msp_id, node.node_id) for node in masking.nodes]
    return context.existing(wanted, MaskKeys)


def unmaskings(context: Context, terms: PlanTerms, number: int) -> tuple[Unmasking, ...]:
    """Posted shares, by hospital."""
    wanted = [keys.unmasking(terms.plan_id, number, h) for h in terms.hospitals]
    return context.existing(wanted, Unmasking)


def unrecoverable(
    context: Context, terms: PlanTerms, round_: Round, threshold: int
) -> list[Masked]:
    """Nodes of which too few shares were posted to recover the secret."""
    posted = unmaskings(context, terms, round_.number)
    return [
        node
        for place, node in enumerate(fixed(context, round_).nodes)
        if sum(bool(unmasking.shares[place]) for unmasking in posted) < threshold
    ]


def begun(context: Context, plan: Plan, round_: Round, keyed: Sequence[Participant]) -> Masking:
    """Whose masks count, and their weights: nodes multiply by them before they mask."""
    standings = reputation.standing_milli(context, keyed)
    datasets = [context.get(keys.dataset(p.dataset_id), Dataset) for p in keyed]
    claims = [
        weights.Claim(p.msp_id, p.node_id, dataset.train_samples, standing)
        for p, dataset, standing in zip(keyed, datasets, standings, strict=True)
    ]
    if plan.terms.hides_hospitals:
        claims = weights.alike(claims)
    weighed = weights.weigh(claims, plan.terms.encryption.weight_bits)
    return Masking(
        plan_id=round_.plan_id,
        round=round_.number,
        nodes=tuple(
            Masked(msp_id=p.msp_id, node_id=p.node_id, weight=weight)
            for p, weight in zip(keyed, weighed, strict=True)
        ),
    )


def among(context: Context, round_: Round, sealed: Contributions) -> list[Masked]:
    """Those of the masking whose updates are in the sum."""
    present = {(c.msp_id, c.node_id) for c in sealed.present(round_.dropped)}
    return [n for n in fixed(context, round_).nodes if (n.msp_id, n.node_id) in present]


def _contributed(context: Context, round_: Round) -> frozenset[tuple[str, str]]:
    sealed = cohorts.sealed(context, round_, 0)
    present = sealed.present(round_.dropped) if sealed else ()
    return frozenset((c.msp_id, c.node_id) for c in present)


def overweight(nodes: Sequence[Masked]) -> str | None:
    """A hospital that weighs more than the cap among the nodes that are left, if there is one.

    Weights are fixed before nodes drop out, and cannot be changed under the masks.
    """
    by_hospital: dict[str, list[int]] = {}
    for node in nodes:
        by_hospital.setdefault(node.msp_id, []).append(node.weight)
    total = sum(node.weight for node in nodes)
    cap, number = weights.CAP, len(by_hospital)
    above = [
        hospital
        for hospital, own in by_hospital.items()
        # Each weight may have been rounded up by one.
        if (sum(own) - len(own)) * number * cap.denominator > total * cap.numerator
    ]
    return above[0] if above else None
