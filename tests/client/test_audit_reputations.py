"""An auditor books every reputation again from a proven ledger."""

from __future__ import annotations

import json

import pytest
from support.replayed import proven
from support.scenario import (
    BAD,
    GOOD,
    HOSPITALS,
    PLAN,
    at,
    attest_args,
    commit_args,
    ref,
    sha,
    terms,
)

from chaincode.contracts import cohort
from chaincode.schema import canonical, keys
from chaincode.schema.errors import Code
from chaincode.schema.plans import AcceptanceTerms
from client.audit import reputations
from client.audit.proof import NAMESPACE
from client.audit.state import Change

ONE, TWO, THREE, FOUR = HOSPITALS
CURVE = {"trait": "agreement-ever", "cuts": [1], "values_micro": [0, 4_000_000]}


@pytest.fixture(scope="module")
def eventful():
    """Rounds that end in many ways, a lapsed ceremony, a complaint, two classifiers, group tests
    of which one lapses."""
    scenario = at("enrolled")
    plan = terms(rounds=4)
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    adopt(scenario, "first", [CURVE])
    forged(scenario, plan, 1)
    complain(scenario)
    without(scenario, plan, 2)
    adopt(scenario, "second", [])
    spoiled(scenario, plan, 3)
    scenario.round(plan, 4)
    lapsed(scenario, terms("plan-2"))
    grouped(scenario)
    return scenario


def adopt(scenario, name, curves):
    args = {"classifier_id": name, "bias_micro": -1_000_000, "curves": curves}
    args |= {"flag_micro": 1_500_000, "trained_on": "simulated consortia", "simulated": True}
    proposed = scenario.do(ONE, "classifier:Propose", args | {"recipe_sha256": sha("recipe")})
    for hospital in (ONE, TWO, THREE):
        scenario.vote(hospital, "classifier", name, proposed["terms_sha256"])
    scenario.do(TWO, "classifier:Advance", {"classifier_id": name})


def forged(scenario, plan, number):
    scenario.open(plan, number)
    scenario.submit(plan, number)
    scenario.advance(plan, number)
    scenario.attest(plan, number, who=(ONE, TWO, THREE))
    scenario.do(FOUR, "round:Attest", attest_args(plan, number, "forged"))
    scenario.advance(plan, number)
    for step in (scenario.share, scenario.evaluate):
        step(plan, number)
        scenario.advance(plan, number)


def without(scenario, plan, number):
    scenario.open(plan, number)
    scenario.submit(plan, number, who=(ONE, TWO, THREE))
    scenario.wait()
    scenario.advance(plan, number)
    scenario.attest(plan, number, who=(ONE, TWO))
    scenario.wait()
    scenario.advance(plan, number)


def spoiled(scenario, plan, number):
    scenario.open(plan, number)
    for step in (scenario.submit, scenario.attest, scenario.share):
        step(plan, number)
        scenario.advance(plan, number)
    share = ref(f"share {number} {ONE}")["sha256"]
    args = {"plan_id": plan.plan_id, "round": number, "subject_sha256": share, "code": "MF-7021"}
    for hospital in (TWO, THREE, FOUR):
        scenario.do(hospital, "round:Object", args)
    scenario.wait()
    scenario.advance(plan, number)


def complain(scenario):
    args = {"complaint_id": "c1", "subject": "node", "subject_id": f"{FOUR}/node1"}
    args |= {"reason": "forged", "evidence_sha256": sha("log")}
    opened = scenario.do(ONE, "complaint:Open", args)
    for hospital in (ONE, TWO, THREE):
        scenario.vote(hospital, "complaint", "c1", opened["terms_sha256"])
    scenario.do(ONE, "complaint:Advance", {"complaint_id": "c1"})


def lapsed(scenario, plan):
    for step in (scenario.propose, scenario.consent, scenario.approve):
        step(plan)
    scenario.do(ONE, "ceremony:Commit", commit_args(plan, ONE))
    scenario.wait()
    scenario.advance_ceremony(plan)


def grouped(scenario):
    allowed = AcceptanceTerms(group_tests=2, least_group=2)
    plan = terms("plan-3", rounds=3).model_copy(update={"acceptance": allowed})
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(plan)
    scenario.round(plan, 1)
    scenario.group_test(plan, 1, harmed=(TWO,))
    scenario.round(plan, 2)
    scenario.wait()
    which = {"plan_id": plan.plan_id, "round": 2}
    assert scenario.do(ONE, "grouptest:Advance", which)["absent"] == list(HOSPITALS)


def test_every_reputation_follows_from_the_ledger(eventful):
    ledger = proven(eventful.ledger)

    kinds = {keys.parted(key)[1][0] for key in ledger.writings if "reputation" in key}
    fallen = eventful.asset(keys.reputation("node", f"{FOUR}/node1"))
    assert kinds == {"hospital", "node", "dataset", "model"}
    assert fallen["tallies"]["complaint"][BAD] == 1
    assert fallen["suspicion_micro"] == -1_000_000  # of the second classifier
    assert eventful.asset(keys.reputation("hospital", ONE))["tallies"]["share"][BAD] == 1
    assert eventful.asset(keys.reputation("node", f"{TWO}/node1"))["tallies"]["quality"][GOOD] == 1
    assert list(reputations.check(ledger)) == []


def test_what_is_booked_page_by_page_follows_too(monkeypatch):
    monkeypatch.setattr(cohort, "PAGE", 1)
    scenario = at("active")
    plan = terms()
    scenario.open(plan)
    for page in (1, 2, 3):
        scenario.do(ONE, "round:Advance", {"plan_id": PLAN, "number": 1, "page": page})
    scenario.submit(plan, who=(ONE, TWO, THREE))
    scenario.wait()
    for page in range(4):
        scenario.do(ONE, "round:Advance", {"plan_id": PLAN, "number": 1, "page": page})
    for step in (scenario.attest, scenario.share, scenario.evaluate):
        step(plan)
        scenario.do(ONE, "round:Advance", {"plan_id": PLAN, "number": 1})
    for page in (1, 2, 3):
        scenario.do(TWO, "round:Advance", {"plan_id": PLAN, "number": 1, "page": page})
        scenario.now += 1
    ledger = proven(scenario.ledger)

    assert scenario.asset(keys.round_(PLAN, 1))["booked"] == 4
    assert scenario.asset(keys.reputation("node", f"{FOUR}/node1"))["tallies"]["update"][BAD] == 1
    assert list(reputations.check(ledger)) == []


@pytest.mark.parametrize(
    ("subject", "changes"),
    [
        (("node", f"{FOUR}/node1"), {"score_milli": 999}),
        (("hospital", ONE), {"validator": "node9"}),
        (("node", f"{TWO}/node1"), {"flagged": True}),
        (("dataset", f"{TWO.lower()}-data"), None),
    ],
)
def test_a_reputation_that_does_not_follow_is_found(eventful, subject, changes):
    ledger = proven(eventful.ledger)
    key = keys.composite(keys.reputation(*subject))
    entry = ledger.state.get(NAMESPACE, key)
    value = None
    if changes is not None:
        value = canonical.dumps(json.loads(entry.value) | changes)
    ledger.state.apply(Change(NAMESPACE, key, True, value), entry.version)

    (finding,) = reputations.check(ledger)

    assert finding.code == Code.REPUTATION_WRONG
    assert subject[1] in finding.message


def test_an_event_that_was_never_booked_is_found(eventful):
    ledger = proven(eventful.ledger)
    del ledger.writings[keys.composite(keys.complaint("c1"))]

    (finding,) = reputations.check(ledger)

    assert f"node {FOUR}/node1" in finding.message
