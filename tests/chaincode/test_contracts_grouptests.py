"""Group tests: who is drawn together, what is refused, what is booked on whom."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scenario import (
    BAD,
    GOOD,
    HOSPITALS,
    Scenario,
    at,
    dataset_args,
    ref,
    sha,
    share_args,
    terms,
)

from chaincode.schema import grouptests, keys
from chaincode.schema.errors import Code
from chaincode.schema.grouptests import GroupScore
from chaincode.schema.plans import AcceptanceTerms, Participant, PlanTerms

ONE, TWO, THREE, FOUR = HOSPITALS
WHICH = {"plan_id": "tests", "round": 1}


def plan_with_tests(**acceptance: Any) -> PlanTerms:
    allowed = AcceptanceTerms(**{"group_tests": 2, "least_group": 2, **acceptance})
    return terms("tests").model_copy(update={"acceptance": allowed})


def drawn() -> Scenario:
    """A round whose aggregate is decrypted and whose groups are drawn."""
    return copy.deepcopy(_drawn())


@lru_cache(maxsize=1)
def _drawn() -> Scenario:
    plan, made = plan_with_tests(), at("enrolled")
    for step in (made.propose, made.consent, made.approve, made.ceremony, made.open):
        step(plan)
    for step in (made.submit, made.attest, made.share):
        step(plan)
        made.advance(plan)
    return made


def drawn_test(made: Scenario, number: int = 1) -> dict[str, Any]:
    return made.asset(keys.group_test("tests", number))


def quality(made: Scenario, subject: str, name: str) -> list[int] | None:
    rated = {"subject": subject, "subject_id": name}
    return made.do(ONE, "reputation:Get", rated, "auditor")["tallies"].get("quality")


def test_groups_are_drawn_from_what_all_key_holders_committed_to_before_any_showed_it():
    test = drawn_test(drawn())
    secrets = [sha("draw " + hospital) for hospital in HOSPITALS]
    seed = grouptests.seed_sha256("tests", 1, sha("aggregate 1"), secrets)

    assert test["seed_sha256"] == seed
    members = [tuple(group["members"]) for group in test["groups"]]
    assert tuple(members) == grouptests.draw(seed, HOSPITALS, 2, 2)
    assert sorted(sum(members, ())) == list(HOSPITALS)


def test_a_hospital_shows_the_part_of_the_draw_that_it_committed_to_or_its_share_is_refused():
    plan, made = plan_with_tests(), at("enrolled")
    for step in (made.propose, made.consent, made.approve, made.ceremony, made.open):
        step(plan)
    made.submit(plan)
    made.advance(plan)
    bare = {"plan_id": "tests", "round": 1, "aggregate_sha256": sha("a"), "aggregate": ref("a")}
    assert made.refused(ONE, "round:Attest", bare, "node1").code == Code.BAD_ARGUMENT
    made.attest(plan)
    made.advance(plan)

    other = {**share_args(plan, ONE), "draw": sha("another")}
    missing = {**share_args(plan, ONE), "draw": None}

    assert made.refused(ONE, "round:SubmitShare", other, "node1").code == Code.COMMITMENT_MISMATCH
    assert made.refused(ONE, "round:SubmitShare", missing, "node1").code == Code.COMMITMENT_MISMATCH
    made.share(plan)


def test_a_plan_without_an_allowance_draws_nothing():
    made = at("decrypted")

    view = made.do(ONE, "grouptest:Get", {"plan_id": terms().plan_id, "round": 1}, "auditor")
    assert view["test"] is None


def test_a_first_test_blames_nobody_and_further_ones_whom_they_tell_apart():
    plan = plan_with_tests()
    longer = {
        "training": plan.training.model_copy(update={"rounds": 5}),
        "privacy": plan.privacy.model_copy(update={"epsilon_micro": 6_000_000}),
    }
    plan, made = plan.model_copy(update=longer), at("enrolled")
    for step in (made.propose, made.consent, made.approve, made.ceremony):
        step(plan)
    for number in (1, 2, 3, 4):
        made.round(plan, number)
        made.group_test(plan, number, harmed=(FOUR,))
    tests = [drawn_test(made, number) for number in (1, 2, 3, 4)]
    drawn_with = [
        {*group["members"]}
        for test in tests
        for group in test["groups"]
        if FOUR in group["members"]
    ]
    blamed = [[q["msp_id"] for q in test["qualities"] if q["harmful"]] for test in tests]
    hits = blamed.count([FOUR])

    assert [test["status"] for test in tests] == ["SCORED"] * 4
    assert len({*map(frozenset, drawn_with)}) > 1, "all tests drew the same groups"
    assert (blamed[0], blamed[3]) == ([], [FOUR])
    for hospital in HOSPITALS:
        bad = hits if hospital == FOUR else 0
        for found in (
            quality(made, "hospital", hospital),
            quality(made, "node", f"{hospital}/node1"),
        ):
            assert found is not None
            assert (found[GOOD], found[BAD]) == (4 - bad, bad)


def test_a_dropped_update_is_in_no_group_and_is_not_judged():
    made, plan = at("enrolled"), plan_with_tests()
    made.identity(ONE, "node2", "trainer", "validator")
    made.do(ONE, "node:Register", made.node_args(ONE, "node2"))
    made.do(ONE, "dataset:Register", dataset_args("second"))
    second = Participant(msp_id=ONE, node_id="node2", dataset_id="second")
    nodes = (*plan.participation.participants, second)
    joined = plan.participation.model_copy(update={"participants": nodes, "quorum": 4})
    plan = plan.model_copy(update={"participation": joined})
    for step in (made.propose, made.consent, made.approve, made.ceremony, made.open, made.submit):
        step(plan)
    update = {"dataset_id": "second", "update": ref("update of the second node")}
    made.do(ONE, "round:SubmitUpdate", made.update_args(plan, ONE) | update, "node2")
    made.advance(plan)
    made.object(plan, ONE)
    left = made.advance(plan)
    for step in (made.attest, made.share):
        step(plan)
        made.advance(plan)

    made.group_test(plan, 1)

    assert {(c["msp_id"], c["node_id"]) for c in left["contributions"]} == {
        *((h, "node1") for h in HOSPITALS[1:]),
        (ONE, "node2"),
    }
    assert {h for group in drawn_test(made)["groups"] for h in group["members"]} == {*HOSPITALS}
    assert quality(made, "node", f"{ONE}/node1") is None
    assert quality(made, "node", f"{ONE}/node2")[:2] == [1, 0]
    made.evaluate(plan)
    made.advance(plan)
    # The hospital's other update is in the sum: what comes of it is the hospital's, too.
    hospital = made.asset(keys.reputation("hospital", ONE))["tallies"]
    assert (hospital["content"][BAD], hospital["outcome"][GOOD]) == (1, 1)


def test_blame_leaves_an_honest_hospital_with_further_tests_and_stays_with_the_harmful_one():
    regression: dict[str, int] = {}
    for number in range(12):
        groups = grouptests.draw(sha(f"seed {number}"), HOSPITALS, 2, 2)
        effects = [-400_000 if FOUR in group else 0 for group in groups]
        weighed = [[(member, 256) for member in group] for group in groups]
        regression = grouptests.regressed(regression, weighed, effects)

    assert regression[FOUR] < -300_000
    assert all(abs(regression[h]) < 60_000 for h in HOSPITALS[:3])


def test_a_round_does_not_open_before_the_last_ones_test_is_over():
    plan, made = plan_with_tests(), drawn()
    made.evaluate(plan)
    made.advance(plan)
    second = {"plan_id": "tests", "number": 2}

    assert made.refused(ONE, "round:Open", second, "node1").code == Code.NOT_YET
    made.group_test(plan, 1)
    made.open(plan, 2)


def test_the_last_round_has_no_test():
    plan, made = plan_with_tests(), drawn()
    made.evaluate(plan)
    made.advance(plan)
    made.group_test(plan, 1)
    made.round(plan, 2)

    assert made.do(ONE, "grouptest:Get", {**WHICH, "round": 2}, "auditor")["test"] is None


def test_sums_that_hospitals_do_not_agree_on_are_never_decrypted():
    made = drawn()
    for hospital in HOSPITALS:
        sums = {**WHICH, "sums_sha256": sha(hospital)}
        made.do(hospital, "grouptest:Attest", sums, "node1")

    assert made.do(ONE, "grouptest:Advance", WHICH)["failure"] == Code.NO_AGREEMENT
    shares = {**WHICH, "sums_sha256": sha(ONE), "shares": [ref("s"), ref("t")]}
    assert made.refused(ONE, "grouptest:SubmitShares", shares, "node1").code == Code.BAD_STATE


def summed() -> Scenario:
    made = drawn()
    for hospital in HOSPITALS:
        made.do(hospital, "grouptest:Attest", {**WHICH, "sums_sha256": sha("sums")}, "node1")
    made.do(ONE, "grouptest:Advance", WHICH)
    return made


def test_never_more_sums_are_shared_in_than_were_drawn_and_no_others():
    made = summed()
    one = {**WHICH, "sums_sha256": sha("sums"), "shares": [ref("s"), ref("t")]}

    more = {**one, "shares": [ref("s"), ref("t"), ref("u")]}
    other = {**one, "sums_sha256": sha("others")}

    assert made.refused(ONE, "grouptest:SubmitShares", more, "node1").code == Code.BAD_STATE
    assert made.refused(ONE, "grouptest:SubmitShares", other, "node1").code == Code.WRONG_AGGREGATE
    made.do(ONE, "grouptest:SubmitShares", one, "node1")
    again = made.refused(ONE, "grouptest:SubmitShares", one, "node1")
    assert again.code == Code.DUPLICATE_CONTRIBUTION


def test_a_key_holder_that_stays_away_fails_the_test_by_name_and_missed_a_duty():
    made = summed()
    share = {**WHICH, "sums_sha256": sha("sums"), "shares": [ref("s"), ref("t")]}
    for hospital in (ONE, TWO, THREE):
        made.do(hospital, "grouptest:SubmitShares", share, "node1")
    assert made.refused(ONE, "grouptest:Advance", WHICH).code == Code.NOT_YET
    made.wait(200)

    failed = made.do(ONE, "grouptest:Advance", WHICH)

    assert (failed["failure"], failed["absent"]) == (Code.KEY_HOLDER_MISSING, [FOUR])
    rated = {"subject": "hospital", "subject_id": FOUR}
    assert made.do(ONE, "reputation:Get", rated, "auditor")["tallies"]["duty"][BAD] == 1


def test_scores_are_of_every_group_and_within_their_total():
    made = summed()
    share = {**WHICH, "sums_sha256": sha("sums"), "shares": [ref("s"), ref("t")]}
    for hospital in HOSPITALS:
        made.do(hospital, "grouptest:SubmitShares", share, "node1")
    made.do(ONE, "grouptest:Advance", WHICH)
    score = {**WHICH, "correct": [1, 2], "base_correct": 1, "total": 3}

    for wrong in ({"correct": [1, 2, 3]}, {"correct": [1, 4]}, {"base_correct": 4}):
        refused = made.refused(ONE, "grouptest:Score", {**score, **wrong}, "node1")
        assert refused.code == Code.BAD_ARGUMENT
    for hospital in HOSPITALS:
        made.do(
            hospital,
            "grouptest:Score",
            {**score, "total": 0, "correct": [0, 0]} | {"base_correct": 0},
            "node1",
        )
    assert made.do(ONE, "grouptest:Advance", WHICH)["failure"] == Code.NOT_EVALUATED


@pytest.mark.parametrize("acceptance", [{"group_tests": 1}, {"group_tests": 3}, {"least_group": 3}])
def test_an_allowance_that_would_single_out_updates_is_refused(acceptance):
    made = at("enrolled")

    assert (
        made.refused(ONE, "plan:Propose", plan_with_tests(**acceptance)).code == Code.PLAN_INVALID
    )


@given(
    st.integers(2, 64),
    st.integers(0, 63),
    st.integers(2, 8),
    st.text("0123456789abcdef", max_size=8),
)
def test_groups_hold_everybody_once_and_are_never_too_small(number, tests, least, seed):
    hospitals = [f"Hospital{place}MSP" for place in range(number)]

    groups = grouptests.draw(seed, hospitals, tests, least)

    if groups:
        assert 2 <= len(groups) <= tests
        assert sorted(sum(groups, ())) == sorted(hospitals)
        assert min(map(len, groups)) >= least
        assert max(map(len, groups)) - min(map(len, groups)) <= 1
    else:
        assert tests < 2 or number < 2 * least


def score(*correct: int | None, total: int = 20, base: int = 10) -> GroupScore:
    return GroupScore(
        plan_id="tests",
        round=1,
        msp_id=ONE,
        node_id="node1",
        correct=correct,
        base_correct=base,
        total=total,
        posted_at=1,
    )


def test_a_minority_of_scores_moves_no_effect_and_a_broken_range_is_the_worst():
    honest = [score(14, 15), score(15, 15), score(14, 16)]

    effects = grouptests.effects_micro(2, [*honest, score(0, 20), score(0, 20)])

    assert effects == [200_000, 300_000]
    assert grouptests.effects_micro(2, [score(None, 15)] * 3) == [-1_000_000, 250_000]
    assert grouptests.effects_micro(2, [*honest, score(0, 0, total=0, base=0)]) == [
        200_000,
        250_000,
    ]


WEIGHED = [[("a", 100), ("b", 256)], [("c", 100), ("d", 100)]]


def harmful(effects: list[int], **contributions: int) -> frozenset[str]:
    known = {"a": 0, "b": 0, "c": 0, "d": 0} | contributions
    return grouptests.harmful(WEIGHED, effects, known, 50_000)


def test_of_a_group_that_lost_the_one_member_of_the_least_contribution_is_blamed():
    lost = [-200_000, 0]

    assert harmful(lost, a=-200_000, b=-100_000) == {"a"}
    assert harmful(lost, a=-200_000, b=-200_000) == frozenset()
    assert harmful(lost, a=-50_000) == frozenset()
    assert harmful([0, -49_000], a=-200_000, c=-90_000) == frozenset()


def test_members_of_one_draw_contribute_alike_whatever_they_weigh():
    after = grouptests.regressed({}, WEIGHED, [-200_000, 0])

    assert after == {"a": -200_000, "b": -200_000, "c": 0, "d": 0}
    assert harmful([-200_000, 0], **after) == frozenset()


def test_who_breaks_a_range_is_told_apart_however_much_its_groups_lose():
    known = grouptests.regressed({}, WEIGHED, [-1_000_000, 500_000])
    others = [[("a", 100), ("c", 100)], [("b", 256), ("d", 100)]]
    known = grouptests.regressed(known, others, [-1_000_000, 500_000])

    assert known["a"] < min(known[name] for name in "bcd")
    assert grouptests.harmful(others, [-1_000_000, 500_000], known, 50_000) == {"a"}


def test_groups_that_differ_by_chance_blame_nobody():
    groups = [[(f"{place}", 1), (f"{place}'", 1)] for place in range(5)]
    effects = [-60_000, 0, 50_000, -30_000, 90_000]
    known = {name: 0 for group in groups for name, _ in group}

    # Three times the groups' median deviation is 150,000.
    assert not grouptests.harmful(groups, effects, known | {"0": -149_000}, 50_000)
    assert not grouptests.harmful(groups, effects, known | {"0": -300_000}, 50_000)
    assert grouptests.harmful(groups, [-400_000, *effects[1:]], known | {"0": -300_000}, 5) == {"0"}
