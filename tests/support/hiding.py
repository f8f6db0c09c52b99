"""Plans whose noise hides whole hospitals, and the budgets that hospitals set for them."""

from __future__ import annotations

from chaincode.schema.plans import HospitalTerms, PlanTerms
from support.masking import masked_terms
from support.scenario import HOSPITALS, PLAN, Scenario

HIDDEN = HospitalTerms(
    norm_levels=4000, noise_levels=1500, epsilon_micro=16_000_000, delta_nano=10_000
)
"""Two of the quorum of three are counted; 22000 levels of 32767 are taken."""
BUDGET = {"budget_epsilon_micro": 16_000_000, "delta_nano": 10_000}


def hiding(plan: PlanTerms | None = None, **changes: int) -> PlanTerms:
    """The plan, or a masked one, with noise that hides its hospitals."""
    plan = plan or masked_terms(PLAN)
    hospital = HIDDEN.model_copy(update=changes)
    return plan.model_copy(
        update={"privacy": plan.privacy.model_copy(update={"hospital": hospital})}
    )


def set_budgets(scenario: Scenario) -> Scenario:
    """Every hospital says what such plans may tell of it."""
    for hospital in HOSPITALS:
        scenario.do(hospital, "hospital:SetBudget", BUDGET)
    return scenario
