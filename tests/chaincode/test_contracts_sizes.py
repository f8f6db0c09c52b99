"""Classes of dataset sizes: what a plan has them do, and what each costs its dataset."""

from __future__ import annotations

import pytest
from support.replayed import proven
from support.scenario import (
    BATCH,
    DELTA,
    EPSILON,
    HOSPITALS,
    ROUNDS,
    SAMPLES,
    STEPS,
    Scenario,
    at,
    dataset_args,
    dataset_of,
    terms,
)

from chaincode.schema import accounting, keys
from chaincode.schema.errors import Code
from chaincode.schema.plans import DynamicTerms, PlanTerms, SizeTerms
from client.audit.lineage import check_privacy

ONE, TWO, THREE, FOUR = HOSPITALS
MANY = 10 * SAMPLES
NOISE = accounting.calibrate(2 * BATCH, MANY, STEPS * ROUNDS, EPSILON, DELTA)
LARGE = SizeTerms(least_samples=MANY, batch_size=2 * BATCH, noise_multiplier_micro=NOISE)


def planned(*sizes: SizeTerms, **participation) -> PlanTerms:
    return terms(**participation).model_copy(update={"sizes": sizes})


def unequal() -> Scenario:
    """Four hospitals, the last with ten times the records."""
    scenario = at("founded")
    for hospital in HOSPITALS:
        samples = MANY if hospital == FOUR else SAMPLES
        args = dataset_args(dataset_of(hospital), train_samples=samples)
        scenario.do(hospital, "node:Register", scenario.node_args(hospital))
        scenario.do(hospital, "dataset:Register", args)
    return scenario


def opened(plan: PlanTerms) -> Scenario:
    scenario = unequal()
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    scenario.open(plan)
    return scenario


def test_a_large_dataset_has_its_own_batch_and_noise_and_the_same_epsilon():
    plan = planned(LARGE)
    scenario = opened(plan)
    general = scenario.update_args(plan, FOUR) | {"samples": MANY}
    own = {"batch_size": 2 * BATCH, "noise_multiplier_micro": NOISE}

    refused = scenario.refused(FOUR, "round:SubmitUpdate", general)
    half = scenario.refused(FOUR, "round:SubmitUpdate", general | {"batch_size": 2 * BATCH})
    other = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE) | own)
    scenario.do(FOUR, "round:SubmitUpdate", general | own)
    scenario.submit(plan, who=(ONE, TWO, THREE))

    assert {e.code for e in (refused, half, other)} == {Code.PRIVACY_TERMS_MISMATCH}
    account = scenario.asset(keys.account(dataset_of(FOUR)))
    (spent,) = account["plans"]
    assert (spent["batch_size"], spent["noise_multiplier_micro"]) == (2 * BATCH, NOISE)
    loss = accounting.rdp_pico(2 * BATCH, MANY, NOISE, STEPS)
    assert account["epsilon_micro"] == accounting.epsilon_micro(loss, DELTA)
    assert list(check_privacy(proven(scenario.ledger))) == []


def test_what_was_declined_is_charged_by_its_class_too():
    plan = planned(LARGE)
    scenario = opened(plan)

    declined = scenario.do(
        FOUR,
        "round:Decline",
        {"plan_id": plan.plan_id, "round": 1, "code": "MF-9013", "trained": True},
    )

    assert declined["noise_multiplier_micro"] == NOISE
    (spent,) = scenario.asset(keys.account(dataset_of(FOUR)))["plans"]
    assert (spent["noise_multiplier_micro"], spent["updates"]) == (NOISE, 1)
    assert list(check_privacy(proven(scenario.ledger))) == []


@pytest.mark.parametrize(
    ("sizes", "rule", "why"),
    [
        ((LARGE, LARGE), None, "same number of records"),
        ((LARGE.model_copy(update={"batch_size": MANY + 1}),), None, "batch is larger"),
        ((LARGE.model_copy(update={"noise_multiplier_micro": NOISE // 2}),), None, "epsilon"),
        # Enough for ten times the records, and not for as few as the rule admits.
        (
            (LARGE.model_copy(update={"least_samples": 2 * SAMPLES}),),
            DynamicTerms(hospitals=HOSPITALS, slots=1, least_samples=SAMPLES),
            "epsilon",
        ),
    ],
)
def test_plan_that_one_class_cannot_carry_out_is_refused(sizes, rule, why):
    refused = unequal().refused(ONE, "plan:Propose", planned(*sizes, dynamic=rule))

    assert refused.code == Code.PLAN_INVALID
    assert why in refused.message


def test_a_class_that_no_dataset_reaches_costs_nobody_anything():
    unreached = LARGE.model_copy(
        update={"least_samples": MANY + 1, "noise_multiplier_micro": NOISE // 2}
    )

    proposed = unequal().do(ONE, "plan:Propose", planned(unreached))

    assert proposed["status"] == "PROPOSED"
