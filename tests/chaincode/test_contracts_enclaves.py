"""Attestations that an enclave makes: verified before they count, as one among the quorum."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from support.enclave import MEASURED, Kernel, chip
from support.replayed import proven
from support.scenario import HOSPITALS, PLAN, Scenario, at, attest_args, live, terms

from chaincode.schema.enclaves import AMD_ROOTS, Attested
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import Plan, PlanTerms
from chaincode.schema.rounds import RoundPage, RoundView
from client.audit import lineage
from trainer.enclave.enclave import Enclave
from trainer.enclave.guest import SevSnpGuest
from trainer.enclave.simulated import SimulatedChip, measurement
from trainer.node.duties import Snapshot
from trainer.node.enclave import EnclaveAttester

ONE, TWO, THREE, FOUR = HOSPITALS
NOW = Scenario().now


def pinned(**changes: Any) -> PlanTerms:
    """A plan that has the first hospital attest by an enclave."""
    enclave = chip().terms(ONE, NOW).model_copy(update=changes)
    return terms().model_copy(update={"enclaves": (enclave,)})


TERMS = pinned()


@lru_cache(maxsize=1)
def _sealed() -> Scenario:
    scenario = at("enrolled")
    for stage in ("proposed", "approved", "active", "open", "sealed"):
        live(scenario, stage, TERMS)
    return scenario


def sealed() -> Scenario:
    return copy.deepcopy(_sealed())


def attested(scenario: Scenario, **changes: Any) -> Attested:
    """What an honest enclave reports on."""
    facts = {
        "plan_id": PLAN,
        "round": 1,
        "terms_sha256": TERMS.sha256,
        "opened_at": scenario.round_state(TERMS)["opened_at"],
        "aggregate_sha256": attest_args(TERMS)["aggregate_sha256"],
    }
    return Attested(**{**facts, **changes})


def args(scenario: Scenario, **changes: Any) -> dict[str, Any]:
    """An honest attestation, or the evidence of another aggregate."""
    evidence = chip().evidence(attested(scenario, **changes))
    return {**attest_args(TERMS), "evidence": evidence.model_dump(mode="json")}


def test_an_enclave_s_attestation_counts_as_its_hospital_s_one() -> None:
    scenario = sealed()
    scenario.do(ONE, "round:Attest", args(scenario))
    again = scenario.refused(ONE, "round:Attest", args(scenario))
    alone = scenario.refused(TWO, "round:Advance", {"plan_id": PLAN, "number": 1})
    scenario.attest(TERMS, who=(TWO,))
    both = scenario.refused(TWO, "round:Advance", {"plan_id": PLAN, "number": 1})
    view = scenario.do(TWO, "round:Get", {"plan_id": PLAN, "number": 1})
    scenario.attest(TERMS, who=(THREE,))

    assert [bool(a["evidence_sha256"]) for a in view["attestations"]] == [True, False]
    assert again.code == Code.DUPLICATE_CONTRIBUTION
    # Evidence makes one attestation credible, and takes no other's place.
    assert (alone.code, both.code) == (Code.NOT_YET, Code.NOT_YET)
    assert scenario.advance(TERMS)["status"] == "AGGREGATED"


def test_a_model_s_lineage_tells_whose_attestation_an_enclave_made() -> None:
    scenario = sealed()
    scenario.do(ONE, "round:Attest", args(scenario))
    scenario.attest(TERMS, who=(TWO, THREE))
    scenario.advance(TERMS)
    for step in (scenario.share, scenario.evaluate):
        step(TERMS)
        ended = scenario.advance(TERMS)

    (step, *_) = lineage.of(proven(scenario.ledger), ended["model_sha256"]).steps

    assert [bool(a.says.get("evidence_sha256")) for a in step.attestations] == [True, False, False]


def test_without_evidence_the_hospital_attests_nothing_and_others_need_none() -> None:
    scenario = sealed()

    bare = scenario.refused(ONE, "round:Attest", attest_args(TERMS))
    borrowed = scenario.refused(TWO, "round:Attest", args(scenario))

    assert (bare.code, borrowed.code) == (Code.EVIDENCE_REFUSED, Code.EVIDENCE_REFUSED)


@pytest.mark.parametrize(
    "changes",
    [
        {"aggregate_sha256": "ab" * 32},
        {"opened_at": 1},
        {"round": 2},
        {"terms_sha256": "ab" * 32},
        {"plan_id": "another"},
    ],
)
def test_evidence_of_anything_else_is_refused(changes: dict[str, Any]) -> None:
    scenario = sealed()
    refused = scenario.refused(ONE, "round:Attest", args(scenario, **changes))

    assert refused.code == Code.EVIDENCE_REFUSED
    assert "another aggregate" in refused.message


def test_another_program_chip_or_root_is_refused() -> None:
    scenario = sealed()
    honest = args(scenario)
    other = chip("another").evidence(attested(scenario)).model_dump(mode="json")
    program = chip().report(attested(scenario).report_data, bytes(48)).hex()
    mixed = {"report": other["report"], "chain": honest["evidence"]["chain"]}

    for evidence, why in (
        (other, "root that the plan pins"),
        ({**honest["evidence"], "report": program}, "another program"),
        (mixed, "has not signed"),
    ):
        refused = scenario.refused(ONE, "round:Attest", {**honest, "evidence": evidence})
        assert refused.code == Code.EVIDENCE_REFUSED
        assert why in refused.message


@pytest.mark.parametrize(
    "plan",
    [
        pinned(simulated=False),
        pinned(root_sha256=next(iter(AMD_ROOTS))),
        pinned(msp_id="Hospital9MSP"),
        TERMS.model_copy(update={"enclaves": TERMS.enclaves * 2}),
    ],
)
def test_a_plan_cannot_pass_a_simulation_off_as_an_enclave(plan: PlanTerms) -> None:
    assert at("enrolled").refused(ONE, "plan:Propose", plan).code == Code.PLAN_INVALID


def test_the_simulated_measurement_is_of_the_program_that_adds_up() -> None:
    assert measurement() == measurement()
    assert TERMS.enclaves[0].simulated


def snapshot(scenario: Scenario, plan: PlanTerms) -> Snapshot:
    """What a node sees of the plan's first round, once it is sealed."""
    for stage in ("proposed", "approved", "active", "open", "sealed"):
        live(scenario, stage, plan)
    found = scenario.do(ONE, "plan:Get", {"plan_id": PLAN})["plan"]
    page = scenario.do(ONE, "round:Get", {"plan_id": PLAN, "number": 1})
    return Snapshot(
        Plan.model_validate_json(json.dumps(found)),
        None,
        RoundView.of([RoundPage.model_validate_json(json.dumps(page))]),
        HOSPITALS,
    )


@pytest.mark.parametrize("simulated", [True, False])
def test_a_node_s_evidence_satisfies_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: bool
) -> None:
    kept = SimulatedChip.kept(tmp_path / "chip")
    enclave: Enclave = kept
    if not simulated:
        # A world in which this chip is AMD's, and a kernel hands its reports out.
        monkeypatch.setitem(AMD_ROOTS, hashlib.sha256(kept.chain[2]).hexdigest(), "Milan")
        (tmp_path / "requests").mkdir()
        kernel = Kernel(tmp_path / "requests", lambda data: kept.report(data, MEASURED))
        enclave = SevSnpGuest.here(tmp_path / "chip", kernel.request)
    plan = terms().model_copy(update={"enclaves": (enclave.terms(ONE, NOW),)})
    scenario, attestation = at("enrolled"), attest_args(plan)
    now = snapshot(scenario, plan)

    evidence = EnclaveAttester(ONE, enclave)(now, attestation["aggregate_sha256"])

    assert evidence is not None
    assert EnclaveAttester(TWO, enclave)(now, attestation["aggregate_sha256"]) is None
    scenario.do(ONE, "round:Attest", {**attestation, "evidence": evidence.model_dump(mode="json")})
    page = scenario.do(TWO, "round:Get", {"plan_id": PLAN, "number": 1})
    assert [a["evidence_sha256"] for a in page["attestations"]] == [evidence.sha256]


def test_a_real_enclave_and_a_simulated_one_do_not_stand_in_for_each_other() -> None:
    now = snapshot(at("enrolled"), TERMS)
    real = now.plan.terms.model_copy(update={"enclaves": (pinned(simulated=False).enclaves[0],)})
    wants_real = replace(now, plan=now.plan.model_copy(update={"terms": real}))

    with pytest.raises(MedFabricError, match=r"MF-9104.*wants a real enclave"):
        EnclaveAttester(ONE, chip())(wants_real, "ab" * 32)
    with pytest.raises(MedFabricError, match=r"MF-9104.*wants a simulated enclave"):
        EnclaveAttester(ONE, SevSnpGuest(chip().chain))(now, "ab" * 32)


def test_the_software_attester_s_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    made, again = SimulatedChip.kept(tmp_path), SimulatedChip.kept(tmp_path)

    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    assert made.chain == again.chain
