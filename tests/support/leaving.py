"""A plan of four hospitals, whose key all are needed for, goes on with three of them."""

from __future__ import annotations

from chaincode.schema.plans import PlanTerms
from support.scenario import HOSPITALS, PLAN, Scenario, at, sha, terms

LEAVES = HOSPITALS[2]


def next_plan() -> PlanTerms:
    """The plan that the three go on with."""
    former = terms()
    named = tuple(p for p in former.participation.participants if p.msp_id != LEAVES)
    plan = terms("next", participants=named, agreement=2, quorum=2)
    return plan.model_copy(update={"key": former.handed_on(sha("collective key"))})


def leaving() -> tuple[Scenario, PlanTerms]:
    """Its ceremony is open; all four have voted for it."""
    scenario, plan = at("active"), next_plan()
    scenario.do(HOSPITALS[0], "plan:Pause", {"plan_id": PLAN, "reason": "one leaves"})
    scenario.propose(plan)
    for voter in HOSPITALS:
        scenario.vote(voter, "plan", "next", plan.sha256)
    scenario.do(HOSPITALS[0], "plan:Advance", {"plan_id": "next"})
    return scenario, plan
