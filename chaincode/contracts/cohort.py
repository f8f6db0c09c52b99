"""A round's nodes, page by page: enlisted when it opens, weighed when it is sealed.

Every position that a plan has, for a node that it names or one that joins, lies on a page of
:data:`PAGE`. A transaction reads and writes one page, however many nodes a plan has, and each page
is written once: a round of one page opens and is sealed in one transaction each, as most are.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable
from typing import Any

from chaincode.contracts import place as places
from chaincode.contracts import plan as plans
from chaincode.contracts import reputation, staging
from chaincode.contracts.framework import Context
from chaincode.schema import keys
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import Masking
from chaincode.schema.plans import Participant, Plan, PlanTerms
from chaincode.schema.rounds import (
    Cohort,
    Contributions,
    Decline,
    NodeRef,
    NodeStanding,
    Round,
    Update,
    WholeRound,
)

PAGE = 64
"""Positions on a page. It is the same wherever a transaction is simulated: never a setting."""


def pages(terms: PlanTerms) -> int:
    """On how many pages a round of the plan has its nodes."""
    return max(1, -(-terms.most_updates // PAGE))


def enlist(context: Context, plan: Plan, number: int, page: int) -> Cohort:
    """Who of a page takes part in a round that opens now."""
    span = range(page * PAGE, (page + 1) * PAGE)
    participants, excluded = places.for_next_round(context, plan, span)
    return Cohort(
        plan_id=plan.plan_id,
        number=number,
        page=page,
        participants=participants,
        excluded=excluded,
    )


def seal(
    context: Context, plan: Plan, round_: Round, page: int, waived: frozenset[tuple[str, str]]
) -> Contributions:
    """The updates of a page with their nodes' standing. Nobody waits for those ``waived``.

    Raises:
        MedFabricError: ``NOT_YET`` while there is time for one of them to come.
    """
    cohort = of(context, round_, page)
    posted = updates(context, cohort)
    present = {(u.msp_id, u.node_id) for u in posted}
    missing = [p for p in cohort.participants if (p.msp_id, p.node_id) not in present]
    gone = plans.gone_holders(context, plan.terms)
    declined = {(d.msp_id, d.node_id) for d in declines(context, cohort)} if missing else set()
    declined |= waived
    awaited = [
        f"{p.node_id} of {p.msp_id}"
        for p in missing
        if p.msp_id not in gone and (p.msp_id, p.node_id) not in declined
    ]
    staging.wait(context, round_, awaited[:8])
    before = _before(context, round_, page)
    standings = reputation.standing_milli(context, posted)
    return Contributions(
        plan_id=round_.plan_id,
        number=round_.number,
        page=page,
        contributions=tuple(
            NodeStanding(msp_id=u.msp_id, node_id=u.node_id, standing_milli=standing)
            for u, standing in zip(posted, standings, strict=True)
        ),
        missing=tuple(NodeRef(msp_id=p.msp_id, node_id=p.node_id) for p in missing),
        updates=len(posted) + (before.updates if before else 0),
        hospitals=_counted(before.hospitals if before else {}, [u.msp_id for u in posted]),
        owing=tuple(sorted({*(before.owing if before else ()), *(p.msp_id for p in missing)})),
    )


def of(context: Context, round_: Round, page: int) -> Cohort:
    """A page of a round's nodes."""
    return context.get(keys.cohort(round_.plan_id, round_.number, page), Cohort)


def updates(context: Context, cohort: Cohort) -> tuple[Update, ...]:
    """What the nodes of a page posted, in their order."""
    place = cohort.plan_id, cohort.number
    wanted = [keys.update(*place, p.msp_id, p.node_id) for p in cohort.participants]
    return context.existing(wanted, Update)


def declines(context: Context, cohort: Cohort) -> tuple[Decline, ...]:
    """Why nodes of a page give no update, in their order."""
    place = cohort.plan_id, cohort.number
    wanted = [keys.decline(*place, p.msp_id, p.node_id) for p in cohort.participants]
    return context.existing(wanted, Decline)


def sealed(context: Context, round_: Round, page: int) -> Contributions | None:
    """The updates of a page as they were sealed, or None."""
    return context.find(keys.contributions(round_.plan_id, round_.number, page), Contributions)


def participant(context: Context, plan: Plan, round_: Round) -> Participant:
    """The caller as one of the round's nodes.

    Raises:
        MedFabricError: ``NOT_A_PARTICIPANT``.
    """
    place = places.position(context, plan.terms, context.msp_id, context.node_id)
    if place is not None:
        for found in of(context, round_, place // PAGE).participants:
            if (found.msp_id, found.node_id) == (context.msp_id, context.node_id):
                return found
    raise MedFabricError(
        Code.NOT_A_PARTICIPANT,
        f"node {context.node_id} takes no part in round {round_.number} of {round_.plan_id}",
    )


def whole(context: Context, plan: Plan, round_: Round) -> WholeRound:
    """A round with all its pages."""
    place = (round_.plan_id, round_.number)
    numbers = range(round_.pages)
    cohorts = context.existing([keys.cohort(*place, page) for page in numbers], Cohort)
    wanted = [keys.contributions(*place, page) for page in numbers]
    return WholeRound.of(
        round_,
        cohorts,
        context.existing(wanted, Contributions),
        [update for cohort in cohorts for update in updates(context, cohort)],
        plan.terms.encryption.weight_bits,
        context.find(keys.masking(*place), Masking),
        alike=plan.terms.hides_hospitals,
    )


def page(context: Context, round_: Round, number: int) -> dict[str, Any]:
    """A page of a round's nodes, and how many pages there are; for transactions that do not write.

    Raises:
        MedFabricError: ``NOT_FOUND`` for a page that the round has not.
    """
    if number >= round_.pages:
        raise MedFabricError(
            Code.NOT_FOUND, f"round {round_.number} has {round_.pages} pages of nodes, from 0 on"
        )
    place = (round_.plan_id, round_.number)
    cohort = context.find(keys.cohort(*place, number), Cohort)
    return {
        "page": number,
        "enlisted": _pages_so_far(context, keys.cohort, round_),
        "sealed": _pages_so_far(context, keys.contributions, round_),
        "cohort": cohort,
        "contributions": sealed(context, round_, number),
        "updates": updates(context, cohort) if cohort else (),
        "declines": declines(context, cohort) if cohort else (),
    }


def _pages_so_far(context: Context, key: Callable[..., keys.Key], round_: Round) -> int:
    """How many pages of a kind are written: one after the other, so that the last is found by
    halves."""

    def missing(number: int) -> bool:
        return context.values([key(round_.plan_id, round_.number, number)]) == [None]

    return bisect.bisect_left(range(round_.pages), True, key=missing)


def check_next(
    context: Context, round_: Round, page: int, kind: type[Cohort | Contributions]
) -> None:
    """Refuse a page that is written already, or before the one in front of it.

    Raises:
        MedFabricError: ``ALREADY`` or ``BAD_STATE``.
    """
    key = keys.cohort if kind is Cohort else keys.contributions
    place = (round_.plan_id, round_.number)
    if page >= round_.pages or (page and context.find(key(*place, page - 1), kind) is None):
        raise MedFabricError(
            Code.BAD_STATE, f"page {page} of round {round_.number} is not the next; read it again"
        )
    if context.find(key(*place, page), kind) is not None:
        raise MedFabricError(Code.ALREADY, f"page {page} of round {round_.number} is done")


def _before(context: Context, round_: Round, page: int) -> Contributions | None:
    return sealed(context, round_, page - 1) if page else None


def _counted(known: dict[str, int], more: list[str]) -> dict[str, int]:
    counts = Counter(known) + Counter(more)
    return {hospital: counts[hospital] for hospital in sorted(counts)}
