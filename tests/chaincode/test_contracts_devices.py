"""Classes of devices: what a plan has them do, and what each costs its dataset."""

from __future__ import annotations

import pytest
from support.replayed import proven
from support.scenario import (
    BATCH,
    HOSPITALS,
    SAMPLES,
    STEPS,
    Scenario,
    at,
    dataset_args,
    dataset_of,
    terms,
)

from chaincode.schema import accounting, canonical, keys
from chaincode.schema.errors import Code
from chaincode.schema.plans import DeviceTerms, DynamicTerms, PlanTerms
from chaincode.shim.stub import composite_key
from client.audit.lineage import check_privacy

ONE, TWO, THREE, FOUR = HOSPITALS
SMALL = DeviceTerms(device="pi", steps=3, batch_size=5)


def planned(*devices: DeviceTerms, **participation) -> PlanTerms:
    agreed = terms(**participation)
    training = agreed.training.model_copy(update={"devices": devices})
    return agreed.model_copy(update={"training": training})


def mixed() -> Scenario:
    """Four hospitals, the last with a small device."""
    scenario = at("founded")
    for hospital in HOSPITALS:
        device = "pi" if hospital == FOUR else "server"
        scenario.do(hospital, "node:Register", scenario.node_args(hospital) | {"device": device})
        scenario.do(hospital, "dataset:Register", dataset_args(dataset_of(hospital)))
    return scenario


def opened(plan: PlanTerms) -> Scenario:
    scenario = mixed()
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    scenario.open(plan)
    return scenario


def account(scenario, hospital):
    return scenario.asset(keys.account(dataset_of(hospital)))


def test_each_class_does_its_own_steps_and_is_charged_for_them():
    plan = planned(SMALL)
    scenario = opened(plan)
    general = scenario.update_args(plan, FOUR)
    own = general | {"steps": 3, "batch_size": 5}

    refused = scenario.refused(FOUR, "round:SubmitUpdate", general)
    other = scenario.refused(
        ONE, "round:SubmitUpdate", scenario.update_args(plan, ONE) | {"steps": 3, "batch_size": 5}
    )
    scenario.do(FOUR, "round:SubmitUpdate", own)
    scenario.submit(plan, who=(ONE, TWO, THREE))

    assert {refused.code, other.code} == {Code.PRIVACY_TERMS_MISMATCH}
    noise = plan.privacy.noise_multiplier_micro
    for hospital, steps, batch in ((FOUR, 3, 5), (ONE, STEPS, BATCH)):
        (spent,) = account(scenario, hospital)["plans"]
        assert (spent["steps_each"], spent["batch_size"]) == (steps, batch)
        loss = accounting.rdp_pico(batch, SAMPLES, noise, steps)
        exact = accounting.epsilon_micro(loss, plan.privacy.delta_nano)
        assert spent["epsilon_micro"] == account(scenario, hospital)["epsilon_micro"] == exact
    assert account(scenario, FOUR)["epsilon_micro"] < account(scenario, ONE)["epsilon_micro"]
    assert list(check_privacy(proven(scenario.ledger))) == []


def test_what_was_declined_is_charged_by_its_class_too():
    plan = planned(SMALL)
    scenario = opened(plan)

    declined = scenario.do(
        FOUR,
        "round:Decline",
        {"plan_id": plan.plan_id, "round": 1, "code": "MF-9013", "trained": True},
    )

    assert (declined["steps"], declined["batch_size"]) == (3, 5)
    (spent,) = account(scenario, FOUR)["plans"]
    assert (spent["steps_each"], spent["batch_size"], spent["updates"]) == (3, 5, 1)
    assert list(check_privacy(proven(scenario.ledger))) == []


def test_losses_of_two_classes_on_one_dataset_add_up():
    plan = planned(SMALL)
    scenario = opened(plan)
    scenario.submit(plan, who=(ONE,))
    # As where another node of the hospital had trained on the dataset in an earlier round.
    name = keys.account(dataset_of(ONE))
    earlier = account(scenario, ONE)
    other = {**earlier["plans"][0], "steps_each": 3, "batch_size": 5}
    opened_again = opened(plan)
    opened_again.ledger.state[composite_key(*name)] = canonical.dumps({**earlier, "plans": [other]})
    opened_again.submit(plan, who=(ONE,))

    noise, delta = plan.privacy.noise_multiplier_micro, plan.privacy.delta_nano
    both = accounting.add(
        accounting.rdp_pico(5, SAMPLES, noise, 3),
        accounting.rdp_pico(BATCH, SAMPLES, noise, STEPS),
    )
    after = account(opened_again, ONE)
    assert [(s["steps_each"], s["updates"]) for s in after["plans"]] == [(3, 1), (STEPS, 1)]
    assert after["epsilon_micro"] == accounting.epsilon_micro(both, delta)
    assert after["plans"][1]["epsilon_micro"] == after["epsilon_micro"]


@pytest.mark.parametrize(
    ("devices", "rule", "why"),
    [
        ((SMALL, SMALL), None, "same name"),
        ((SMALL.model_copy(update={"steps": 90_000}),), None, "epsilon"),
        ((SMALL.model_copy(update={"batch_size": SAMPLES + 1}),), None, "batch is larger"),
        (
            (SMALL.model_copy(update={"device": "phone", "batch_size": 60}),),
            DynamicTerms(hospitals=HOSPITALS, slots=1, least_samples=50),
            "smallest dataset that the rule admits",
        ),
        (
            (SMALL.model_copy(update={"device": "phone", "steps": 90_000}),),
            DynamicTerms(hospitals=HOSPITALS, slots=1, least_samples=SAMPLES, devices=("phone",)),
            "epsilon",
        ),
    ],
)
def test_plan_that_one_class_cannot_carry_out_is_refused(devices, rule, why):
    refused = mixed().refused(ONE, "plan:Propose", planned(*devices, dynamic=rule))

    assert refused.code == Code.PLAN_INVALID
    assert why in refused.message


def test_a_class_of_which_no_node_takes_part_costs_nobody_anything():
    unused = SMALL.model_copy(update={"device": "phone", "steps": 90_000})

    proposed = mixed().do(ONE, "plan:Propose", planned(unused))

    assert proposed["status"] == "PROPOSED"
