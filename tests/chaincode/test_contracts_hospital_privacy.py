"""Plans whose noise hides whole hospitals: what is agreed, what is refused, what is charged."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.hiding import BUDGET, hiding, set_budgets
from support.masking import bring, key, masked_terms
from support.scenario import HOSPITALS, PLAN, Scenario, at, dataset_of, terms

from chaincode.schema import canonical, keys
from chaincode.schema.accounting import epsilon_micro, summed_rdp_pico
from chaincode.schema.errors import Code
from chaincode.schema.plans import (
    AcceptanceTerms,
    DynamicTerms,
    LayerTerms,
    PlanTerms,
)
from chaincode.shim.stub import composite_key

ONE, TWO, THREE, FOUR = HOSPITALS


def _asked() -> Scenario:
    """Nodes are enrolled and budgets set."""
    return set_budgets(at("enrolled"))


def _change(scenario: Scenario, key: keys.Key, **fields: Any) -> None:
    scenario.ledger.state[composite_key(*key)] = canonical.dumps(scenario.asset(key) | fields)


def _told(plan: PlanTerms, sums: int, plan_id: str = PLAN) -> dict[str, Any]:
    told = plan.model_copy(update={"plan_id": plan_id}).told(ONE, sums)
    return json.loads(told.model_dump_json())


def test_each_update_charges_its_hospital_what_the_sum_tells():
    plan = hiding()
    scenario = bring(_asked(), plan, "open")

    for hospital in (ONE, TWO, THREE):
        scenario.do(hospital, "round:SubmitUpdate", scenario.update_args(plan, hospital))

    one = summed_rdp_pico(4000, 1500, 2, plan.model.parameters)
    spent = epsilon_micro(one, 10_000)
    told = scenario.do(ONE, "plan:Get", {"plan_id": PLAN})["hospitals"]
    assert [(a["msp_id"], a["sums"], a["epsilon_micro"]) for a in told] == [
        (h, 1, spent) for h in (ONE, TWO, THREE)
    ]


def test_a_plan_that_trains_some_layers_tells_of_a_hospital_by_their_number_alone():
    layers = LayerTerms(names=("output",), parameters=2)
    whole = hiding(noise_levels=1)
    part = whole.model_copy(
        update={"training": whole.training.model_copy(update={"layers": layers})}
    )

    told = part.told(ONE, 1)
    assert told.rdp_pico() == summed_rdp_pico(4000, 1, 2, 2)
    assert told.rdp_pico() < whole.told(ONE, 1).rdp_pico()


def test_an_update_beyond_what_may_be_told_of_its_hospital_is_refused():
    plan = hiding()
    scenario = bring(_asked(), plan, "open")
    _change(scenario, keys.hospital_account(ONE), plans=[_told(plan, 200)])

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE))

    assert error.code == Code.PLAN_BUDGET_EXCEEDED
    assert ONE in error.message


def test_what_all_plans_tell_together_is_held_against_the_hospitals_budget():
    plan = hiding()
    scenario = bring(_asked(), plan, "open")
    once, key = summed_rdp_pico(4000, 1500, 2, plan.model.parameters), keys.hospital_account(ONE)
    both = epsilon_micro([4 * loss for loss in once], 10_000)
    _change(scenario, key, plans=[_told(plan, 3, "another")], budget_epsilon_micro=both - 1)

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE))
    _change(scenario, key, budget_epsilon_micro=both)
    scenario.do(ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE))

    assert error.code == Code.BUDGET_EXCEEDED
    account = scenario.do(TWO, "hospital:Privacy")["accounts"][0]
    assert (account["msp_id"], account["epsilon_micro"]) == (ONE, both)
    assert [(s["plan_id"], s["sums"]) for s in account["plans"]] == [("another", 3), (PLAN, 1)]


def test_a_hospital_without_a_budget_consents_to_no_plan_that_hides_it():
    plan = hiding()
    scenario = at("enrolled")
    scenario.propose(plan)
    consent = {"dataset_id": dataset_of(ONE), "plan_id": PLAN, "terms_sha256": plan.sha256}

    assert scenario.refused(ONE, "dataset:Consent", consent).code == Code.NO_BUDGET
    scenario.do(ONE, "hospital:SetBudget", BUDGET)
    scenario.do(ONE, "dataset:Consent", consent)


def test_a_budget_is_not_set_below_what_was_told():
    plan = hiding()
    scenario = bring(_asked(), plan, "open")
    scenario.do(ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE))
    spent = scenario.do(ONE, "hospital:Privacy")["accounts"][0]["epsilon_micro"]

    below = BUDGET | {"budget_epsilon_micro": spent - 1}
    smaller = BUDGET | {"budget_epsilon_micro": spent, "delta_nano": 9_000}
    for args in (below, smaller):
        assert scenario.refused(ONE, "hospital:SetBudget", args).code == Code.BUDGET_EXCEEDED
    kept = scenario.do(ONE, "hospital:SetBudget", BUDGET | {"budget_epsilon_micro": spent})

    assert [s["sums"] for s in kept["plans"]] == [1]


def test_updates_weigh_the_same_whatever_their_samples():
    plan = hiding()
    scenario = _asked()
    _change(scenario, keys.dataset(dataset_of(FOUR)), train_samples=5000)
    bring(scenario, plan, "keying")

    key(scenario, plan)
    scenario.advance(plan)

    assert len({node["weight"] for node in scenario.asset(keys.masking(PLAN, 1))["nodes"]}) == 1


def test_sealed_ciphertexts_weigh_the_same_too():
    plan = hiding(terms())
    scenario = _asked()
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    scenario.open(plan)
    scenario.submit(plan)
    for hospital, samples in zip(HOSPITALS, (100, 1, 9999, 7), strict=True):
        _change(scenario, keys.update(PLAN, 1, hospital, "node1"), samples=samples)

    sealed = scenario.advance(plan)

    assert len({c["weight"] for c in sealed["contributions"]}) == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"colluding": 3}, "no noise is left"),
        ({"noise_levels": 2500}, "34000"),
        ({"epsilon_micro": 1_000_000}, "epsilon"),
        ({"colluding": 2}, "epsilon"),
    ],
)
def test_terms_that_hide_nobody_are_refused(changes, why):
    error = at("enrolled").refused(ONE, "plan:Propose", hiding(**changes))

    assert error.code == Code.PLAN_INVALID
    assert why in error.message


def test_what_would_make_the_noise_something_else_is_refused():
    scenario = at("enrolled")
    rule = DynamicTerms(hospitals=(ONE,), slots=1, least_samples=100)
    two_nodes = hiding(masked_terms(PLAN, dynamic=rule))
    tested = AcceptanceTerms(group_tests=2, least_group=2)
    grouped = hiding(terms().model_copy(update={"acceptance": tested}))
    for plan, why in ((two_nodes, "one node"), (grouped, "group")):
        error = scenario.refused(ONE, "plan:Propose", plan)
        assert error.code == Code.PLAN_INVALID
        assert why in error.message
