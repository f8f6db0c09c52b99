"""An auditor finds a key that went on otherwise than its holders voted for and posted."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.leaving import LEAVES, leaving, next_plan
from support.replayed import proven
from support.scenario import HOSPITALS, PLAN, sha, terms

from chaincode.schema import canonical, keys
from chaincode.schema.errors import Code
from client.audit import card, graph, handovers, lineage, reputations
from client.audit.proof import NAMESPACE, Ledger
from client.audit.state import Change

ONE, TWO, THREE, FOUR = HOSPITALS
NEXT = "next"


@pytest.fixture
def ledger() -> Ledger:
    """A key that all four are needed for, handed on to three of them."""
    scenario, plan = leaving()
    scenario.hand_on(plan)
    return proven(scenario.ledger)


def _edit(ledger: Ledger, key: keys.Key, edit: Callable[[dict[str, Any]], None]) -> None:
    """Another history: every writing of a key is edited."""
    composite = keys.composite(key)
    edited = []
    for writing in ledger.writings[composite]:
        asset = json.loads(writing.value or b"")
        edit(asset)
        edited.append(replace(writing, value=canonical.dumps(asset)))
    ledger.writings[composite] = edited
    entry = ledger.state.get(NAMESPACE, composite)
    assert entry is not None
    ledger.state.apply(Change(NAMESPACE, composite, True, edited[-1].value), entry.version)


def _vote(hospital: str) -> keys.Key:
    return keys.vote("plan", NEXT, next_plan().sha256, hospital)


def test_a_key_that_went_on_without_a_hospital_is_proven(ledger: Ledger) -> None:
    checks = (handovers.check, reputations.check, graph.check, lineage.check_privacy)

    assert [finding for check in checks for finding in check(ledger)] == []
    assert (
        LEAVES
        in json.loads(ledger.writings[keys.composite(keys.ceremony(NEXT))][0].value)["dealers"]
    )


@pytest.mark.parametrize(
    ("key", "edit", "why"),
    [
        (keys.ceremony(NEXT), {"dealers": [ONE, TWO, FOUR]}, "does not follow from the votes"),
        (keys.ceremony(NEXT), {"dealers": [THREE, ONE, TWO, FOUR]}, "follow from the votes"),
        (keys.ceremony(NEXT), {"hospitals": list(HOSPITALS)}, "follow from the votes"),
        (_vote(THREE), {"approve": False}, "follow from the votes"),
        (keys.consortium(), {"hospitals": [ONE, TWO, FOUR]}, "follow from the votes"),
        (keys.key_share(NEXT, THREE), {"key": None}, f"{THREE} has not handed it on"),
        (
            keys.key_confirmation(NEXT, TWO),
            {"collective_key_sha256": sha("another key")},
            f"{TWO} has not confirmed it",
        ),
        (
            keys.ceremony(PLAN),
            {"collective_key_sha256": sha("another key")},
            f"the key is not that of {PLAN}",
        ),
    ],
)
def test_a_key_that_went_on_otherwise_is_found(
    ledger: Ledger, key: keys.Key, edit: dict[str, Any], why: str
) -> None:
    _edit(ledger, key, lambda asset: asset.update(edit))

    (finding,) = handovers.check(ledger)

    assert finding.code == Code.LINEAGE_BROKEN
    assert why in finding.message


@pytest.mark.parametrize("late", [_vote(THREE), keys.key_share(NEXT, THREE)])
def test_what_came_later_does_not_count(ledger: Ledger, late: keys.Key) -> None:
    composite = keys.composite(late)
    ledger.writings[composite] = [replace(w, block=10**6) for w in ledger.writings[composite]]

    assert [finding.code for finding in handovers.check(ledger)] == [Code.LINEAGE_BROKEN]


def test_a_key_of_a_plans_own_is_no_handover(ledger: Ledger) -> None:
    _edit(ledger, keys.plan_terms(NEXT), lambda asset: asset.update({"key": None}))

    assert terms().key is None
    assert list(handovers.check(ledger)) == []


def test_a_model_s_lineage_tells_who_holds_its_key_and_who_handed_it_on() -> None:
    scenario, plan = leaving()
    scenario.hand_on(plan)
    scenario.consent(plan)
    scenario.open(plan)
    for step in (scenario.submit, scenario.attest, scenario.share, scenario.evaluate):
        step(plan, who=plan.hospitals)
        scenario.advance(plan)
    ledger = proven(scenario.ledger)

    found = lineage.of(ledger, scenario.round_state(plan)["model_sha256"])
    last, first = found.ceremonies

    assert (last.name, first.name) == (NEXT, PLAN)
    assert last.says["key"] == first.says["key"] == sha("collective key")
    assert (first.says["hospitals"], first.says["dealers"]) == (list(HOSPITALS), list(HOSPITALS))
    assert last.says["hospitals"] == [ONE, TWO, FOUR]
    assert last.says["dealers"] == [ONE, TWO, FOUR, LEAVES]
    assert f"ceremony {NEXT}: key" in lineage.text(found)
    handed_on = f"made for plan {PLAN}, and handed on to this one by {ONE}, {TWO}, {FOUR}, {LEAVES}"
    assert handed_on in card.markdown(card.of(ledger, found))
