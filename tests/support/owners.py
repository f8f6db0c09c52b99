"""A hospital with an asset of every kind that belongs to one hospital, on any ledger."""

from __future__ import annotations

from typing import Any

from chaincode.schema.policies import AT_ONCE, Owned
from support.scenario import DELTA, HOSPITALS, Scenario, dataset_of, ref, sha, terms
from support.studies import Steps, study_terms

ONE, TWO = HOSPITALS[:2]
UNTIL = 2_000_000_000
_TIMES = {"ceremony_seconds": 1000, "update_seconds": 1000, "stage_seconds": 1000}
TRAINED = terms("trained", **_TIMES)
_TO_TWO = {"model_id": "mine", "recipient_msp": TWO, "recipient_node": "node1"}
_GRANT = {**_TO_TWO, "key": ref("key"), "until": UNTIL}
TABLE = {
    "dataset_id": dataset_of(ONE),
    "release_id": "table-1",
    "mechanism": "class-marginals-v1",
    "tables": 20,
    "noise": 200,
    "records": 100,
    "descriptor_sha256": sha("descriptor"),
    "sha256": sha("table"),
    "size_bytes": 1000,
}


def _budget(number: int) -> dict[str, Any]:
    return {"budget_epsilon_micro": 20_000_000 + number, "delta_nano": DELTA}


def own_everything(life: Scenario) -> None:
    """From nothing to a consortium whose first hospital owns an asset of every kind."""
    life.found()
    life.enrol()
    life.do(ONE, "dataset:Release", TABLE)
    life.do(ONE, "storage:Hold", {"content": ref("kept"), "until": UNTIL})
    model = {"model_id": "mine", "kind": "personal", "base_sha256": None}
    mechanism = {"batch_size": 10, "noise_multiplier_micro": 20_000_000, "steps": 5}
    content = {"plain_sha256": sha("plain"), "content": ref("envelope")}
    trained = {"dataset_id": dataset_of(ONE), **mechanism}
    life.do(ONE, "sharing:Publish", {**model, **content, "trained": trained})
    life.do(ONE, "sharing:Grant", _GRANT)
    for step in (life.propose, life.consent, life.approve, life.ceremony):
        step(TRAINED)
    study = Steps(life, TRAINED, study_terms(TRAINED, stage_seconds=100_000))
    study.propose()
    study.consent()
    life.do(ONE, "hospital:SetBudget", _budget(1))
    life.do(ONE, "study:Limit", {"dataset_id": dataset_of(ONE), "most_studies": 1})


def rewrite(life: Scenario, number: int) -> None:
    """Change what the first hospital owns, of every kind that is changed without others."""
    budget = {"budget_epsilon_micro": 20_000_000 + number}
    life.do(ONE, "dataset:SetBudget", {"dataset_id": dataset_of(ONE), **budget})
    life.do(ONE, "hospital:SetBudget", _budget(number))
    life.do(ONE, "study:Limit", {"dataset_id": dataset_of(ONE), "most_studies": number})
    consent = {"dataset_id": dataset_of(ONE), "plan_id": "trained", "terms_sha256": TRAINED.sha256}
    life.do(ONE, "dataset:Consent" if number % 2 else "dataset:Withdraw", consent)
    study = study_terms(TRAINED, stage_seconds=100_000)
    which = {"study_id": study.study_id, "dataset_id": dataset_of(ONE)}
    given = {"terms_sha256": study.sha256, "given": bool(number % 2)}
    life.do(ONE, "study:Consent", {**which, **given})
    life.do(ONE, "sharing:Grant", {**_GRANT, "until": UNTIL + number})
    life.do(ONE, "storage:Hold", {"content": ref("kept"), "until": UNTIL + number})
    for change in ("Suspend", "Resume"):
        life.do(ONE, f"node:{change}", {"node_id": "node1", "reason": "maintenance"})


def old_policies(life: Scenario, msp_id: str) -> list[dict[str, Any]]:
    """Whatever of a hospital's has a policy of other members than today's."""
    return [
        policy
        for kind in Owned
        for policy in life.do(msp_id, "policy:List", {"msp_id": msp_id, "kind": kind})["old"]
    ]


def renew(life: Scenario, msp_id: str) -> set[str]:
    """Renew all of it; the kinds that were renewed."""
    old = [policy["key"] for policy in old_policies(life, msp_id)]
    assert len(old) <= AT_ONCE
    life.do(msp_id, "policy:Renew", {"keys": old, "complete": True})
    return {key["kind"] for key in old}
