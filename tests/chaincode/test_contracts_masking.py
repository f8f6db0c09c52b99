"""Masked rounds on the ledger: keys, updates, shares; and never both secrets of one node."""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from typing import Any

import pytest
from support.masking import (
    CHANNEL_KEY,
    bring,
    dealt,
    key,
    keys_args,
    masked_terms,
    transport_args,
    unmask,
    unmask_args,
)
from support.scenario import HOSPITALS, PLAN, Scenario, at, commit_args, share_args, terms

from chaincode.contracts import cohort
from chaincode.contracts.masking import overweight
from chaincode.schema import canonical, keys, masking
from chaincode.schema.encryption import Workload
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import Masked, MaskingTerms
from chaincode.schema.plans import PlanTerms
from chaincode.shim.stub import composite_key

ONE, TWO, THREE, FOUR = HOSPITALS
TERMS = masked_terms(PLAN)


@lru_cache(maxsize=8)
def _reached(stage: str) -> Scenario:
    return bring(at("enrolled"), TERMS, stage)


def reached(stage: str) -> Scenario:
    """A scenario of its own at a stage of the masked plan."""
    return copy.deepcopy(_reached(stage))


def without(gone: str) -> Scenario:
    """AGGREGATED, the update of one hospital's node missing."""
    scenario = reached("open")
    others = tuple(h for h in HOSPITALS if h != gone)
    scenario.submit(TERMS, who=others)
    scenario.wait()
    scenario.advance(TERMS)
    scenario.attest(TERMS, who=others)
    scenario.advance(TERMS)
    return scenario


# the plan


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"threshold": 2}, "more than half"),
        ({"threshold": 5}, "no more than all"),
        ({"weight_bits": 2}, "resolution"),
        ({"levels": 2**40, "weight_bits": 14}, "decoded exactly"),
    ],
)
def test_terms_that_do_not_do_are_refused(changes: dict[str, int], why: str) -> None:
    hidden = TERMS.encryption.model_copy(update=changes)
    plan = TERMS.model_copy(update={"encryption": hidden})

    refused = at("enrolled").refused(ONE, "plan:Propose", plan)

    assert refused.code == Code.PLAN_INVALID
    assert why in refused.message


def test_masks_are_for_as_many_nodes_as_are_on_a_page() -> None:
    assert masking.MOST_NODES == cohort.PAGE
    refused = masking.refusal(TERMS.encryption, Workload(4, 65, 62, 1))  # type: ignore[arg-type]
    assert refused is not None
    assert "every pair" in refused


def test_terms_are_chosen_for_the_error_or_refused() -> None:
    work = Workload(4, 4, 1000, 1)
    chosen = masking.choose(work, clip_micro=8_000_000, error_nano=10_000, threshold=3)

    assert masking.refusal(chosen, work) is None
    assert 8e9 / 2 / chosen.levels <= 10_000
    assert chosen.width == 4
    with pytest.raises(MedFabricError, match="MF-6006"):
        masking.choose(work, clip_micro=8_000_000, error_nano=10_000, threshold=2)


def test_a_masked_plan_needs_a_transport_key_of_each_hospital_and_nothing_else() -> None:
    scenario = reached("approved")
    committed = commit_args(TERMS, ONE)

    assert scenario.refused(ONE, "ceremony:Commit", committed).code == Code.BAD_ARGUMENT
    scenario.post_all(TERMS, "ceremony:Commit", transport_args)
    assert scenario.advance_ceremony(TERMS)["status"] == "DONE"
    plain = transport_args(terms(), ONE)
    assert at("approved").refused(ONE, "ceremony:Commit", plain).code == Code.BAD_ARGUMENT


# the stages


def test_a_round_is_keyed_before_it_is_open() -> None:
    scenario = reached("keying")

    early = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(TERMS, ONE))
    waiting = scenario.refused(ONE, "round:Advance", {"plan_id": PLAN, "number": 1})

    assert scenario.round_state(TERMS)["status"] == "KEYING"
    assert (early.code, waiting.code) == (Code.BAD_STATE, Code.NOT_YET)


def test_a_masked_round_ends_published() -> None:
    scenario = reached("published")

    assert scenario.round_state(TERMS)["status"] == "PUBLISHED"
    view = scenario.do(TWO, "round:Get", {"plan_id": PLAN, "number": 1})
    assert len(view["mask_keys"]) == len(view["unmaskings"]) == 4
    assert {n["weight"] for n in view["masking"]["nodes"]} == {256}


def test_a_node_without_keys_is_left_out_and_not_waited_for() -> None:
    scenario = reached("keying")
    key(scenario, TERMS, (ONE, TWO, THREE))
    scenario.wait()
    scenario.advance(TERMS)
    late = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(TERMS, FOUR))
    scenario.submit(TERMS, who=(ONE, TWO, THREE))

    sealed = scenario.advance(TERMS)

    assert late.code == Code.NOT_A_PARTICIPANT
    assert sealed["status"] == "SEALED"
    assert [node["msp_id"] for node in sealed["missing"]] == [FOUR]


def test_too_few_keys_fail_the_round_by_name() -> None:
    scenario = reached("keying")
    key(scenario, TERMS, (ONE, TWO))
    scenario.wait()

    failed = scenario.advance(TERMS)

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.QUORUM_MISSED)
    assert f"node1 of {THREE}, node1 of {FOUR}" in failed["reason"]


def test_weights_are_those_that_were_fixed_with_the_keys() -> None:
    scenario = reached("open")
    fixed = scenario.do(ONE, "round:Get", {"plan_id": PLAN, "number": 1})["masking"]["nodes"]
    scenario.submit(TERMS)

    sealed = scenario.advance(TERMS)

    assert [c["weight"] for c in sealed["contributions"]] == [n["weight"] for n in fixed]
    assert sealed["total_weight"] == sum(n["weight"] for n in fixed)


def test_whoever_is_left_must_not_weigh_more_than_the_cap() -> None:
    assert overweight([_weighs(ONE, 384), _weighs(TWO, 384), _weighs(THREE, 256)]) is None
    # The cap of four held; with two of them gone, 97 of 100 are more than three quarters.
    assert overweight([_weighs(ONE, 384), _weighs(FOUR, 10)]) == ONE


def test_what_is_left_without_a_dropped_update_must_not_weigh_more_than_the_cap_either() -> None:
    scenario = reached("sealed")
    name = composite_key(*keys.masking(PLAN, 1))
    fixed = json.loads(scenario.ledger.state[name])
    # With four hospitals the cap is 3/8 of the sum, with three of them half.
    for node, weight in zip(fixed["nodes"], (370, 130, 130, 370), strict=True):
        node["weight"] = weight
    scenario.ledger.state[name] = canonical.dumps(fixed)
    scenario.object(TERMS, FOUR)

    failed = scenario.advance(TERMS)

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.WEIGHT_CAP)
    assert ONE in failed["reason"]
    assert [d["msp_id"] for d in failed["dropped"]] == [FOUR]


def _weighs(msp_id: str, weight: int) -> Masked:
    return Masked(msp_id=msp_id, node_id="node1", weight=weight)


@pytest.mark.parametrize("who", [(ONE, TWO, THREE), (TWO, THREE, FOUR)])
def test_any_threshold_of_hospitals_unmasks(who: tuple[str, ...]) -> None:
    scenario = reached("aggregated")
    unmask(scenario, TERMS, who[:2])
    waiting = scenario.refused(ONE, "round:Advance", {"plan_id": PLAN, "number": 1})
    unmask(scenario, TERMS, who[2:])

    assert waiting.code == Code.NOT_YET
    assert scenario.advance(TERMS)["status"] == "DECRYPTED"


def test_too_few_hospitals_in_time_fail_the_round_by_name() -> None:
    scenario = reached("aggregated")
    unmask(scenario, TERMS, (ONE, TWO))
    scenario.wait()

    failed = scenario.advance(TERMS)

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_MISSING)
    assert failed["absent"] == [THREE, FOUR]


def test_a_node_that_dealt_what_too_few_can_open_is_named() -> None:
    scenario = reached("aggregated")
    for hospital in HOSPITALS:
        args = unmask_args(TERMS, hospital)
        if hospital in (ONE, TWO):
            args["shares"][2] = ""
        scenario.do(hospital, "masking:Unmask", args)

    failed = scenario.advance(TERMS)

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.CONTENT_UNUSABLE)
    assert failed["unusable"]["msp_id"] == THREE


# never both secrets of one node


def test_of_a_node_in_the_sum_only_its_own_mask_s_seed_is_taken() -> None:
    scenario = reached("aggregated")
    args = unmask_args(TERMS, ONE)
    args["shares"][1] = dealt(TWO, ONE, "pairwise")

    refused = scenario.refused(ONE, "masking:Unmask", args)

    assert refused.code == Code.MASK_SHARE_REFUSED


def test_of_a_node_that_dropped_out_only_its_pairwise_key_is_taken() -> None:
    scenario = without(FOUR)
    lie = unmask_args(TERMS, ONE)
    truth = unmask_args(TERMS, ONE, (FOUR,))

    assert scenario.refused(ONE, "masking:Unmask", lie).code == Code.MASK_SHARE_REFUSED
    scenario.do(ONE, "masking:Unmask", truth)
    again = scenario.refused(ONE, "masking:Unmask", {**truth, "shares": [""] * 4})
    assert again.code == Code.DUPLICATE_CONTRIBUTION
    unmask(scenario, TERMS, (TWO, THREE), (FOUR,))
    assert scenario.advance(TERMS)["status"] == "DECRYPTED"


def test_of_a_node_whose_update_was_dropped_only_its_pairwise_key_is_taken() -> None:
    scenario = reached("sealed")
    scenario.object(TERMS, FOUR)
    scenario.advance(TERMS)
    scenario.attest(TERMS)
    scenario.advance(TERMS)
    lie = unmask_args(TERMS, ONE)

    assert scenario.refused(ONE, "masking:Unmask", lie).code == Code.MASK_SHARE_REFUSED
    unmask(scenario, TERMS, (ONE, TWO, THREE), (FOUR,))
    assert scenario.advance(TERMS)["status"] == "DECRYPTED"


def test_who_dropped_out_is_fixed_before_any_share_is_taken() -> None:
    scenario = reached("sealed")

    early = scenario.refused(ONE, "masking:Unmask", unmask_args(TERMS, ONE))
    late = without(FOUR).refused(FOUR, "round:SubmitUpdate", scenario.update_args(TERMS, FOUR))

    assert (early.code, late.code) == (Code.BAD_STATE, Code.BAD_STATE)


def _changed(**changes: Any) -> dict[str, Any]:
    return {**unmask_args(TERMS, ONE), **changes}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (_changed(shares=[dealt(ONE, TWO, "own")] * 4), Code.MASK_SHARE_REFUSED),
        (_changed(shares=[""] * 3), Code.BAD_ARGUMENT),
        (_changed(shares=["ab"] * 4), Code.BAD_ARGUMENT),
        (_changed(aggregate_sha256="ab" * 32), Code.WRONG_AGGREGATE),
        (_changed(round=2), Code.NOT_FOUND),
    ],
)
def test_shares_that_are_not_asked_for_are_refused(args: dict[str, Any], code: Code) -> None:
    assert reached("aggregated").refused(ONE, "masking:Unmask", args).code == code


def _posted(**changes: Any) -> dict[str, Any]:
    return {**keys_args(TERMS, ONE), **changes}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (_posted(channel_key=keys_args(TERMS, ONE)["mask_key"]), Code.BAD_ARGUMENT),
        (_posted(bound=keys_args(TERMS, ONE)["bound"][:3]), Code.BAD_ARGUMENT),
        (_posted(mask_key=CHANNEL_KEY[:-1] + "0"), Code.BAD_ARGUMENT),
        (_posted(round=2), Code.NOT_FOUND),
    ],
)
def test_keys_that_are_wrong_are_refused(args: dict[str, Any], code: Code) -> None:
    assert reached("keying").refused(ONE, "masking:PostKeys", args, "node1").code == code


def test_keys_are_posted_once_and_in_time_by_participants() -> None:
    scenario = reached("keying")
    key(scenario, TERMS, (ONE,))
    again = scenario.refused(ONE, "masking:PostKeys", keys_args(TERMS, ONE), "node1")
    scenario.identity(ONE, "other", "trainer")
    scenario.do(ONE, "node:Register", {**scenario.node_args(ONE, "other"), "roles": ["trainer"]})
    other = scenario.refused(ONE, "masking:PostKeys", keys_args(TERMS, ONE), "other")
    scenario.wait()
    late = scenario.refused(TWO, "masking:PostKeys", keys_args(TERMS, TWO), "node1")

    assert again.code == Code.DUPLICATE_CONTRIBUTION
    assert other.code == Code.NOT_A_PARTICIPANT
    assert late.code == Code.DEADLINE_PASSED


def test_an_encrypted_plan_takes_no_masks_and_a_masked_one_no_decryption_shares() -> None:
    encrypted = at("open").refused(ONE, "masking:PostKeys", keys_args(terms(), ONE), "node1")
    share = reached("aggregated").refused(ONE, "round:SubmitShare", share_args(TERMS, ONE))

    assert (encrypted.code, share.code) == (Code.BAD_STATE, Code.BAD_STATE)


def test_a_hospital_that_leaves_costs_nothing_while_enough_remain() -> None:
    scenario = reached("aggregated")
    scenario.do(FOUR, "consortium:Leave", {"reason": "merged"})
    unmask(scenario, TERMS, (ONE, TWO))
    assert scenario.refused(ONE, "round:Advance", {"plan_id": PLAN, "number": 1})
    unmask(scenario, TERMS, (THREE,))

    assert scenario.advance(TERMS)["status"] == "DECRYPTED"


def test_a_masked_plan_reads_back_as_it_was_agreed() -> None:
    plan = reached("active").do(TWO, "plan:Get", {"plan_id": PLAN})["plan"]

    read = PlanTerms.model_validate_json(json.dumps(plan["terms"]))
    assert isinstance(read.encryption, MaskingTerms)
    assert read.sha256 == TERMS.sha256
