"""Plans that are amended, paused, stopped, scheduled; strategies; candidates nobody evaluated."""

from __future__ import annotations

import pytest
from support.memory_stub import MemoryLedger
from support.scenario import (
    HOSPITALS,
    PLAN,
    at,
    commit_args,
    dataset_of,
    evaluate_args,
    sha,
    terms,
)

from chaincode.schema import keys
from chaincode.schema.data import Feature
from chaincode.schema.errors import Code
from chaincode.schema.plans import LayerTerms, ScheduleTerms
from chaincode.schema.strategies import Strategy

ONE, TWO, THREE, FOUR = HOSPITALS
FIRST = {"plan_id": PLAN, "number": 1}
WHY = {"plan_id": PLAN, "reason": "as agreed"}


def changed(part, plan=None, **changes):
    plan = plan or terms()
    return plan.model_copy(update={part: getattr(plan, part).model_copy(update=changes)})


def second(**changes):
    """The same plan amended once."""
    return terms().model_copy(update={"version": 2, "title": "Amended", **changes})


def plan_of(scenario):
    terms_now = scenario.asset(keys.plan_terms(PLAN))
    return {**scenario.asset(keys.plan(PLAN)), "terms": terms_now}


# versions


def test_an_amendment_voids_the_votes_on_what_it_replaces():
    scenario = at("proposed")
    for hospital in (ONE, TWO):
        scenario.vote(hospital, "plan", PLAN, terms().sha256)
    scenario.do(ONE, "plan:Amend", second())
    scenario.vote(THREE, "plan", PLAN, second().sha256)

    undecided = scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN})
    old = {"subject": "plan", "subject_id": PLAN, "subject_sha256": terms().sha256}
    late = scenario.refused(FOUR, "consortium:Vote", old | {"approve": True})
    view = scenario.do(ONE, "plan:Get", {"plan_id": PLAN})
    for hospital in (ONE, TWO):
        scenario.vote(hospital, "plan", PLAN, second().sha256)
    approved = scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert (undecided.code, late.code) == (Code.NOT_YET, Code.TERMS_MISMATCH)
    assert [v["msp_id"] for v in view["votes"]] == [THREE]
    assert approved["status"] == "APPROVED"
    assert plan_of(scenario)["terms"]["title"] == "Amended"


def test_terms_that_were_replaced_can_still_be_read():
    scenario = at("proposed")
    third = second(version=3, title="Again")
    for amended in (second(), third):
        scenario.do(ONE, "plan:Amend", amended)

    args = {"plan_id": PLAN, "page_size": 1}
    first = scenario.do(TWO, "plan:Versions", args, "auditor")
    rest = scenario.do(TWO, "plan:Versions", args | {"bookmark": first["bookmark"]}, "auditor")

    found = [*first["versions"], *rest["versions"]]
    assert [v["terms_sha256"] for v in found] == [terms().sha256, second().sha256]
    assert plan_of(scenario)["terms_sha256"] == third.sha256


def test_going_back_to_old_terms_does_not_bring_back_their_votes():
    scenario = at("proposed")
    scenario.vote(ONE, "plan", PLAN, terms().sha256)
    scenario.do(ONE, "plan:Amend", second())

    wrong = scenario.refused(ONE, "plan:Amend", terms())
    scenario.do(ONE, "plan:Amend", terms().model_copy(update={"version": 3}))

    assert wrong.code == Code.PLAN_INVALID
    assert scenario.do(ONE, "plan:Get", {"plan_id": PLAN})["votes"] == []


def test_consent_to_the_terms_before_an_amendment_is_no_consent_to_those_after():
    scenario = at("proposed")
    scenario.do(ONE, "plan:Amend", second())
    scenario.approve(second())
    scenario.ceremony(second())

    error = scenario.refused(ONE, "round:Open", FIRST)

    assert error.code == Code.TOO_FEW_PARTICIPANTS
    scenario.consent(second())
    scenario.open(second())


def test_terms_are_amended_by_their_proposer_before_they_are_approved():
    stranger = at("proposed").refused(TWO, "plan:Amend", second())
    late = at("approved").refused(ONE, "plan:Amend", second())
    invalid = at("proposed").refused(ONE, "plan:Amend", changed("training", second(), rounds=3))

    assert stranger.code == Code.NOT_OWNER
    assert late.code == Code.BAD_STATE
    assert invalid.code == Code.PLAN_INVALID


def test_a_plan_is_proposed_in_its_first_version():
    error = at("enrolled").refused(ONE, "plan:Propose", second())

    assert error.code == Code.PLAN_INVALID


# pausing and stopping


def test_a_paused_plan_ends_its_round_and_opens_no_other_until_it_is_resumed():
    scenario = at("open")
    paused = scenario.do(ONE, "plan:Pause", WHY)
    for step in (scenario.submit, scenario.attest, scenario.share, scenario.evaluate):
        step(terms())
        scenario.advance(terms())
    waiting = scenario.refused(ONE, "round:Open", {"plan_id": PLAN, "number": 2})

    resumed = scenario.do(ONE, "plan:Resume", WHY)
    scenario.round(terms(), 2)

    assert (paused["status"], paused["reason"]) == ("PAUSED", "as agreed")
    assert waiting.code == Code.PLAN_NOT_APPROVED
    assert resumed["status"] == "ACTIVE"
    assert plan_of(scenario)["status"] == "COMPLETED"


def test_only_its_proposer_pauses_and_resumes_a_plan_that_runs():
    scenario = at("active")

    assert scenario.refused(TWO, "plan:Pause", WHY).code == Code.NOT_OWNER
    assert scenario.refused(ONE, "plan:Resume", WHY).code == Code.BAD_STATE
    assert at("proposed").refused(ONE, "plan:Pause", WHY).code == Code.BAD_STATE
    scenario.do(ONE, "plan:Pause", WHY)
    assert scenario.refused(ONE, "plan:Pause", WHY).code == Code.BAD_STATE
    assert scenario.refused(TWO, "plan:Resume", WHY).code == Code.NOT_OWNER


@pytest.mark.parametrize("stage", ["open", "sealed", "aggregated", "decrypted"])
def test_aborting_a_plan_ends_its_open_round_with_the_reason(stage):
    scenario = at(stage)

    scenario.do(ONE, "plan:Abort", WHY)

    round_ = scenario.asset(keys.round_(PLAN, 1))
    assert (round_["status"], round_["failure"]) == ("FAILED", Code.PLAN_ABORTED)
    assert round_["reason"] == plan_of(scenario)["reason"] == "as agreed"


def test_aborting_a_plan_leaves_what_it_published():
    scenario = at("published")
    before = scenario.asset(keys.round_(PLAN, 1))

    scenario.do(ONE, "plan:Abort", WHY)

    assert scenario.asset(keys.round_(PLAN, 1)) == before
    assert scenario.asset(keys.model(sha("model 1")))["round"] == 1


def test_aborting_a_plan_ends_its_key_ceremony():
    scenario = at("approved")

    scenario.do(ONE, "plan:Abort", WHY)

    ceremony = scenario.asset(keys.ceremony(PLAN))
    assert ceremony["status"] == "FAILED"
    assert ceremony["reason"].startswith(Code.PLAN_ABORTED)
    late = scenario.refused(ONE, "ceremony:Commit", commit_args(terms(), ONE))
    assert late.code == Code.BAD_STATE


# schedule


def test_rounds_open_no_earlier_than_the_plan_says():
    scenario = at("enrolled")
    first_round_at = scenario.now + 10_000
    schedule = ScheduleTerms(first_round_at=first_round_at, interval_seconds=5_000)
    plan = terms().model_copy(update={"schedule": schedule})
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    early = scenario.refused(ONE, "round:Open", FIRST)
    scenario.now = first_round_at - 2
    a_second_early = scenario.refused(ONE, "round:Open", FIRST)
    scenario.round(plan)
    opened = scenario.asset(keys.round_(PLAN, 1))["opened_at"]

    scenario.now = opened + 4_998
    interval = scenario.refused(ONE, "round:Open", {"plan_id": PLAN, "number": 2})
    scenario.open(plan, 2)

    assert opened == first_round_at
    assert {early.code, a_second_early.code, interval.code} == {Code.NOT_YET}


# terms


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (changed("data", features=(Feature(name="r", low_micro=1, high_micro=1),)), "bounds"),
        (changed("data", features=(Feature(name="r", low_micro=2, high_micro=1),)), "bounds"),
        (changed("data", features=(terms().data.features[0],) * 2), "same name"),
        (changed("data", classes=("yes", "yes")), "same name"),
        (changed("training", strategy=Strategy.FEDSGD), "one step"),
        (changed("training", strategy=Strategy.FEDPROX), "needs the settings mu, each"),
        (changed("training", settings={"mu": 1}), "takes no settings"),
        (changed("training", strategy=Strategy.FEDPROX, settings={"mu": 0}), "from 1 to"),
        (changed("training", strategy=Strategy.FEDAVGM, settings={"momentum": 1}), "server_rate"),
        (changed("training", layers=LayerTerms(names=("output",), parameters=4)), "leaves none"),
        (changed("training", layers=LayerTerms(names=("a", "a"), parameters=2)), "named twice"),
        (changed("training", layers=LayerTerms(names=("a.b", "a"), parameters=2)), "part of"),
    ],
)
def test_terms_that_mean_nothing_are_refused(plan, why):
    error = at("enrolled").refused(ONE, "plan:Propose", plan)

    assert error.code == Code.PLAN_INVALID
    assert why in error.message


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": Strategy.FEDSGD, "steps": 1},
        {"strategy": Strategy.FEDPROX, "settings": {"mu": 10_000}},
        {"strategy": Strategy.FEDAVGM, "settings": {"momentum": 0, "server_rate": 1_000_000}},
        {"strategy": "of-a-package", "settings": {"anything": -1}},
    ],
)
def test_each_strategy_can_be_agreed(changes):
    scenario = at("enrolled")

    scenario.propose(changed("training", **changes))

    assert plan_of(scenario)["terms"]["training"]["strategy"] == changes["strategy"]


def test_layers_are_agreed_by_name_and_number_and_bound_what_is_encrypted():
    scenario = at("enrolled")
    plan = changed("training", layers=LayerTerms(names=("a", "ab.c"), parameters=3))

    scenario.propose(plan)

    kept = plan_of(scenario)["terms"]["training"]["layers"]
    assert kept == {"names": ["a", "ab.c"], "parameters": 3}
    assert plan.workload.parameters == 3
    assert terms().workload.parameters == 4
    none = plan.model_dump(mode="json")
    none["training"]["layers"] = {"names": ["a"], "parameters": 0}
    assert scenario.refused(TWO, "plan:Propose", none).code == Code.BAD_ARGUMENT


def test_noise_that_is_too_small_for_the_smallest_dataset_is_refused():
    scenario = at("enrolled")
    small = {
        "dataset_id": "small",
        "name": "Few",
        "application": "wdbc",
        "simulated": False,
        "commitment_sha256": sha("few"),
        "split_sha256": sha("few"),
        "descriptor_sha256": sha("few"),
        "train_samples": 60,
        "validation_samples": 0,
        "budget_epsilon_micro": 10_000_000,
        "delta_nano": 10_000,
    }
    scenario.do(FOUR, "dataset:Register", small)
    participants = list(terms().participation.participants)
    participants[3] = participants[3].model_copy(update={"dataset_id": "small"})

    error = scenario.refused(ONE, "plan:Propose", terms(participants=tuple(participants)))

    assert error.code == Code.PLAN_INVALID
    assert "60 records" in error.message


# evaluations over nothing


def test_an_evaluation_over_no_records_counts_neither_way():
    scenario = at("decrypted")
    nothing = {"correct": 0, "base_correct": 0, "total": 0}
    scenario.do(ONE, "round:Evaluate", evaluate_args(terms()))
    for hospital in (TWO, THREE):
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))
    scenario.do(FOUR, "round:Evaluate", evaluate_args(terms(), correct=0))

    failed = scenario.advance(terms())

    said = [scenario.asset(keys.evaluation(PLAN, 1, 1, h))["accept"] for h in HOSPITALS]
    assert said == [True, None, None, False]
    assert (failed["status"], failed["failure"]) == ("FAILED", Code.CANDIDATE_REJECTED)
    assert "1 of 2" in failed["reason"]


def test_one_real_evaluation_among_abstentions_decides():
    scenario = at("decrypted")
    nothing = {"correct": 0, "base_correct": 0, "total": 0}
    scenario.do(ONE, "round:Evaluate", evaluate_args(terms()))
    for hospital in (TWO, THREE, FOUR):
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))

    assert scenario.advance(terms())["status"] == "PUBLISHED"
    assert scenario.asset(keys.model(sha("model 1")))["total"] == 20


def test_a_candidate_that_nobody_evaluated_on_records_is_not_published():
    scenario = at("decrypted")
    nothing = {"correct": 0, "base_correct": 0, "total": 0}
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))

    failed = scenario.advance(terms())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.NOT_EVALUATED)
    assert plan_of(scenario)["model_sha256"] == sha("base")


def test_consent_that_is_given_again_lets_the_dataset_take_part_again():
    scenario = at("published")
    args = {"dataset_id": dataset_of(FOUR), "plan_id": PLAN, "terms_sha256": terms().sha256}
    scenario.do(FOUR, "dataset:Withdraw", args)
    scenario.do(FOUR, "dataset:Consent", args)

    scenario.round(terms(), 2)

    assert scenario.round_state(terms(), 2)["excluded"] == []


def test_nodes_and_datasets_of_a_plan_are_asked_for_together(monkeypatch):
    scenario = at("enrolled")
    asked = []
    read = MemoryLedger.get_states

    def get_states(ledger, names, collection=""):
        asked.append(list(names))
        return read(ledger, names, collection)

    monkeypatch.setattr(MemoryLedger, "get_states", get_states)
    scenario.do(ONE, "plan:Propose", terms())

    kinds = [{name.split("\0")[1] for name in names if "\0" in name} for names in asked]
    assert [kind for kind in kinds if "dataset" in kind] == [{"node", "dataset"}]
