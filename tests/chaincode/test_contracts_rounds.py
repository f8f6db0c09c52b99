"""A round's life: what is refused in each stage, and how each stage ends."""

from __future__ import annotations

import copy
import json

import pytest
from support.memory_stub import creator
from support.scenario import (
    BAD,
    HOSPITALS,
    PLAN,
    STAGES,
    at,
    attest_args,
    dataset_args,
    dataset_of,
    evaluate_args,
    live,
    ref,
    sha,
    share_args,
    terms,
)

from chaincode.contracts import round as rounds
from chaincode.schema import canonical, keys
from chaincode.schema.errors import Code
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import AcceptanceTerms, Participant
from chaincode.shim.stub import composite_key, split_composite_key

ONE, TWO, THREE, FOUR = HOSPITALS
FIRST = {"plan_id": PLAN, "number": 1}


def reputation(scenario, msp_id):
    return scenario.asset(keys.reputation("hospital", msp_id))


def bad(scenario, msp_id, kind):
    """How many bad events of a kind are booked on a hospital."""
    return reputation(scenario, msp_id)["tallies"].get(kind, (0, 0))[BAD]


def finish(scenario, *steps):
    """Take the round through its other stages."""
    for step in steps:
        step(terms())
        round_ = scenario.advance(terms())
    return round_


def round_of(scenario, number=1):
    return scenario.round_state(terms(), number)


# the whole life


def test_a_round_publishes_a_model_with_its_parents_and_metrics():
    scenario = at("published")

    round_ = round_of(scenario)
    model = scenario.do(ONE, "model:Get", {"sha256": sha("model 1")}, "auditor")
    assert (round_["status"], round_["model_sha256"]) == ("PUBLISHED", sha("model 1"))
    assert model["parents"] == [sha("base")]
    assert model["aggregate_sha256"] == sha("aggregate 1")
    assert (model["correct"], model["total"]) == (76, 80)
    assert scenario.asset(keys.plan(PLAN))["model_sha256"] == sha("model 1")


def test_the_next_round_starts_from_the_published_model_and_the_last_completes_the_plan():
    scenario = at("published")

    scenario.round(terms(), 2)

    assert round_of(scenario, 2)["base_sha256"] == sha("model 1")
    assert scenario.asset(keys.plan(PLAN))["status"] == "COMPLETED"
    third = scenario.refused(ONE, "round:Open", {"plan_id": PLAN, "number": 3})
    assert third.code == Code.PLAN_NOT_APPROVED
    spent = scenario.asset(keys.account(dataset_of(ONE)))["plans"][0]
    assert 0 < spent["epsilon_micro"] <= terms().privacy.epsilon_micro
    assert (spent["updates"], spent["steps_each"]) == (2, 10)


def test_the_whole_life_holds_no_float_and_says_identifiers_only():
    scenario = at("published")

    for value in scenario.ledger.state.values():
        content = json.loads(value, parse_float=_refuse)
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert plain.encode() == value
    for _, payload in scenario.ledger.events:
        event = json.loads(payload, parse_float=_refuse)
        assert set(event) <= {"plan_id", "round", "msp_id", "subject"}
        assert len(event.get("subject", "")) < 64


def _refuse(text):
    raise AssertionError(f"a float on the ledger: {text}")


def test_queries_find_everything_page_by_page():
    scenario = at("published")
    pages = (("node:List", "nodes", 4), ("dataset:List", "datasets", 4))
    pages += (("model:List", "models", 2), ("dataset:Privacy", "accounts", 4))

    for name, field, count in pages:
        found, bookmark = [], ""
        while page := scenario.do(ONE, name, {"page_size": 1, "bookmark": bookmark}, "auditor"):
            found += page[field]
            if not (bookmark := page["bookmark"]):
                break
        assert len({canonical.dumps(item) for item in found}) == len(found) == count
    view = scenario.do(ONE, "round:Get", FIRST, "auditor")
    posted = ("updates", "attestations", "shares", "evaluations", "objections")
    assert [len(view[kind]) for kind in posted] == [4, 4, 4, 4, 0]
    ceremony = scenario.do(ONE, "ceremony:Get", {"plan_id": PLAN}, "auditor")
    kinds = ("commitments", "shares", "confirmations")
    assert [len(ceremony[kind]) for kind in kinds] == [4, 4, 4]
    plan = scenario.do(ONE, "plan:Get", {"plan_id": PLAN}, "auditor")
    assert len(plan["votes"]) == 3


# opening


def test_rounds_open_one_after_another():
    scenario = at("open")

    assert scenario.refused(TWO, "round:Open", FIRST).code == Code.ALREADY
    early = scenario.refused(TWO, "round:Open", {"plan_id": PLAN, "number": 2})
    far = at("active").refused(TWO, "round:Open", {"plan_id": PLAN, "number": 2})
    assert (early.code, far.code) == (Code.NOT_YET, Code.BAD_STATE)


def withdraw(scenario, msp_id):
    args = {"dataset_id": dataset_of(msp_id), "plan_id": PLAN, "terms_sha256": terms().sha256}
    scenario.do(msp_id, "dataset:Withdraw", args)


def test_a_round_opens_without_a_dataset_whose_consent_was_withdrawn_and_says_so():
    scenario = at("published")
    withdraw(scenario, THREE)

    scenario.open(terms(), 2)

    excluded = round_of(scenario, 2)["excluded"]
    assert [(e["dataset_id"], e["code"]) for e in excluded] == [
        (dataset_of(THREE), Code.CONSENT_MISSING)
    ]
    late = scenario.refused(THREE, "round:SubmitUpdate", scenario.update_args(terms(), THREE, 2))
    assert late.code == Code.NOT_A_PARTICIPANT
    scenario.submit(terms(), 2, (ONE, TWO, FOUR))
    assert scenario.advance(terms(), 2)["missing"] == []
    assert round_of(scenario)["status"] == "PUBLISHED"


def test_no_round_opens_with_fewer_consents_than_the_quorum():
    scenario = at("published")
    withdraw(scenario, THREE)
    withdraw(scenario, FOUR)

    error = scenario.refused(ONE, "round:Open", {"plan_id": PLAN, "number": 2})

    assert error.code == Code.TOO_FEW_PARTICIPANTS
    assert f"{dataset_of(THREE)}: {Code.CONSENT_MISSING}" in error.message


# updates


def test_a_second_update_is_refused_whatever_it_holds():
    scenario = at("open")
    args = scenario.update_args(terms(), ONE)
    scenario.do(ONE, "round:SubmitUpdate", args)
    charged = scenario.asset(keys.account(dataset_of(ONE)))

    for again in (args, args | {"update": ref("other")}):
        error = scenario.refused(ONE, "round:SubmitUpdate", again)
        assert error.code == Code.DUPLICATE_UPDATE
    assert scenario.asset(keys.account(dataset_of(ONE))) == charged


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"base_sha256": sha("other")}, Code.WRONG_BASE_MODEL),
        ({"steps": 11}, Code.PRIVACY_TERMS_MISMATCH),
        ({"steps": 9}, Code.PRIVACY_TERMS_MISMATCH),
        ({"batch_size": 21}, Code.PRIVACY_TERMS_MISMATCH),
        ({"noise_multiplier_micro": 50_000}, Code.PRIVACY_TERMS_MISMATCH),
        ({"samples": 1_000_000}, Code.PRIVACY_TERMS_MISMATCH),
        ({"dataset_id": dataset_of(TWO)}, Code.NOT_A_PARTICIPANT),
        ({"update": ref("u") | {"size_bytes": 0}}, Code.WRONG_SIZE),
        ({"update": ref("u") | {"size_bytes": 2**41}}, Code.WRONG_SIZE),
        ({"round": 2}, Code.NOT_FOUND),
        ({"plan_id": "none"}, Code.NOT_FOUND),
    ],
)
def test_an_update_that_is_not_what_was_agreed_is_refused(changes, code):
    scenario = at("open")

    args = scenario.update_args(terms(), ONE) | changes

    assert scenario.refused(ONE, "round:SubmitUpdate", args).code == code


def test_a_copy_of_an_earlier_ciphertext_is_refused():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE,))
    first = scenario.update_args(terms(), ONE)["update"]
    of_another = scenario.refused(
        TWO, "round:SubmitUpdate", scenario.update_args(terms(), TWO) | {"update": first}
    )
    scenario.submit(terms(), who=(TWO, THREE, FOUR))
    finish(scenario, lambda _: None, scenario.attest, scenario.share, scenario.evaluate)
    scenario.open(terms(), 2)
    of_the_last_round = scenario.refused(
        ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE, 2) | {"update": first}
    )

    assert {of_another.code, of_the_last_round.code} == {Code.REPLAYED_UPDATE}


def test_an_update_is_taken_until_the_deadline_and_no_second_longer():
    scenario = at("open")
    deadline = round_of(scenario)["deadline"]

    scenario.now = deadline - 1
    scenario.submit(terms(), who=(ONE,))
    scenario.now = deadline
    error = scenario.refused(TWO, "round:SubmitUpdate", scenario.update_args(terms(), TWO))

    assert error.code == Code.DEADLINE_PASSED


def test_an_update_that_would_overspend_the_dataset_is_refused():
    scenario = at("published")
    spent = scenario.asset(keys.account(dataset_of(ONE)))["epsilon_micro"]
    budget = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": spent}
    scenario.do(ONE, "dataset:SetBudget", budget)
    scenario.open(terms(), 2)

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE, 2))

    assert error.code == Code.BUDGET_EXCEEDED
    scenario.submit(terms(), 2, (TWO,))


def test_a_budget_can_be_spent_to_its_last_millionth():
    richer, scenario = at("published"), at("published")
    richer.round(terms(), 2)
    spent = richer.asset(keys.account(dataset_of(ONE)))["epsilon_micro"]

    for budget, code in ((spent - 1, Code.BUDGET_EXCEEDED), (spent, None)):
        args = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": budget}
        scenario.do(ONE, "dataset:SetBudget", args)
        if code:
            scenario.open(terms(), 2)
            args = scenario.update_args(terms(), ONE, 2)
            assert scenario.refused(ONE, "round:SubmitUpdate", args).code == code
        else:
            scenario.submit(terms(), 2, (ONE,))


def test_an_update_that_would_overspend_the_plan_is_refused():
    scenario = at("published")
    scenario.open(terms(), 2)
    # No honest history leads here: a plan whose rounds add up beyond its budget is not proposed.
    account = scenario.asset(keys.account(dataset_of(ONE)))
    account["plans"][0]["updates"] *= 2
    name = composite_key(*keys.account(dataset_of(ONE)))
    del account["dataset_id"]
    scenario.ledger.state[name] = canonical.dumps(account)

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE, 2))

    assert error.code == Code.PLAN_BUDGET_EXCEEDED


def test_an_update_without_consent_is_refused():
    scenario = at("open")
    args = {"dataset_id": dataset_of(ONE), "plan_id": PLAN, "terms_sha256": terms().sha256}
    scenario.do(ONE, "dataset:Withdraw", args)

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE))

    assert error.code == Code.CONSENT_MISSING


def test_another_node_of_the_hospital_takes_no_part():
    scenario = at("open")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "trainer,validator", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2"))

    args = scenario.update_args(terms(), ONE)

    error = scenario.refused(ONE, "round:SubmitUpdate", args, "node2")
    assert error.code == Code.NOT_A_PARTICIPANT


# sealing


def test_a_round_seals_without_a_missing_node_and_names_it():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO, FOUR))
    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.wait()

    sealed = scenario.advance(terms())

    assert early.code == Code.NOT_YET
    assert "node1 of Hospital3MSP" in early.message
    assert sealed["status"] == "SEALED"
    assert sealed["missing"] == [{"msp_id": THREE, "node_id": "node1"}]
    assert [c["msp_id"] for c in sealed["contributions"]] == [ONE, TWO, FOUR]
    assert sealed["total_weight"] == sum(c["weight"] for c in sealed["contributions"])
    finish(scenario, scenario.attest, scenario.share, scenario.evaluate)
    assert bad(scenario, THREE, "update") == 1
    assert bad(scenario, ONE, "update") == 0
    scores = [reputation(scenario, hospital)["score_milli"] for hospital in HOSPITALS]
    assert scores[0] == scores[1] == scores[3] > scores[2]


def test_a_round_that_misses_its_quorum_fails_naming_who_was_missing():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO))
    scenario.wait()

    failed = scenario.advance(terms())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.QUORUM_MISSED)
    assert [m["msp_id"] for m in failed["missing"]] == [THREE, FOUR]
    assert scenario.refused(ONE, "round:Advance", FIRST).code == Code.ALREADY
    scenario.open(terms(), 2)
    assert round_of(scenario, 2)["base_sha256"] == sha("base")


def test_updates_of_a_single_hospital_are_never_sealed():
    scenario = at("enrolled")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "trainer,validator", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2"))
    scenario.do(ONE, "dataset:Register", dataset_args("second"))
    participants = (
        Participant(msp_id=ONE, node_id="node1", dataset_id=dataset_of(ONE)),
        Participant(msp_id=ONE, node_id="node2", dataset_id="second"),
        Participant(msp_id=TWO, node_id="node1", dataset_id=dataset_of(TWO)),
    )
    plan = terms("plan-2", participants=participants, quorum=2, agreement=2)
    scenario.propose(plan)
    scenario.consent(plan)
    scenario.approve(plan)
    scenario.ceremony(plan)
    scenario.open(plan)
    args = scenario.update_args(plan, ONE)
    scenario.do(ONE, "round:SubmitUpdate", args)
    second = {"dataset_id": "second", "update": ref("update of the second node")}
    scenario.do(ONE, "round:SubmitUpdate", args | second, "node2")
    scenario.wait()

    assert scenario.advance(plan)["failure"] == Code.QUORUM_MISSED


# attestations


@pytest.mark.parametrize(
    ("stage", "name", "args"),
    [
        ("open", "round:Attest", attest_args(terms())),
        ("decrypted", "round:Attest", attest_args(terms())),
        ("sealed", "round:SubmitShare", share_args(terms(), ONE)),
        ("decrypted", "round:SubmitShare", share_args(terms(), ONE)),
        ("aggregated", "round:Evaluate", evaluate_args(terms())),
        ("published", "round:Evaluate", evaluate_args(terms())),
        (
            "published",
            "round:Object",
            {"plan_id": PLAN, "round": 1, "subject_sha256": sha("x"), "code": "MF-7021"},
        ),
    ],
)
def test_every_contribution_has_its_stage(stage, name, args):
    assert at(stage).refused(ONE, name, args).code == Code.BAD_STATE


def test_an_update_after_sealing_is_refused():
    scenario = at("sealed")

    error = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE))

    assert error.code == Code.BAD_STATE


@pytest.mark.parametrize(
    ("stage", "name", "args"),
    [
        ("sealed", "round:Attest", attest_args(terms())),
        ("aggregated", "round:SubmitShare", share_args(terms(), ONE)),
        ("decrypted", "round:Evaluate", evaluate_args(terms())),
    ],
)
def test_a_hospital_contributes_once_to_each_stage(stage, name, args):
    scenario = at(stage)
    scenario.do(ONE, name, args)

    assert scenario.refused(ONE, name, args).code == Code.DUPLICATE_CONTRIBUTION


def test_a_disagreeing_attestation_is_named_and_costs_reputation():
    scenario = at("sealed")
    scenario.attest(terms(), who=(ONE, TWO))
    scenario.do(FOUR, "round:Attest", attest_args(terms(), aggregate="forged"))
    waiting = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.attest(terms(), who=(THREE,))

    round_ = scenario.advance(terms())

    assert waiting.code == Code.NOT_YET
    assert (round_["status"], round_["aggregate_sha256"]) == ("AGGREGATED", sha("aggregate 1"))
    assert round_["disagreed"] == [FOUR]
    finish(scenario, scenario.share, scenario.evaluate)
    assert reputation(scenario, FOUR)["score_milli"] < reputation(scenario, ONE)["score_milli"]
    assert bad(scenario, FOUR, "agreement") == 1
    assert bad(scenario, ONE, "agreement") == 0
    assert scenario.asset(keys.attestation(PLAN, 1, 0, FOUR))["aggregate_sha256"] == sha("forged")


def test_a_disagreeing_attestation_after_the_agreement_is_named_as_well():
    scenario = at("sealed")
    scenario.attest(terms(), who=(ONE, TWO, THREE))
    scenario.advance(terms())
    scenario.do(FOUR, "round:Attest", attest_args(terms(), aggregate="forged"))
    scenario.share(terms())

    round_ = scenario.advance(terms())

    assert (round_["status"], round_["disagreed"]) == ("DECRYPTED", [FOUR])
    finish(scenario, scenario.evaluate)
    assert bad(scenario, FOUR, "agreement") == 1


def test_a_lowered_reputation_lowers_the_weight_in_the_next_round():
    scenario = at("sealed")
    scenario.attest(terms(), who=(ONE, TWO, THREE))
    scenario.do(FOUR, "round:Attest", attest_args(terms(), aggregate="forged"))
    scenario.advance(terms())
    for step in (scenario.share, scenario.evaluate):
        step(terms())
        scenario.advance(terms())
    scenario.open(terms(), 2)
    scenario.submit(terms(), 2)

    weights = [c["weight"] for c in scenario.advance(terms(), 2)["contributions"]]

    assert weights[0] == weights[1] == weights[2] > weights[3]


def test_without_agreement_the_round_fails_as_soon_as_none_can_come():
    scenario = at("sealed")
    scenario.attest(terms(), who=(ONE, TWO))
    for hospital in (THREE, FOUR):
        scenario.do(hospital, "round:Attest", attest_args(terms(), aggregate="forged"))

    failed = scenario.advance(terms())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.NO_AGREEMENT)


def test_an_agreement_that_the_absent_cannot_bring_about_is_not_waited_for():
    scenario = at("sealed")
    for number, hospital in enumerate((ONE, TWO, FOUR)):
        scenario.do(hospital, "round:Attest", attest_args(terms(), aggregate=f"own {number}"))

    assert scenario.advance(terms())["failure"] == Code.NO_AGREEMENT


def test_a_stage_waits_to_the_last_second_of_its_deadline():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO, THREE))
    scenario.now = round_of(scenario)["deadline"] - 1

    assert scenario.refused(ONE, "round:Advance", FIRST).code == Code.NOT_YET
    assert scenario.advance(terms())["status"] == "SEALED"


def test_too_few_attestations_in_time_fail_the_round_naming_who_is_absent():
    scenario = at("sealed")
    scenario.attest(terms(), who=(ONE, TWO))
    scenario.wait()

    failed = scenario.advance(terms())

    assert (failed["failure"], failed["absent"]) == (Code.NO_AGREEMENT, [THREE, FOUR])


def test_an_update_that_most_hospitals_find_unsound_is_dropped_at_once_and_the_round_goes_on():
    scenario = at("sealed")
    early = attest_args(terms())
    scenario.do(THREE, "round:Attest", early)
    scenario.object(terms(), TWO, who=(ONE, FOUR))
    waiting = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.object(terms(), TWO, who=(TWO,))

    sealed = scenario.advance(terms())

    subject = ref(f"update {PLAN} 1 {TWO}")["sha256"]
    assert waiting.code == Code.NOT_YET
    assert sealed["status"] == "SEALED"
    assert sealed["dropped"] == [
        {
            "msp_id": TWO,
            "node_id": "node1",
            "update_sha256": subject,
            "code": "MF-6011",
            "objectors": [ONE, TWO, FOUR],
        }
    ]
    assert [c["msp_id"] for c in sealed["contributions"]] == [ONE, THREE, FOUR]
    assert len({c["weight"] for c in sealed["contributions"]}) == 1
    assert 1000 < sealed["total_weight"] <= 1024
    # What was attested before counts with nothing that is attested now.
    assert scenario.refused(ONE, "round:Attest", early).code == Code.BAD_STATE
    scenario.attest(terms(), who=(ONE, TWO))
    assert scenario.refused(ONE, "round:Advance", FIRST).code == Code.NOT_YET
    scenario.attest(terms(), who=(THREE, FOUR))
    scenario.advance(terms())
    published = finish(scenario, scenario.share, scenario.evaluate)
    assert published["status"] == "PUBLISHED"
    assert [bad(scenario, h, "content") for h in HOSPITALS] == [0, 1, 0, 0]
    # Who is not in the sum has no part in what comes of it.
    tallies = scenario.asset(keys.reputation("node", f"{TWO}/node1"))["tallies"]
    assert "outcome" not in tallies
    assert tallies["outcome-absent"][:2] == [1, 0]
    assert "outcome" not in reputation(scenario, TWO)["tallies"]
    assert composite_key(*keys.reputation("dataset", dataset_of(TWO))) not in scenario.ledger.state


def test_several_updates_are_dropped_one_after_the_other_and_together():
    plan, scenario = terms(quorum=2), at("enrolled")
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    scenario.open(plan)
    scenario.submit(plan)
    scenario.advance(plan)
    for about in (FOUR, TWO):
        scenario.object(plan, about)

    sealed = scenario.advance(plan)

    assert [d["msp_id"] for d in sealed["dropped"]] == [TWO, FOUR]
    scenario.object(plan, ONE)
    failed = scenario.advance(plan)
    assert (failed["status"], failed["failure"]) == ("FAILED", Code.CONTENT_UNUSABLE)
    assert [d["msp_id"] for d in failed["dropped"]] == [TWO, FOUR, ONE]


@pytest.mark.parametrize("codes", [("MF-7021",) * 3, ("MF-7020", "MF-7021", "MF-6001")])
def test_an_owner_has_a_quarter_of_the_stage_to_store_its_update_again(codes):
    scenario, who = at("sealed"), (ONE, THREE, FOUR)
    spoken = [{"who": (h,), "code": code} for h, code in zip(who, codes, strict=True)]
    for said in spoken:
        scenario.object(terms(), TWO, **said)
    subject = ref(f"update {PLAN} 1 {TWO}")["sha256"]
    args = {"plan_id": PLAN, "round": 1, "subject_sha256": subject, "code": codes[0]}
    assert scenario.refused(ONE, "round:Object", args).code == Code.DUPLICATE_CONTRIBUTION
    scenario.now += terms().participation.stage_seconds // 4
    repaired = copy.deepcopy(scenario)
    for said in (said for said in spoken if said["code"] != "MF-6001"):
        assert scenario.refused(ONE, "round:Advance", FIRST).code == Code.NOT_YET
        scenario.object(terms(), TWO, **said)
    assert scenario.refused(ONE, "round:Object", args).code == Code.DUPLICATE_CONTRIBUTION

    (dropped,) = scenario.advance(terms())["dropped"]

    assert (dropped["msp_id"], dropped["objectors"]) == (TWO, [*who])
    # Where the owner did, nobody objects again, and nobody has to take anything back.
    repaired.attest(terms(), who=who)
    aggregated = repaired.advance(terms())
    assert (aggregated["status"], aggregated["dropped"]) == ("AGGREGATED", [])


def test_a_round_ends_at_once_when_too_few_updates_can_be_used():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO, THREE))
    scenario.wait()
    scenario.advance(terms())
    scenario.object(terms(), TWO)

    failed = scenario.advance(terms())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.CONTENT_UNUSABLE)
    assert "2 of at least 3" in failed["reason"]
    assert "node1 of Hospital2MSP" in failed["reason"]
    assert [d["msp_id"] for d in failed["dropped"]] == [TWO]
    assert bad(scenario, TWO, "content") == 1
    assert bad(scenario, ONE, "content") == 0


def test_however_many_updates_are_unusable_a_hospital_objects_to_the_next_when_some_are_dropped(
    monkeypatch,
):
    monkeypatch.setattr(rounds, "OBJECTIONS_LIMIT", 1)
    scenario = at("sealed")
    scenario.object(terms(), TWO)
    further = {"plan_id": PLAN, "round": 1, "code": "MF-6011"}
    further["subject_sha256"] = ref(f"update {PLAN} 1 {FOUR}")["sha256"]
    full = scenario.refused(ONE, "round:Object", further)

    assert [d["msp_id"] for d in scenario.advance(terms())["dropped"]] == [TWO]
    scenario.object(terms(), FOUR)

    assert full.code == Code.NOT_YET
    assert [d["msp_id"] for d in scenario.advance(terms())["dropped"]] == [TWO, FOUR]


def test_a_minority_s_objections_drop_nothing_and_cost_the_owner_nothing():
    scenario = at("sealed")
    scenario.object(terms(), TWO, who=(THREE, FOUR))
    again = scenario.refused(
        FOUR,
        "round:Object",
        {
            "plan_id": PLAN,
            "round": 1,
            "subject_sha256": ref(f"update {PLAN} 1 {TWO}")["sha256"],
            "code": "MF-6011",
        },
    )
    scenario.attest(terms())

    aggregated = scenario.advance(terms())

    assert again.code == Code.DUPLICATE_CONTRIBUTION
    assert (aggregated["status"], aggregated["dropped"]) == ("AGGREGATED", [])
    finish(scenario, scenario.share, scenario.evaluate)
    assert bad(scenario, TWO, "content") == 0


def test_two_objections_of_four_hospitals_name_nobody():
    scenario = at("sealed")
    scenario.object(terms(), TWO, who=(ONE, THREE))
    scenario.wait()

    failed = scenario.advance(terms())

    assert (failed["failure"], failed["dropped"]) == (Code.NO_AGREEMENT, [])


def test_nothing_is_dropped_once_a_sum_is_accepted():
    scenario = at("aggregated")
    scenario.object(terms(), TWO, who=HOSPITALS)
    scenario.share(terms())

    assert scenario.advance(terms())["dropped"] == []


def test_an_objection_to_what_the_round_does_not_name_is_refused():
    args = {"plan_id": PLAN, "round": 1, "subject_sha256": sha("other"), "code": "MF-7021"}

    assert at("sealed").refused(ONE, "round:Object", args).code == Code.NOT_FOUND


# shares


def test_a_share_of_another_aggregate_is_refused():
    args = share_args(terms(), ONE) | {"aggregate_sha256": sha("other")}

    assert at("aggregated").refused(ONE, "round:SubmitShare", args).code == Code.WRONG_AGGREGATE


def test_a_missing_key_holder_fails_the_round_by_name():
    scenario = at("aggregated")
    scenario.share(terms(), who=(ONE, TWO, FOUR))
    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.wait()
    late = scenario.refused(THREE, "round:SubmitShare", share_args(terms(), THREE))

    failed = scenario.advance(terms())

    assert (early.code, late.code) == (Code.NOT_YET, Code.DEADLINE_PASSED)
    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_MISSING)
    assert failed["absent"] == [THREE]
    assert bad(scenario, THREE, "duty") == 1
    assert bad(scenario, ONE, "duty") == 0


# evaluations


def test_a_candidate_that_hospitals_reject_keeps_the_base_model():
    scenario = at("decrypted")
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), correct=10))

    failed = scenario.advance(terms())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.CANDIDATE_REJECTED)
    assert failed["model_sha256"] is None
    assert scenario.asset(keys.plan(PLAN))["model_sha256"] == sha("base")
    assert composite_key(*keys.model(sha("model 1"))) not in scenario.ledger.state
    scenario.open(terms(), 2)
    assert round_of(scenario, 2)["base_sha256"] == sha("base")


def bounded():
    norm = NormTerms(drift_micro=1_000_000, noise_micro=8_000_000)
    return terms().model_copy(update={"acceptance": AcceptanceTerms(norm=norm)})


def bounded_and_decrypted():
    scenario = at("enrolled")
    for stage in STAGES[STAGES.index("enrolled") + 1 : STAGES.index("decrypted") + 1]:
        live(scenario, stage, bounded())
    return scenario


def test_a_candidate_beyond_the_norm_is_rejected_whatever_the_records_say_and_costs_reputation():
    scenario = bounded_and_decrypted()
    beyond = evaluate_args(bounded(), beyond_norm=True)
    for hospital in HOSPITALS[:3]:
        scenario.do(hospital, "round:Evaluate", beyond)
    # With no records to say anything, the norm still does.
    nothing = {"correct": 0, "base_correct": 0, "total": 0}
    scenario.do(FOUR, "round:Evaluate", {**beyond, **nothing})

    failed = scenario.advance(bounded())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.CANDIDATE_REJECTED)
    assert "0 of 4 hospitals accept" in failed["reason"]
    assert "4 find its update longer than the plan's norm bound" in failed["reason"]
    assert scenario.asset(keys.plan(PLAN))["model_sha256"] == sha("base")
    assert all(bad(scenario, hospital, "outcome") == 1 for hospital in HOSPITALS)
    assert scenario.asset(keys.evaluation(PLAN, 1, 1, FOUR))["accept"] is False


def test_norms_are_judged_where_the_plan_bounds_them_and_of_candidates_alone():
    unbounded = at("decrypted").refused(
        ONE, "round:Evaluate", evaluate_args(terms(), beyond_norm=True)
    )
    scenario = bounded_and_decrypted()
    no_candidate = {"candidate": None, "failure": "MF-6008", "beyond_norm": True}
    nothing = scenario.refused(ONE, "round:Evaluate", evaluate_args(bounded(), **no_candidate))

    assert (unbounded.code, nothing.code) == (Code.BAD_ARGUMENT, Code.BAD_ARGUMENT)
    assert composite_key(*keys.evaluation(PLAN, 1, 1, ONE)) not in scenario.ledger.state


@pytest.mark.parametrize(("correct", "accept"), [(17, True), (16, False)])
def test_a_hospital_accepts_within_the_agreed_drop_to_the_last_record(correct, accept):
    args = evaluate_args(terms(), correct=correct, base_correct=18)  # 5 points of 20 records: one

    scenario = at("decrypted")
    scenario.do(ONE, "round:Evaluate", args)

    assert scenario.asset(keys.evaluation(PLAN, 1, 1, ONE))["accept"] is accept


def test_half_of_the_hospitals_accepting_is_not_enough():
    scenario = at("decrypted")
    for hospital, correct in zip(HOSPITALS, (19, 19, 0, 0), strict=True):
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), correct=correct))

    assert scenario.advance(terms())["failure"] == Code.CANDIDATE_REJECTED


def test_shares_that_do_not_decode_for_half_of_the_hospitals_are_disputed():
    scenario = at("decrypted")
    nothing = {"candidate": None, "failure": "MF-6008"}
    nothing |= {"correct": 0, "base_correct": 0, "total": 0}
    scenario.evaluate(terms(), who=(ONE, TWO))
    for hospital in (THREE, FOUR):
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))

    disputed = scenario.advance(terms())

    assert disputed["status"] == "DISPUTED"
    assert "MF-6008" in disputed["reason"]


def test_the_end_of_a_round_reads_one_list_of_objections_a_hospital():
    scenario = at("decrypted")
    scenario.evaluate(terms())

    scenario.do(ONE, "round:Advance", FIRST)

    kinds = [split_composite_key(key)[0] for key in scenario.ledger.keys_read]
    assert (kinds.count("objections"), kinds.count("objection")) == (len(HOSPITALS), 0)


def test_hospitals_that_decode_different_candidates_publish_none():
    scenario = at("decrypted")
    scenario.evaluate(terms(), who=(ONE, TWO))
    for hospital in (THREE, FOUR):
        other = evaluate_args(terms(), candidate=ref("other"))
        scenario.do(hospital, "round:Evaluate", other)

    assert scenario.advance(terms())["failure"] == Code.NO_AGREEMENT


def test_a_round_publishes_without_an_evaluation_that_never_comes_and_names_it():
    scenario = at("decrypted")
    scenario.evaluate(terms(), who=(ONE, TWO, THREE))
    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.wait()
    late = scenario.refused(FOUR, "round:Evaluate", evaluate_args(terms()))

    published = scenario.advance(terms())

    assert (early.code, late.code) == (Code.NOT_YET, Code.DEADLINE_PASSED)
    assert (published["status"], published["absent"]) == ("PUBLISHED", [FOUR])
    assert bad(scenario, FOUR, "duty") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate": None},
        {"failure": "MF-6008"},
        {"correct": 21},
        {"base_correct": 21},
        {"correct": -1},
        {"correct": 19.0},
    ],
)
def test_an_evaluation_that_contradicts_itself_is_refused(changes):
    scenario = at("decrypted")
    args = json.dumps(evaluate_args(terms(), **changes)).encode()
    before = dict(scenario.ledger.state)

    response = scenario.raw(ONE, "round:Evaluate", args)

    assert response.message.startswith(Code.BAD_ARGUMENT)
    assert scenario.ledger.state == before


def test_whoever_advances_first_gets_what_everybody_would_get():
    one, other = at("sealed"), at("sealed")
    for scenario, who in ((one, ONE), (other, FOUR)):
        scenario.attest(terms())
        scenario.advance(terms(), who=who)

    def decided(scenario):
        """All but who acted."""
        who = ("act", "written")
        return {k: v for k, v in scenario.ledger.state.items() if k.split("\0")[1] not in who}

    assert decided(one) == decided(other)
    assert one.refused(FOUR, "round:Advance", FIRST).code == Code.NOT_YET
