"""Plans whose key any t of n hospitals use: dealing, accusations, and decrypting without some."""

from __future__ import annotations

from typing import Any

import pytest
from support.owners import renew
from support.scenario import (
    BAD,
    GOOD,
    HOSPITALS,
    PLAN,
    TRANSPORT_KEY,
    Scenario,
    at,
    attest_args,
    commit_args,
    confirm_args,
    evaluate_args,
    ref,
    reveal_args,
    sha,
    share_args,
    terms,
)

from chaincode.schema import keys
from chaincode.schema.errors import Code
from chaincode.schema.plans import PlanTerms

ONE, TWO, THREE, FOUR = HOSPITALS
FIRST = {"plan_id": PLAN, "number": 1}


def plan_of_three() -> PlanTerms:
    plan = terms()
    return plan.model_copy(
        update={"encryption": plan.encryption.model_copy(update={"threshold": 3})}
    )


PLAN_TERMS = plan_of_three()


def approved() -> Scenario:
    scenario = at("enrolled")
    for step in (scenario.propose, scenario.consent, scenario.approve):
        step(PLAN_TERMS)
    return scenario


def confirming() -> Scenario:
    scenario = approved()
    for name, args_of in (("ceremony:Commit", commit_args), ("ceremony:Reveal", reveal_args)):
        scenario.post_all(PLAN_TERMS, name, args_of)
        scenario.advance_ceremony(PLAN_TERMS)
    return scenario


def aggregated(who: tuple[str, ...] = HOSPITALS) -> Scenario:
    scenario = confirming()
    scenario.post_all(PLAN_TERMS, "ceremony:Confirm", confirm_args)
    scenario.advance_ceremony(PLAN_TERMS)
    scenario.open(PLAN_TERMS)
    scenario.submit(PLAN_TERMS)
    scenario.advance(PLAN_TERMS)
    scenario.attest(PLAN_TERMS, who=who)
    scenario.advance(PLAN_TERMS)
    return scenario


# the ceremony


def test_a_dealing_belongs_to_a_plan_with_a_threshold_and_only_there() -> None:
    args = commit_args(PLAN_TERMS, ONE)
    without = args | {"transport_key": None}

    assert approved().refused(ONE, "ceremony:Commit", without).code == Code.BAD_ARGUMENT
    assert at("approved").refused(ONE, "ceremony:Commit", args).code == Code.BAD_ARGUMENT


@pytest.mark.parametrize("wrong", [TRANSPORT_KEY[:-1] + "6", "04" + "00" * 64, "04" + "ff" * 64])
def test_a_transport_key_that_is_no_point_of_the_curve_is_refused(wrong: str) -> None:
    args = commit_args(PLAN_TERMS, ONE) | {"transport_key": wrong}

    assert approved().refused(ONE, "ceremony:Commit", args).code == Code.BAD_ARGUMENT


def test_an_accusation_stops_the_key_and_most_hospitals_name_who_is_at_fault() -> None:
    scenario = confirming()
    scenario.do(ONE, "ceremony:Confirm", confirm_args(PLAN_TERMS, ONE))
    accusation = {"plan_id": PLAN, "dealer": THREE, "transport_secret": sha("opened")}
    scenario.do(TWO, "ceremony:Accuse", accusation)
    judging = scenario.advance_ceremony(PLAN_TERMS)
    for hospital, culprits in ((ONE, [THREE]), (TWO, [THREE, FOUR]), (FOUR, [THREE])):
        args = {"plan_id": PLAN, "culprits": culprits}
        scenario.do(hospital, "ceremony:Judge", args)
    early = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN})
    scenario.wait()

    failed = scenario.advance_ceremony(PLAN_TERMS)

    assert (judging["status"], early.code) == ("JUDGE", Code.NOT_YET)
    assert failed["culprits"] == [THREE]
    assert failed["reason"] == f"{Code.DEALER_ACCUSED}: found at fault: {THREE}"
    assert scenario.asset(keys.plan(PLAN))["status"] == "FAILED"
    reputation = scenario.asset(keys.reputation("hospital", THREE))
    assert reputation["tallies"]["duty"][BAD] == 1


def test_a_false_accusation_names_the_accuser() -> None:
    scenario = confirming()
    scenario.do(FOUR, "ceremony:Accuse", {"plan_id": PLAN, "dealer": ONE})
    scenario.advance_ceremony(PLAN_TERMS)
    for hospital in HOSPITALS:
        scenario.do(hospital, "ceremony:Judge", {"plan_id": PLAN, "culprits": [FOUR]})

    assert scenario.advance_ceremony(PLAN_TERMS)["culprits"] == [FOUR]


def test_nobody_accuses_itself_twice_or_out_of_time() -> None:
    scenario = confirming()
    own = scenario.refused(ONE, "ceremony:Accuse", {"plan_id": PLAN, "dealer": ONE})
    scenario.do(ONE, "ceremony:Accuse", {"plan_id": PLAN, "dealer": TWO})
    again = scenario.refused(ONE, "ceremony:Accuse", {"plan_id": PLAN, "dealer": THREE})
    soon = scenario.refused(ONE, "ceremony:Judge", {"plan_id": PLAN, "culprits": []})
    never = approved().refused(ONE, "ceremony:Accuse", {"plan_id": PLAN, "dealer": TWO})

    assert (own.code, again.code) == (Code.NOT_A_PARTICIPANT, Code.DUPLICATE_CONTRIBUTION)
    assert (soon.code, never.code) == (Code.BAD_STATE, Code.BAD_STATE)


# decryption


def test_who_shares_is_fixed_before_any_share_is_given() -> None:
    scenario = aggregated()
    round_ = scenario.asset(keys.round_(PLAN, 1))

    outside = scenario.refused(FOUR, "round:SubmitShare", share_args(PLAN_TERMS, FOUR))
    scenario.share(PLAN_TERMS, who=HOSPITALS[:3])

    assert (round_["attempt"], round_["key_holders"]) == (1, list(HOSPITALS[:3]))
    assert outside.code == Code.BAD_STATE
    assert scenario.advance(PLAN_TERMS)["status"] == "DECRYPTED"


def test_only_hospitals_that_attest_the_accepted_aggregate_share() -> None:
    scenario = aggregated(who=(ONE, THREE, FOUR))

    assert scenario.asset(keys.round_(PLAN, 1))["key_holders"] == [ONE, THREE, FOUR]


def test_a_key_holder_that_drops_out_does_not_lose_the_round() -> None:
    scenario = aggregated()
    scenario.share(PLAN_TERMS, who=(ONE, THREE))
    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.wait()

    again = scenario.advance(PLAN_TERMS)
    old = scenario.refused(ONE, "round:SubmitShare", share_args(PLAN_TERMS, ONE))
    for hospital in (ONE, THREE, FOUR):
        args = share_args(PLAN_TERMS, hospital, attempt=2)
        scenario.do(hospital, "round:SubmitShare", args)
    decrypted = scenario.advance(PLAN_TERMS)
    view = scenario.do(ONE, "round:Get", FIRST)
    scenario.evaluate(PLAN_TERMS)

    assert (early.code, old.code) == (Code.NOT_YET, Code.BAD_STATE)
    assert (again["status"], again["attempt"]) == ("AGGREGATED", 2)
    assert (again["key_holders"], again["absent"]) == ([ONE, THREE, FOUR], [TWO])
    assert decrypted["status"] == "DECRYPTED"
    assert [share["attempt"] for share in view["shares"]] == [2, 2, 2]
    assert scenario.advance(PLAN_TERMS)["status"] == "PUBLISHED"
    assert scenario.asset(keys.round_(PLAN, 1))["absent"] == [TWO]


def without_two() -> Scenario:
    """Decrypted at the second attempt, for the second hospital let the deadline pass."""
    scenario = aggregated()
    scenario.share(PLAN_TERMS, who=(ONE, THREE))
    scenario.wait()
    scenario.advance(PLAN_TERMS)
    for hospital in (ONE, THREE, FOUR):
        args = share_args(PLAN_TERMS, hospital, attempt=2)
        scenario.do(hospital, "round:SubmitShare", args)
    assert scenario.advance(PLAN_TERMS)["status"] == "DECRYPTED"
    return scenario


def test_a_round_that_went_on_without_a_hospital_does_not_wait_for_its_evaluation() -> None:
    scenario = without_two()
    scenario.evaluate(PLAN_TERMS, who=(ONE, THREE))
    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.evaluate(PLAN_TERMS, who=(FOUR,))

    published = scenario.advance(PLAN_TERMS)

    assert (early.code, FOUR in str(early), TWO in str(early)) == (Code.NOT_YET, True, True)
    assert (published["status"], published["absent"]) == ("PUBLISHED", [TWO])


@pytest.mark.parametrize("attested", [True, False])
def test_a_hospital_that_was_not_heard_of_is_waited_for_a_quarter_of_the_stage(attested) -> None:
    scenario = aggregated(who=(*HOSPITALS[:3], *((FOUR,) if attested else ())))
    scenario.share(PLAN_TERMS, who=HOSPITALS[:3])
    scenario.advance(PLAN_TERMS)
    scenario.evaluate(PLAN_TERMS, who=HOSPITALS[:3])
    quarter = PLAN_TERMS.participation.stage_seconds // 4
    scenario.now += quarter - 10
    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.now += 10

    if attested:
        assert scenario.refused(ONE, "round:Advance", FIRST).code == Code.NOT_YET
        return
    published = scenario.advance(PLAN_TERMS)

    assert (early.code, FOUR in str(early)) == (Code.NOT_YET, True)
    assert (published["status"], published["absent"]) == ("PUBLISHED", [FOUR])


def test_an_agreement_that_it_can_bring_about_is_waited_for() -> None:
    scenario = without_two()
    scenario.evaluate(PLAN_TERMS, who=(ONE, THREE))
    other = evaluate_args(PLAN_TERMS, candidate=ref("other"))
    scenario.do(FOUR, "round:Evaluate", other)

    early = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.evaluate(PLAN_TERMS, who=(TWO,))

    assert (early.code, TWO in str(early)) == (Code.NOT_YET, True)
    assert scenario.advance(PLAN_TERMS)["status"] == "PUBLISHED"


NOTHING = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 0}


def decrypted() -> Scenario:
    """Three of four have shared."""
    scenario = aggregated()
    scenario.share(PLAN_TERMS, who=(ONE, TWO, THREE))
    scenario.advance(PLAN_TERMS)
    return scenario


def shared_anew(scenario: Scenario, *, decodes: bool = False) -> dict[str, Any]:
    """The key holders of the attempt share, and everybody says whether that decodes."""
    round_ = scenario.round_state(PLAN_TERMS)
    for hospital in round_["key_holders"]:
        args = share_args(PLAN_TERMS, hospital, attempt=round_["attempt"])
        scenario.do(hospital, "round:SubmitShare", args)
    scenario.advance(PLAN_TERMS)
    return verdict(scenario, decodes=decodes)


def verdict(scenario: Scenario, *, decodes: bool = False) -> dict[str, Any]:
    for hospital in HOSPITALS:
        found = {} if decodes else NOTHING
        scenario.do(hospital, "round:Evaluate", evaluate_args(PLAN_TERMS, **found))
    return scenario.advance(PLAN_TERMS)


def shares_of(scenario: Scenario, msp_id: str) -> tuple[int, int]:
    tallies = scenario.asset(keys.reputation("hospital", msp_id))["tallies"]
    found = tallies.get("share", (0, 0))
    return found[GOOD], found[BAD]


def test_who_gives_a_wrong_share_is_found_and_loses_nobody_the_round() -> None:
    scenario = decrypted()

    without_one = verdict(scenario)
    without_two = shared_anew(scenario)
    again = scenario.refused(ONE, "round:Evaluate", evaluate_args(PLAN_TERMS))
    published = shared_anew(scenario, decodes=True)

    assert (without_one["status"], without_one["attempt"]) == ("AGGREGATED", 2)
    assert without_one["key_holders"] == [TWO, THREE, FOUR]
    assert (without_two["key_holders"], without_two["left_out"]) == ([ONE, THREE, FOUR], TWO)
    assert again.code == Code.BAD_STATE
    assert (published["status"], published["left_out"]) == ("PUBLISHED", TWO)
    assert published["suspects"] == [ONE, TWO, THREE]
    assert [shares_of(scenario, h) for h in HOSPITALS] == [(1, 0), (0, 1), (1, 0), (1, 0)]
    node = scenario.asset(keys.reputation("node", f"{TWO}/node1"))["tallies"]["share"]
    assert (node[GOOD], node[BAD]) == (0, 1)


def test_where_no_set_of_holders_decodes_nobody_is_blamed() -> None:
    scenario = decrypted()
    verdict(scenario)
    for _ in range(2):
        shared_anew(scenario)

    failed = shared_anew(scenario)

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.DECRYPTION_FAILED)
    assert (failed["attempt"], failed["left_out"]) == (4, None)
    assert "or an update is" in failed["reason"]
    assert [shares_of(scenario, h) for h in HOSPITALS] == [(0, 0)] * 4


def test_a_share_that_most_cannot_use_is_left_out_first() -> None:
    scenario = decrypted()
    share = {"plan_id": PLAN, "round": 1, "subject_sha256": sha(f"share 1 {THREE}")}
    for hospital in (ONE, TWO, FOUR):
        scenario.do(hospital, "round:Object", share | {"code": "MF-6001"})
    scenario.wait()

    without = scenario.advance(PLAN_TERMS)
    published = shared_anew(scenario, decodes=True)

    assert (without["status"], without["key_holders"]) == ("AGGREGATED", [ONE, TWO, FOUR])
    assert (published["status"], shares_of(scenario, THREE)) == ("PUBLISHED", (0, 1))


def test_who_drops_out_meanwhile_is_missed_and_not_blamed() -> None:
    scenario = decrypted()
    verdict(scenario)
    scenario.share(PLAN_TERMS, who=())
    scenario.wait()

    failed = scenario.advance(PLAN_TERMS)

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_MISSING)
    assert failed["absent"] == [TWO, THREE, FOUR]
    assert shares_of(scenario, ONE) == (0, 0)


def test_an_evaluation_stands_within_its_attempt() -> None:
    scenario = decrypted()
    scenario.do(ONE, "round:Evaluate", evaluate_args(PLAN_TERMS, **NOTHING))

    again = scenario.refused(ONE, "round:Evaluate", evaluate_args(PLAN_TERMS))

    assert again.code == Code.DUPLICATE_CONTRIBUTION


def test_with_fewer_than_the_threshold_left_the_round_fails_by_name() -> None:
    scenario = aggregated(who=(ONE, TWO, THREE))
    scenario.share(PLAN_TERMS, who=(ONE, TWO))
    scenario.wait()

    failed = scenario.advance(PLAN_TERMS)

    assert (failed["failure"], failed["absent"]) == (Code.KEY_HOLDER_MISSING, [THREE])


def test_an_aggregate_is_accepted_only_when_enough_attest_it_to_decrypt_it() -> None:
    plan = terms(agreement=3)
    assert plan.attestations_needed == 3
    larger = PLAN_TERMS.model_copy(
        update={"participation": PLAN_TERMS.participation.model_copy(update={"agreement": 4})}
    )
    assert (PLAN_TERMS.attestations_needed, larger.attestations_needed) == (3, 4)
    assert larger.lost((ONE,)) == ()
    assert larger.lost((ONE, TWO)) == (ONE, TWO)
    assert plan.lost((ONE,)) == (ONE,)


# a key holder that leaves


def leave(scenario: Scenario) -> None:
    scenario.do(FOUR, "consortium:Leave", {"reason": "merged"})


def test_rounds_go_on_without_a_hospital_that_has_left() -> None:
    scenario = aggregated()
    scenario.share(PLAN_TERMS, who=(ONE, TWO, THREE))
    scenario.advance(PLAN_TERMS)
    scenario.evaluate(PLAN_TERMS)
    scenario.advance(PLAN_TERMS)
    leave(scenario)

    scenario.open(PLAN_TERMS, 2)
    round_ = scenario.round_state(PLAN_TERMS, 2)
    for step in (scenario.submit, scenario.attest, scenario.share, scenario.evaluate):
        step(PLAN_TERMS, 2, who=(ONE, TWO, THREE))
        published = scenario.advance(PLAN_TERMS, 2)

    assert [p["msp_id"] for p in round_["participants"]] == [ONE, TWO, THREE]
    assert [(e["msp_id"], e["code"]) for e in round_["excluded"]] == [(FOUR, Code.NOT_ADMITTED)]
    assert published["status"] == "PUBLISHED"
    assert scenario.asset(keys.plan(PLAN))["status"] == "COMPLETED"


def test_an_open_round_does_not_wait_for_a_hospital_that_has_left() -> None:
    scenario = confirming()
    scenario.post_all(PLAN_TERMS, "ceremony:Confirm", confirm_args)
    scenario.advance_ceremony(PLAN_TERMS)
    scenario.open(PLAN_TERMS)
    scenario.submit(PLAN_TERMS, who=(ONE, TWO, THREE))
    early = scenario.refused(ONE, "round:Advance", FIRST)
    leave(scenario)

    sealed = scenario.advance(PLAN_TERMS)
    scenario.attest(PLAN_TERMS, who=(ONE, TWO))
    scenario.do(THREE, "round:Attest", attest_args(PLAN_TERMS, aggregate="forged"))
    failed = scenario.advance(PLAN_TERMS)

    assert early.code == Code.NOT_YET
    assert sealed["missing"] == [{"msp_id": FOUR, "node_id": "node1"}]
    assert (failed["status"], failed["failure"]) == ("FAILED", Code.NO_AGREEMENT)


def test_a_plan_is_not_approved_with_a_key_holder_that_has_left() -> None:
    scenario = at("enrolled")
    scenario.propose(PLAN_TERMS)
    for hospital in (ONE, TWO, THREE):
        scenario.vote(hospital, "plan", PLAN, PLAN_TERMS.sha256)
    leave(scenario)

    assert scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})["status"] == "REJECTED"


def test_a_plan_ends_when_fewer_holders_are_left_than_its_key_needs() -> None:
    scenario = aggregated()
    leave(scenario)
    for hospital in (ONE, TWO):
        renew(scenario, hospital)
    going_on = scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN})
    scenario.do(THREE, "consortium:Leave", {"reason": "merged"})

    failed = scenario.advance(PLAN_TERMS)

    assert going_on.code == Code.ALREADY
    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_LEFT)
    assert scenario.asset(keys.plan(PLAN))["status"] == "FAILED"
