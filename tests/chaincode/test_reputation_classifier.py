"""Classifiers on the ledger: what is refused, adoption by vote, and how far an effect can go."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scenario import HOSPITALS, at, attest_args, sha, terms

from chaincode.schema import classifiers, conduct, keys
from chaincode.schema.classifiers import FLOOR_MILLI, ClassifierTerms, Curve, Trait, assess
from chaincode.schema.errors import Code
from chaincode.schema.reputation import Evidence, Rated, Rating

ONE, TWO, THREE, FOUR = HOSPITALS
WRONG = {"trait": "agreement-ever", "cuts": [1], "values_micro": [0, 4_000_000]}
NEWCOMER = conduct.unknown(Rated.NODE, f"{ONE}/node1")


def proposal(name="first", **changes):
    args = {"classifier_id": name, "bias_micro": -1_000_000, "curves": [WRONG]}
    args |= {"flag_micro": 1_500_000, "trained_on": "simulated consortia", "simulated": True}
    return {**args, "recipe_sha256": sha("recipe"), **changes}


def adopt(scenario, args=None, approve=True):
    args = args or proposal()
    name = args["classifier_id"]
    proposed = scenario.do(ONE, "classifier:Propose", args)
    for hospital in (ONE, TWO, THREE):
        scenario.vote(hospital, "classifier", name, proposed["terms_sha256"], approve)
    return scenario.do(TWO, "classifier:Advance", {"classifier_id": name})


def forge(scenario):
    """The sealed round, to its end, with a wrong attestation of the fourth hospital."""
    scenario.attest(terms(), who=(ONE, TWO, THREE))
    scenario.do(FOUR, "round:Attest", attest_args(terms(), aggregate="forged"))
    scenario.advance(terms())
    for step in (scenario.share, scenario.evaluate):
        step(terms())
        scenario.advance(terms())


def node(scenario, msp_id):
    found = scenario.asset(keys.reputation("node", f"{msp_id}/node1"))
    return Rating.model_validate_json(json.dumps(found)).model_dump(mode="json")


def test_without_a_classifier_nobody_is_scored():
    scenario = at("sealed")
    forge(scenario)

    assert node(scenario, FOUR)["suspicion_micro"] is None
    assert (node(scenario, FOUR)["flagged"], node(scenario, FOUR)["discount_milli"]) == (False, 0)
    args = {"msp_id": FOUR, "node_id": "node1"}
    assert scenario.refused(ONE, "classifier:Assess", args).code == Code.NOT_FOUND


def test_an_adopted_classifier_scores_flags_and_weighs_down_within_bounds():
    plain, scored = at("sealed"), at("sealed")
    adopt(scored)
    weights = []
    for scenario in (plain, scored):
        forge(scenario)
        scenario.open(terms(), 2)
        scenario.submit(terms(), 2)
        weights.append([c["weight"] for c in scenario.advance(terms(), 2)["contributions"]])

    fallen, honest = node(scored, FOUR), node(scored, ONE)
    assert fallen["suspicion_micro"] == 3_000_000
    assert (fallen["flagged"], fallen["discount_milli"]) == (True, 562)
    assert (honest["suspicion_micro"], honest["flagged"]) == (-1_000_000, False)
    assert weights[0][0] > weights[0][3] > weights[1][3] > weights[0][3] // 4
    scored.attest(terms(), 2)  # flagged, weighed down, and still at work


def test_the_score_is_explained_and_its_parts_add_up():
    scenario = at("sealed")
    adopt(scenario)
    forge(scenario)

    found = scenario.do(ONE, "classifier:Assess", {"msp_id": FOUR, "node_id": "node1"}, "auditor")

    parts = sum(part["contribution_micro"] for part in found["parts"])
    assert found["bias_micro"] + parts == found["suspicion_micro"]
    assert found["suspicion_micro"] == node(scenario, FOUR)["suspicion_micro"]


def test_another_classifier_retires_the_one_before():
    scenario = at("founded")
    adopt(scenario)
    adopt(scenario, proposal("second", curves=[]))

    listed = scenario.do(ONE, "classifier:List")["classifiers"]
    states = {c["terms"]["classifier_id"]: c["status"] for c in listed}
    assert states == {"first": "RETIRED", "second": "ADOPTED"}
    assert scenario.asset(keys.adopted_classifier()) == {"classifier_id": "second"}
    again = scenario.refused(ONE, "classifier:Advance", {"classifier_id": "first"})
    assert again.code == Code.ALREADY


def test_a_refused_classifier_scores_nobody():
    scenario = at("sealed")

    assert adopt(scenario, approve=False)["status"] == "REJECTED"
    assert scenario.refused(ONE, "classifier:Propose", proposal()).code == Code.EXISTS
    forge(scenario)
    assert node(scenario, FOUR)["suspicion_micro"] is None


def test_a_classifier_needs_a_majority():
    scenario = at("founded")
    proposed = scenario.do(ONE, "classifier:Propose", proposal())
    for hospital in (ONE, TWO):
        scenario.vote(hospital, "classifier", "first", proposed["terms_sha256"])

    error = scenario.refused(ONE, "classifier:Advance", {"classifier_id": "first"})

    assert error.code == Code.NOT_YET
    subject = {"subject": "classifier", "subject_id": "first"}
    assert len(scenario.do(ONE, "consortium:GetBallot", subject)["votes"]) == 2
    assert scenario.refused(ONE, "consortium:Advance", subject).code == Code.BAD_ARGUMENT


@pytest.mark.parametrize(
    "changes",
    [
        {"curves": [WRONG, WRONG]},
        {"curves": [WRONG | {"cuts": [2, 1], "values_micro": [0, 1, 2]}]},
        {"curves": [WRONG | {"cuts": [1, 1], "values_micro": [0, 1, 2]}]},
        {"curves": [WRONG | {"values_micro": [0]}]},
        {"curves": [WRONG | {"values_micro": [0, 30_000_000]}]},
        {"curves": [WRONG | {"trait": "colour"}]},
        {"bias_micro": 0.5},
        {"form": "forest-v1"},
    ],
)
def test_a_classifier_that_is_none_is_refused(changes):
    scenario = at("founded")
    before = dict(scenario.ledger.state)

    response = scenario.raw(ONE, "classifier:Propose", json.dumps(proposal(**changes)).encode())

    assert response.message.startswith(Code.BAD_ARGUMENT)
    assert scenario.ledger.state == before


@given(st.integers(-(10**9), 10**9))
def test_a_factor_never_leaves_its_bounds(above):
    factor = classifiers.factor_milli(above)

    assert FLOOR_MILLI <= factor <= 1000
    assert factor == 1000 or above > 0
    assert classifiers.factor_milli(above + 1) <= factor


def test_a_curve_changes_at_its_cuts():
    curve = Curve(trait=Trait.HASTE_EVER, cuts=(10, 20), values_micro=(0, 1, 5))

    assert [curve.at(value) for value in (0, 9, 10, 19, 20, 1000)] == [0, 0, 1, 1, 5, 5]


@given(st.dictionaries(st.sampled_from(list(Evidence)), st.tuples(*[st.integers(0, 5)] * 2)))
def test_every_trait_is_a_whole_number_within_its_range(events):
    curves = tuple(Curve(trait=t, cuts=(), values_micro=(1,)) for t in Trait)
    made = ClassifierTerms(**proposal(curves=curves))

    found = assess(made, conduct.book(NEWCOMER, events, 1))

    assert [part.trait for part in found.parts] == list(Trait)
    assert found.suspicion_micro == len(Trait) - 1_000_000


def test_the_worst_conduct_there_is_stays_within_the_range_of_values():
    worst = dict.fromkeys(Evidence, (0, 10000))
    best = dict.fromkeys(Evidence, (10000, 0))

    for events in (worst, best, {Evidence.CONTENT: (0, 10_000)}):
        values = classifiers.traits(conduct.book(NEWCOMER, events, 1).tallies).values()
        assert all(-1000 <= value <= 1000 for value in values)


def test_the_contrast_counts_only_with_rounds_apart():
    there, apart = {Evidence.OUTCOME: (2, 8)}, {Evidence.OUTCOME_ABSENT: (20, 0)}

    alone = classifiers.traits(conduct.book(NEWCOMER, there, 1).tallies)
    both = classifiers.traits(conduct.book(NEWCOMER, there | apart, 1).tallies)

    assert alone[Trait.OUTCOME_CONTRAST] == 0
    assert both[Trait.OUTCOME_CONTRAST] > 500
