"""Disputes: where everybody's share is needed and they decode to nothing, each proves its own."""

from __future__ import annotations

from typing import Any

import pytest
from support.scenario import (
    BAD,
    GOOD,
    HOSPITALS,
    PLAN,
    Scenario,
    at,
    evaluate_args,
    ref,
    sha,
    terms,
)

from chaincode.schema import keys
from chaincode.schema.errors import Code

ONE, TWO, THREE, FOUR = HOSPITALS
PLAN_TERMS = terms()
WHICH = {"plan_id": PLAN, "round": 1}
FIRST = {"plan_id": PLAN, "number": 1}
NOTHING = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 0}


def prove_args(msp_id: str) -> dict[str, Any]:
    return {**WHICH, "proof": ref(f"proof of {msp_id}")}


def disputed() -> Scenario:
    """Nobody could decode what all four shared in."""
    scenario = at("decrypted")
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(PLAN_TERMS, **NOTHING))
    assert scenario.advance(PLAN_TERMS)["status"] == "DISPUTED"
    return scenario


def judging(who: tuple[str, ...] = HOSPITALS) -> Scenario:
    scenario = disputed()
    for hospital in who:
        scenario.do(hospital, "dispute:Prove", prove_args(hospital))
    if who != HOSPITALS:
        scenario.wait()
    assert scenario.advance(PLAN_TERMS)["status"] == "JUDGING"
    return scenario


def judged(scenario: Scenario, verdicts: dict[str, list[str]]) -> dict[str, Any]:
    for hospital, culprits in verdicts.items():
        scenario.do(hospital, "dispute:Judge", {**WHICH, "culprits": culprits})
    if len(verdicts) < len(HOSPITALS):
        scenario.wait()
    return scenario.advance(PLAN_TERMS)


def shares_of(scenario: Scenario, msp_id: str) -> tuple[int, int]:
    tallies = scenario.asset(keys.reputation("hospital", msp_id))["tallies"]
    found = tallies.get("share", (0, 0))
    return found[GOOD], found[BAD]


def test_whose_proof_most_find_not_to_hold_is_named() -> None:
    scenario = judging()

    failed = judged(scenario, {ONE: [FOUR], TWO: [FOUR], THREE: [FOUR], FOUR: [ONE, TWO]})

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.DECRYPTION_FAILED)
    assert failed["unproven"] == [FOUR]
    assert failed["reason"].endswith(f"; not shown to be right: that of {FOUR}")
    assert [shares_of(scenario, h) for h in HOSPITALS] == [(0, 0), (0, 0), (0, 0), (0, 1)]
    node = scenario.asset(keys.reputation("node", f"{FOUR}/node1"))["tallies"]["share"]
    assert (node[GOOD], node[BAD]) == (0, 1)
    view = scenario.do(ONE, "round:Get", FIRST)
    assert len(view["proofs"]) == len(view["verdicts"]) == 4


def test_who_posts_no_proof_in_time_is_named() -> None:
    scenario = judging(who=(ONE, TWO, FOUR))

    failed = judged(scenario, {hospital: [] for hospital in HOSPITALS})

    assert failed["unproven"] == [THREE]
    assert shares_of(scenario, THREE) == (0, 1)


def test_where_every_share_is_proven_nobody_is_named() -> None:
    scenario = judging()

    failed = judged(scenario, {hospital: [] for hospital in HOSPITALS})

    assert failed["unproven"] == []
    assert failed["reason"].endswith("each is proven, so an update is wrong")
    assert [shares_of(scenario, h) for h in HOSPITALS] == [(0, 0)] * 4


def test_half_of_the_hospitals_name_nobody_and_who_judges_late_has_missed_a_duty() -> None:
    scenario = judging()

    failed = judged(scenario, {ONE: [FOUR], TWO: [FOUR], THREE: []})

    assert (failed["unproven"], failed["absent"]) == ([], [FOUR])


@pytest.mark.parametrize(
    ("objectors", "status", "told"), [((ONE, TWO, FOUR), "FAILED", 1), ((ONE, TWO), "DISPUTED", 0)]
)
def test_a_share_of_no_form_is_found_without_a_dispute(
    objectors: tuple[str, ...], status: str, told: int
) -> None:
    scenario = at("decrypted")
    share = {**WHICH, "subject_sha256": sha(f"share 1 {THREE}"), "code": "MF-6001"}
    for hospital in objectors:
        scenario.do(hospital, "round:Object", share)
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(PLAN_TERMS, **NOTHING))

    ended = scenario.advance(PLAN_TERMS)

    assert (ended["status"], ended["unproven"]) == (status, [])
    assert not told or shares_of(scenario, THREE) == (0, told)


def test_proofs_and_verdicts_stand_once_each_in_their_stage() -> None:
    before = at("decrypted").refused(ONE, "dispute:Prove", prove_args(ONE))
    scenario = disputed()
    early = scenario.refused(ONE, "dispute:Judge", {**WHICH, "culprits": []})
    waiting = scenario.refused(ONE, "round:Advance", FIRST)
    scenario.do(ONE, "dispute:Prove", prove_args(ONE))
    again = scenario.refused(ONE, "dispute:Prove", prove_args(ONE))
    scenario.do(
        TWO,
        "round:Object",
        {**WHICH, "subject_sha256": prove_args(ONE)["proof"]["sha256"], "code": "MF-7020"},
    )
    scenario.wait()
    late = scenario.refused(TWO, "dispute:Prove", prove_args(TWO))

    assert [e.code for e in (before, early, late)] == [
        Code.BAD_STATE,
        Code.BAD_STATE,
        Code.DEADLINE_PASSED,
    ]
    assert (waiting.code, again.code) == (Code.NOT_YET, Code.DUPLICATE_CONTRIBUTION)


@pytest.mark.parametrize("name", ["dispute:Prove", "dispute:Judge"])
def test_only_a_validator_of_the_plan_takes_part(name: str) -> None:
    scenario = disputed()
    args = prove_args(ONE) if name == "dispute:Prove" else {**WHICH, "culprits": []}

    assert scenario.refused(ONE, name, args, "admin").code == Code.ROLE_REQUIRED
