"""An auditor finds what a round left out of its sum without the objections that it takes, and whom
it named without the proofs and verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.replayed import proven
from support.scenario import (
    HOSPITALS,
    PLAN,
    Scenario,
    at,
    attest_args,
    evaluate_args,
    ref,
    sha,
    share_args,
    terms,
)

from chaincode.schema import canonical, keys
from chaincode.schema.errors import Code
from chaincode.schema.rounds import WholeRound
from chaincode.schema.sums import attested_sha256
from client.audit import graph, lineage, reputations, rounds
from client.audit.proof import NAMESPACE, Ledger
from client.audit.state import Change

ONE, TWO, THREE, FOUR = HOSPITALS
ROUND = keys.composite(keys.round_(PLAN, 1))
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def ledger() -> Ledger:
    """A round that went on without the second hospital's update, to which a minority's liar
    objected in vain as well."""
    scenario = at("sealed")
    attest(scenario, (FOUR,))
    scenario.object(terms(), TWO, who=(ONE, THREE, FOUR))
    scenario.object(terms(), THREE, who=(TWO,))
    scenario.advance(terms())
    summed = {"aggregate_sha256": attest(scenario, HOSPITALS)}
    scenario.advance(terms())
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:SubmitShare", share_args(terms(), hospital) | summed)
    scenario.advance(terms())
    scenario.evaluate(terms())
    scenario.advance(terms())
    return proven(scenario.ledger)


def attest(scenario: Scenario, who: tuple[str, ...]) -> str:
    """These hospitals attest the sum of the updates that are left; its hash."""
    state = scenario.round_state(terms())
    args = attest_args(terms(), dropped=len(state["dropped"]))
    whole = WholeRound.model_validate_json(json.dumps(state))
    digest = attested_sha256(terms(), sha("collective key"), whole, args["aggregate"]["sha256"])
    for hospital in who:
        scenario.do(hospital, "round:Attest", args | {"aggregate_sha256": digest})
    return digest


def _edit(ledger: Ledger, key: str, edit: Edit) -> None:
    """Another history: every writing of a key is edited."""
    ledger.writings[key] = [
        replace(w, value=_edited(w.value or b"", edit)) for w in ledger.writings[key]
    ]
    entry = ledger.state.get(NAMESPACE, key)
    assert entry is not None
    value = ledger.writings[key][-1].value
    ledger.state.apply(Change(NAMESPACE, key, True, value), entry.version)


def _edited(value: bytes, edit: Edit) -> bytes:
    asset = json.loads(value)
    edit(asset)
    return canonical.dumps(asset)


def test_a_round_that_dropped_an_update_is_proven_and_says_why(ledger: Ledger) -> None:
    checks = (rounds.check, reputations.check, graph.check, lineage.check_privacy)
    assert [finding for check in checks for finding in check(ledger)] == []

    step, _ = lineage.of(ledger, sha("model 1")).steps
    assert [fact.name.split("/")[2] for fact in step.updates] == [ONE, THREE, FOUR]
    assert [fact.name.split("/")[2] for fact in step.objections] == [ONE, THREE, FOUR]
    assert {fact.says["code"] for fact in step.objections} == {"MF-6011"}
    assert step.round is not None
    assert step.round.says["dropped"] == [f"node1 of {TWO}"]
    assert len(step.attestations) == 4


def _another(round_: dict[str, Any]) -> None:
    """Leave out the update to which only one hospital objects."""
    for update in round_.get("dropped", ()):
        content = sha(f"update {PLAN} 1 {THREE}")
        update |= {"msp_id": THREE, "update_sha256": content, "objectors": [TWO]}


def _more(round_: dict[str, Any]) -> None:
    if round_.get("dropped"):
        first = round_["dropped"][0] | {"msp_id": FOUR}
        first |= {"update_sha256": sha(f"update {PLAN} 1 {FOUR}")}
        round_["dropped"].append(first)


def _later(round_: dict[str, Any]) -> None:
    """Drop it when the sum is accepted already."""
    if "aggregate_sha256" not in round_:
        round_["dropped"] = []


def _untold(round_: dict[str, Any]) -> None:
    """Say nothing of one of the objectors."""
    for update in round_.get("dropped", ()):
        update["objectors"].pop()


@pytest.mark.parametrize("edit", [_another, _more, _later, _untold])
def test_an_update_that_was_left_out_without_a_majority_s_objections_is_found(
    ledger: Ledger, edit: Edit
) -> None:
    _edit(ledger, ROUND, edit)

    codes = {finding.code for finding in rounds.check(ledger)}

    assert codes == {Code.LINEAGE_BROKEN}


@pytest.fixture
def dispute() -> Ledger:
    """A round of whose shares one was not proven in time, and one to most hospitals' disbelief."""
    scenario, which = at("sealed"), {"plan_id": PLAN, "round": 1}
    summed = {"aggregate_sha256": attest(scenario, HOSPITALS)}
    scenario.advance(terms())
    nothing = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 0}
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:SubmitShare", share_args(terms(), hospital) | summed)
    scenario.advance(terms())
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))
    scenario.advance(terms())
    for hospital in (ONE, THREE, FOUR):
        scenario.do(hospital, "dispute:Prove", {**which, "proof": ref(f"proof {hospital}")})
    scenario.wait()
    scenario.advance(terms())
    for hospital in HOSPITALS:
        culprits = [ONE, FOUR] if hospital == TWO else [FOUR]
        scenario.do(hospital, "dispute:Judge", {**which, "culprits": culprits})
    scenario.advance(terms())
    return proven(scenario.ledger)


def test_whom_a_dispute_names_follows_from_proofs_and_verdicts(dispute: Ledger) -> None:
    checks = (rounds.check, reputations.check, graph.check)

    assert [finding for check in checks for finding in check(dispute)] == []


@pytest.mark.parametrize("named", [[], [TWO], [ONE, TWO, FOUR], [THREE]])
def test_whom_a_round_names_otherwise_is_found(dispute: Ledger, named: list[str]) -> None:
    def edit(round_: dict[str, Any]) -> None:
        if round_["status"] == "FAILED":
            round_["unproven"] = named

    _edit(dispute, ROUND, edit)

    messages = {finding.message for finding in rounds.check(dispute)}

    assert messages == {f"round 1 of {PLAN}: whom it names does not follow from proofs"}


def test_an_objection_that_came_after_is_no_reason(ledger: Ledger) -> None:
    key = keys.composite(keys.objection(PLAN, 1, FOUR, sha(f"update {PLAN} 1 {TWO}")))
    ledger.writings[key] = [replace(w, block=10**6) for w in ledger.writings[key]]

    (finding,) = rounds.check(ledger)

    assert finding.code == Code.LINEAGE_BROKEN
    assert "does not follow from objections" in finding.message


@pytest.mark.parametrize(
    ("key", "edit"),
    [
        # A weight that does not follow, and an update that hospitals did not sum.
        (
            keys.contributions(PLAN, 1, 0),
            lambda page: page["contributions"][3].update(standing_milli=1),
        ),
        (
            keys.update(PLAN, 1, FOUR, "node1"),
            lambda update: update["update"].update(sha256=sha("another")),
        ),
        (
            keys.ceremony(PLAN),
            lambda ceremony: ceremony.update(collective_key_sha256=sha("another")),
        ),
    ],
)
def test_a_sum_of_something_else_than_the_round_s_updates_is_found(
    ledger: Ledger, key: keys.Key, edit: Edit
) -> None:
    _edit(ledger, keys.composite(key), edit)

    (finding,) = rounds.check(ledger)

    assert "too few hospitals attest" in finding.message


def test_attestations_of_the_sum_with_the_dropped_update_do_not_count(ledger: Ledger) -> None:
    for hospital in (ONE, TWO):
        key = keys.composite(keys.attestation(PLAN, 1, 1, hospital))
        _edit(ledger, key, lambda attestation: attestation.update(dropped=0))

    (finding,) = rounds.check(ledger)

    assert "too few hospitals attest" in finding.message
