"""Plans whose noise hides whole hospitals: what is agreed, what is refused, what is charged."""

from __future__ import annotations

import pytest
from support.masking import bring, key, masked_terms
from support.scenario import HOSPITALS, PLAN, Scenario, at, dataset_of, terms

from chaincode.schema import canonical, keys
from chaincode.schema.accounting import epsilon_micro, summed_rdp_pico
from chaincode.schema.errors import Code
from chaincode.schema.plans import (
    AcceptanceTerms,
    DynamicTerms,
    HospitalAccount,
    HospitalTerms,
    PlanTerms,
)
from chaincode.shim.stub import composite_key

ONE, TWO, THREE, FOUR = HOSPITALS
HIDDEN = HospitalTerms(
    norm_levels=4000, noise_levels=1500, epsilon_micro=16_000_000, delta_nano=10_000
)
"""Two of the quorum of three are counted; 22000 levels of 32767 are taken."""


def hiding(plan: PlanTerms | None = None, **changes: int) -> PlanTerms:
    plan = plan or masked_terms(PLAN)
    hospital = HIDDEN.model_copy(update=changes)
    return plan.model_copy(
        update={"privacy": plan.privacy.model_copy(update={"hospital": hospital})}
    )


def _change(scenario: Scenario, key: keys.Key, **fields: int) -> None:
    scenario.ledger.state[composite_key(*key)] = canonical.dumps(scenario.asset(key) | fields)


def test_each_update_charges_its_hospital_what_the_sum_tells():
    plan = hiding()
    scenario = bring(at("enrolled"), plan, "open")

    for hospital in (ONE, TWO, THREE):
        scenario.do(hospital, "round:SubmitUpdate", scenario.update_args(plan, hospital))

    one = summed_rdp_pico(4000, 1500, 2, plan.model.parameters)
    spent = epsilon_micro(one, 10_000)
    told = scenario.do(ONE, "plan:Get", {"plan_id": PLAN})["hospitals"]
    assert [(a["msp_id"], a["sums"], a["epsilon_micro"]) for a in told] == [
        (h, 1, spent) for h in (ONE, TWO, THREE)
    ]


def test_an_update_beyond_what_may_be_told_of_its_hospital_is_refused():
    plan = hiding()
    scenario = bring(at("enrolled"), plan, "open")
    account = HospitalAccount(plan_id=PLAN, msp_id=ONE, sums=200, epsilon_micro=1)
    place = composite_key(*keys.hospital_account(PLAN, ONE))
    scenario.ledger.state[place] = canonical.dumps(account)

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE))

    assert error.code == Code.PLAN_BUDGET_EXCEEDED
    assert ONE in error.message


def test_updates_weigh_the_same_whatever_their_samples():
    plan = hiding()
    scenario = at("enrolled")
    _change(scenario, keys.dataset(dataset_of(FOUR)), train_samples=5000)
    bring(scenario, plan, "keying")

    key(scenario, plan)
    scenario.advance(plan)

    assert len({node["weight"] for node in scenario.asset(keys.masking(PLAN, 1))["nodes"]}) == 1


def test_sealed_ciphertexts_weigh_the_same_too():
    plan = hiding(terms())
    scenario = at("enrolled")
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
