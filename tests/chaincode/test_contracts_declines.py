"""A node that gives no update says why; the round goes on without it, and a training is charged
whatever came out of it."""

from __future__ import annotations

import pytest
from support.scenario import HOSPITALS, PLAN, at, dataset_of, terms

from chaincode.schema import keys
from chaincode.schema.errors import Code

ONE, TWO, THREE, FOUR = HOSPITALS
ROUND = {"plan_id": PLAN, "round": 1}
EXPLODED = {**ROUND, "code": "MF-9013", "trained": True}
LATE = {**ROUND, "code": "MF-5003", "trained": False}


def epsilon(scenario, hospital):
    return scenario.asset(keys.account(dataset_of(hospital)))["epsilon_micro"]


def test_a_round_waits_for_nobody_who_declined_and_names_them():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO, THREE))
    waiting = scenario.refused(ONE, "round:Advance", {"plan_id": PLAN, "number": 1})

    declined = scenario.do(FOUR, "round:Decline", EXPLODED)
    sealed = scenario.advance(terms())

    assert waiting.code == Code.NOT_YET
    assert (declined["code"], declined["dataset_id"]) == ("MF-9013", dataset_of(FOUR))
    assert [(n["msp_id"], n["node_id"]) for n in sealed["missing"]] == [(FOUR, "node1")]
    assert len(sealed["contributions"]) == 3
    view = scenario.do(ONE, "round:Get", {"plan_id": PLAN, "number": 1}, "auditor")
    assert view["declines"] == [declined]


def test_too_many_who_decline_fail_the_round_at_once():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO))
    for hospital in (THREE, FOUR):
        scenario.do(hospital, "round:Decline", EXPLODED)

    failed = scenario.advance(terms())

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.QUORUM_MISSED)
    assert [n["msp_id"] for n in failed["missing"]] == [THREE, FOUR]


def test_what_was_trained_and_declined_is_charged_as_an_update_is():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE,))

    scenario.do(FOUR, "round:Decline", EXPLODED)
    scenario.do(THREE, "round:Decline", LATE)

    assert epsilon(scenario, FOUR) == epsilon(scenario, ONE) > 0
    assert epsilon(scenario, THREE) == 0


def test_a_node_declines_once_and_not_what_it_has_submitted():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE,))
    scenario.do(FOUR, "round:Decline", EXPLODED)
    spent = epsilon(scenario, FOUR)

    again = scenario.refused(FOUR, "round:Decline", EXPLODED)
    submitted = scenario.refused(ONE, "round:Decline", EXPLODED)
    after = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(terms(), FOUR))

    assert again.code == Code.DUPLICATE_CONTRIBUTION
    assert (submitted.code, after.code) == (Code.DUPLICATE_UPDATE, Code.DUPLICATE_UPDATE)
    assert epsilon(scenario, FOUR) == spent


def test_a_late_node_says_so_after_the_round_was_sealed():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO, THREE))
    scenario.now = scenario.do(ONE, "round:Get", {"plan_id": PLAN, "number": 1})["round"][
        "deadline"
    ]
    scenario.now += 1
    assert scenario.advance(terms())["status"] == "SEALED"

    late = scenario.do(FOUR, "round:Decline", LATE)

    assert (late["code"], late["steps"]) == ("MF-5003", 0)


def test_nobody_declines_an_ended_round_or_for_another():
    ended = at("published").refused(ONE, "round:Decline", LATE)
    scenario = at("open")
    scenario.identity(ONE, "node2", "trainer")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2") | {"roles": ["trainer"]})
    other = scenario.refused(ONE, "round:Decline", LATE, "node2")

    assert (ended.code, other.code) == (Code.BAD_STATE, Code.NOT_A_PARTICIPANT)


@pytest.mark.parametrize("code", ["", "MF-1", "because"])
def test_a_reason_is_a_code(code):
    refused = at("open").refused(ONE, "round:Decline", LATE | {"code": code})

    assert refused.code == Code.BAD_ARGUMENT
