"""Hospitals, their votes, datasets, plans and key ceremonies."""

from __future__ import annotations

import pytest
from support.arguments import EXAMPLES
from support.memory_stub import creator
from support.scenario import (
    HOSPITALS,
    PLAN,
    Scenario,
    at,
    commit_args,
    confirm_args,
    dataset_args,
    dataset_of,
    ref,
    reveal_args,
    sha,
    terms,
)

from chaincode.schema import canonical, forms, keys
from chaincode.schema.accounting import epsilon_micro, rdp_pico
from chaincode.schema.encryption import most_levels
from chaincode.schema.errors import Code
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import Participant
from chaincode.shim.stub import composite_key

ONE, TWO, THREE, FOUR = HOSPITALS


def ballot(subject, subject_id, digest, approve=True):
    args = {"subject": subject, "subject_id": subject_id, "subject_sha256": digest}
    return args | {"approve": approve}


# founding and admission


def test_nothing_but_founding_goes_before_the_charter_is_accepted():
    scenario = Scenario()

    for name in ("consortium:Get", "consortium:Members"):
        assert scenario.refused(ONE, name).code == Code.NOT_FOUNDED
    error = scenario.refused(ONE, "dataset:Register", dataset_args("a"))
    assert error.code == Code.NOT_FOUNDED


@pytest.mark.parametrize("form", [0, forms.FORM + 1])
def test_a_ledger_in_another_form_is_refused_before_anything_of_it_is_read(form):
    scenario = at("founded")
    assert scenario.do(ONE, "consortium:Get")["consortium"]["form"] == forms.FORM
    name = composite_key(*keys.consortium())
    scenario.ledger.state[name] = canonical.dumps(
        scenario.asset(keys.consortium()) | {"form": form}
    )
    # In the other form it may be no node that this one knows.
    scenario.ledger.state[composite_key(*keys.node(ONE, "node1"))] = b"{}"

    for transaction in ("consortium:Get", "consortium:Members", "plan:List"):
        refused = scenario.refused(ONE, transaction)
        assert refused.code == Code.FORM_OTHER
        assert f"form {form}" in refused.message
    args = {"plan_id": "plan", "number": 1}
    assert scenario.refused(ONE, "round:Open", args).code == Code.FORM_OTHER
    founders = [{"msp_id": h, "name": h} for h in HOSPITALS]
    again = {"name": "Again", "hospitals": founders}
    assert scenario.refused(ONE, "consortium:Found", again).code == Code.FORM_OTHER


def test_the_charter_needs_every_founder():
    scenario = Scenario()
    founders = [{"msp_id": h, "name": h} for h in HOSPITALS]
    charter = scenario.do(ONE, "consortium:Found", {"name": "Trial", "hospitals": founders})
    subject = {"subject": "charter", "subject_id": "Trial"}
    for hospital in (TWO, THREE):
        scenario.vote(hospital, "charter", "Trial", charter["charter_sha256"])

    assert scenario.refused(ONE, "consortium:Advance", subject).code == Code.NOT_YET
    early = scenario.refused(ONE, "dataset:Register", dataset_args("a"))
    assert early.code == Code.NOT_FOUNDED

    scenario.vote(FOUR, "charter", "Trial", charter["charter_sha256"], False)
    assert scenario.refused(ONE, "consortium:Advance", subject).code == Code.BAD_STATE


@pytest.mark.parametrize("others", [[TWO, THREE], [ONE, TWO, TWO]])
def test_a_charter_names_every_founder_once_and_the_caller_among_them(others):
    founders = [{"msp_id": h, "name": h} for h in others]

    error = Scenario().refused(ONE, "consortium:Found", {"name": "Trial", "hospitals": founders})

    assert error.code == Code.BAD_ARGUMENT


def test_a_consortium_is_founded_once():
    founders = [{"msp_id": h, "name": h} for h in (ONE, TWO)]

    error = at("founded").refused(ONE, "consortium:Found", {"name": "Two", "hospitals": founders})

    assert error.code == Code.EXISTS
    again = {"subject": "charter", "subject_id": "Trial"}
    assert at("founded").refused(TWO, "consortium:Advance", again).code == Code.ALREADY


def test_a_further_hospital_is_admitted_by_a_majority():
    scenario = at("founded")
    args = {"msp_id": "Hospital5MSP", "name": "Five"}
    digest = scenario.do(ONE, "consortium:ProposeHospital", args)["terms_sha256"]
    again = scenario.refused(TWO, "consortium:ProposeHospital", args)
    subject = {"subject": "hospital", "subject_id": "Hospital5MSP"}
    for hospital in (ONE, TWO):
        scenario.vote(hospital, "hospital", "Hospital5MSP", digest)
    undecided = scenario.refused(ONE, "consortium:Advance", subject)
    scenario.vote(THREE, "hospital", "Hospital5MSP", digest)
    scenario.do(ONE, "consortium:Advance", subject)

    assert (again.code, undecided.code) == (Code.EXISTS, Code.NOT_YET)
    assert "Hospital5MSP" in scenario.asset(keys.consortium())["hospitals"]
    view = scenario.do(ONE, "consortium:Get")
    assert scenario.do(ONE, "consortium:Members", {}, "node1") == view["consortium"]
    reputations = view["reputations"]
    assert [r["subject_id"] for r in reputations] == [ONE, TWO, THREE, FOUR, "Hospital5MSP"]
    assert {r["score_milli"] for r in reputations} == {500}
    scenario.users["Hospital5MSP", "admin"] = creator("Hospital5MSP", "admin", "admin")
    scenario.do("Hospital5MSP", "dataset:Register", dataset_args("five"))
    assert scenario.refused(ONE, "consortium:Advance", subject).code == Code.ALREADY


def test_a_hospital_that_a_majority_can_no_longer_admit_is_rejected():
    scenario = at("founded")
    args = {"msp_id": "Hospital5MSP", "name": "Five"}
    digest = scenario.do(ONE, "consortium:ProposeHospital", args)["terms_sha256"]
    for hospital in (TWO, THREE):
        scenario.vote(hospital, "hospital", "Hospital5MSP", digest, False)

    subject = {"subject": "hospital", "subject_id": "Hospital5MSP"}
    scenario.do(ONE, "consortium:Advance", subject)

    assert scenario.asset(keys.hospital("Hospital5MSP"))["status"] == "REJECTED"
    stranger = creator("Hospital5MSP", "admin", "admin")
    error = scenario.refused(stranger, "dataset:Register", dataset_args("five"))
    assert error.code == Code.NOT_ADMITTED


# votes


def test_a_second_vote_is_refused_whatever_it_says():
    scenario = at("proposed")
    scenario.vote(ONE, "plan", PLAN, terms().sha256)

    for approve in (True, False):
        args = ballot("plan", PLAN, terms().sha256, approve)
        assert scenario.refused(ONE, "consortium:Vote", args).code == Code.SECOND_VOTE
    scenario.users[ONE, "admin"] = creator(ONE, "other-admin", "admin", "k2")
    args = ballot("plan", PLAN, terms().sha256)
    assert scenario.refused(ONE, "consortium:Vote", args).code == Code.SECOND_VOTE


def test_a_vote_on_other_terms_is_refused():
    error = at("proposed").refused(ONE, "consortium:Vote", ballot("plan", PLAN, sha("other")))

    assert error.code == Code.TERMS_MISMATCH


def test_a_hospital_that_is_not_a_member_has_no_vote():
    scenario = at("proposed")
    stranger = creator("Hospital9MSP", "admin", "admin")

    error = scenario.refused(stranger, "consortium:Vote", ballot("plan", PLAN, terms().sha256))

    assert error.code == Code.NOT_A_VOTER


def test_a_vote_on_nothing_is_refused():
    scenario = at("proposed")

    for subject, name in (("plan", "none"), ("hospital", "None"), ("charter", "None")):
        error = scenario.refused(ONE, "consortium:Vote", ballot(subject, name, sha("x")))
        assert error.code == Code.NOT_FOUND


# nodes and datasets


def test_a_revoked_node_stays_revoked():
    scenario = at("enrolled")
    scenario.do(ONE, "node:Revoke", {"node_id": "node1", "reason": "stolen"})

    for change in ("node:Resume", "node:Suspend", "node:Revoke"):
        assert scenario.refused(ONE, change, {"node_id": "node1"}).code == Code.BAD_STATE
    assert scenario.refused(ONE, "node:Register", scenario.node_args(ONE)).code == Code.EXISTS


def test_a_dataset_is_registered_once_by_whoever_is_first():
    scenario = at("enrolled")

    for hospital in (ONE, TWO):
        error = scenario.refused(hospital, "dataset:Register", dataset_args(dataset_of(ONE)))
        assert error.code == Code.EXISTS


def test_a_budget_cannot_fall_below_what_is_spent():
    scenario = at("sealed")
    spent = scenario.asset(keys.account(dataset_of(ONE)))["epsilon_micro"]
    args = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": spent - 1}

    assert spent > 0
    assert scenario.refused(ONE, "dataset:SetBudget", args).code == Code.BUDGET_EXCEEDED
    scenario.do(ONE, "dataset:SetBudget", args | {"budget_epsilon_micro": spent})


def test_consent_binds_to_the_terms_and_is_given_once():
    scenario = at("proposed")
    args = {"dataset_id": dataset_of(ONE), "plan_id": PLAN, "terms_sha256": terms().sha256}

    other = scenario.refused(ONE, "dataset:Consent", args | {"terms_sha256": sha("other")})
    again = scenario.refused(ONE, "dataset:Consent", args)
    scenario.do(ONE, "dataset:Withdraw", args)
    withdrawn = scenario.refused(ONE, "dataset:Withdraw", args)

    assert (other.code, again.code) == (Code.TERMS_MISMATCH, Code.ALREADY)
    assert withdrawn.code == Code.ALREADY


def test_what_a_hospital_owns_carries_its_policy():
    scenario = at("sealed")
    owned = ("node", "dataset", "account", "consent")
    kinds = {key: key.split("\x00")[1] for key in scenario.ledger.state}

    assert set(scenario.ledger.policies) == {key for key, kind in kinds.items() if kind in owned}
    for key, policy in scenario.ledger.policies.items():
        owner = scenario.asset((key.split("\x00")[1], tuple(key.split("\x00")[2:-1])))["msp_id"]
        assert _must_sign(policy) == owner


def _must_sign(policy):
    """The one hospital without which the policy cannot be met."""
    from fabric_protos.common import policies_pb2
    from fabric_protos.msp import msp_principal_pb2

    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(policy)
    owner, others = envelope.rule.n_out_of.rules
    assert envelope.rule.n_out_of.n == 2
    assert (others.n_out_of.n, len(others.n_out_of.rules)) == (2, 3)
    principal = envelope.identities[owner.signed_by].principal
    return msp_principal_pb2.MSPRole.FromString(principal).msp_identifier


# plans


def participant(msp_id, node="node1", dataset=None):
    return Participant(msp_id=msp_id, node_id=node, dataset_id=dataset or dataset_of(msp_id))


ALL = tuple(participant(h) for h in HOSPITALS)


@pytest.mark.parametrize(
    "participation",
    [
        {"participants": (*ALL, ALL[0])},
        {"participants": (*ALL[:3], participant(FOUR, "node1", dataset_of(ONE)))},
        {"participants": (participant(ONE), participant(ONE, "node2", "second"))},
        {"participants": (*ALL[:3], participant(ONE, "node2", dataset_of(FOUR)))},
        {"agreement": 2},
        {"agreement": 5},
        {"quorum": 5},
    ],
)
def test_a_plan_that_cannot_be_carried_out_honestly_is_refused(participation):
    scenario = at("enrolled")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "trainer", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2"))
    scenario.do(ONE, "dataset:Register", dataset_args("second"))

    error = scenario.refused(ONE, "plan:Propose", terms(**participation))

    assert error.code == Code.PLAN_INVALID


def _terms_with(part, **changes):
    plan = terms()
    return plan.model_copy(update={part: getattr(plan, part).model_copy(update=changes)})


@pytest.mark.parametrize(
    ("part", "changes", "why"),
    [
        ("data", {"application": "other"}, "application"),
        ("training", {"batch_size": 101}, "batch"),
        ("training", {"rounds": 3}, "epsilon"),
        ("privacy", {"epsilon_micro": 100_000}, "epsilon"),
        ("encryption", {"scale_bits": 118}, "modulus"),
        ("encryption", {"flood_bits": 50}, "flooding"),
        ("encryption", {"security_bits": 256}, "256-bit secure"),
        ("encryption", {"threshold": 2}, "threshold"),
        ("encryption", {"threshold": 4}, "threshold"),
        ("encryption", {"weight_bits": 2}, "weights"),
        ("acceptance", {"norm": NormTerms(drift_micro=10**9, noise_micro=1)}, "norm bound"),
    ],
)
def test_a_plan_whose_terms_do_not_hold_together_is_refused(part, changes, why):
    error = at("enrolled").refused(ONE, "plan:Propose", _terms_with(part, **changes))

    assert error.code == Code.PLAN_INVALID
    assert why in error.message


def test_the_finest_resolution_that_fits_the_masks_modulus_is_accepted():
    # 2^10 weights and 2^48: two bits to spare, less the masks' own noise.
    scenario, finest = at("enrolled"), most_levels(48, 10)

    beyond = scenario.refused(ONE, "plan:Propose", _terms_with("encryption", levels=finest + 1))
    scenario.propose(_terms_with("encryption", levels=finest))

    assert beyond.code == Code.PLAN_INVALID


def test_a_plan_with_a_revoked_node_or_one_that_is_no_trainer_is_refused():
    validator = at("founded").node_args(FOUR) | {"node_id": "node2", "roles": ["validator"]}
    validator |= {"public_key_sha256": sha("another key")}
    for change, args in (("node:Revoke", {"node_id": "node1"}), ("node:Register", validator)):
        scenario = at("enrolled")
        scenario.do(FOUR, change, args)
        last = participant(FOUR, args["node_id"])
        error = scenario.refused(ONE, "plan:Propose", terms(participants=(*ALL[:3], last)))
        assert error.code == Code.PLAN_INVALID


def test_a_plan_of_unknown_nodes_or_datasets_is_refused():
    scenario = at("enrolled")
    for last in (participant(FOUR, "node9"), participant(FOUR, "node1", "none")):
        error = scenario.refused(ONE, "plan:Propose", terms(participants=(*ALL[:3], last)))
        assert error.code == Code.NOT_FOUND


def test_a_plan_is_proposed_once_and_needs_a_majority():
    scenario = at("proposed")
    again = scenario.refused(TWO, "plan:Propose", terms())
    for hospital in (ONE, TWO):
        scenario.vote(hospital, "plan", PLAN, terms().sha256)
    undecided = scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN})
    elsewhere = {"subject": "plan", "subject_id": PLAN}

    assert (again.code, undecided.code) == (Code.EXISTS, Code.NOT_YET)
    assert scenario.refused(ONE, "consortium:Advance", elsewhere).code == Code.BAD_ARGUMENT


def test_a_plan_that_was_refused_or_aborted_stays_so():
    scenario = at("proposed")
    for hospital in (TWO, THREE):
        scenario.vote(hospital, "plan", PLAN, terms().sha256, False)
    scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert scenario.asset(keys.plan(PLAN))["status"] == "REJECTED"
    assert scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN}).code == Code.ALREADY
    abort = scenario.refused(ONE, "plan:Abort", {"plan_id": PLAN, "reason": "late"})
    assert abort.code == Code.BAD_STATE


def test_nobody_votes_on_a_plan_that_is_over():
    scenario = at("proposed")
    scenario.vote(TWO, "plan", PLAN, terms().sha256)
    scenario.do(ONE, "plan:Abort", {"plan_id": PLAN, "reason": "no longer needed"})

    late = scenario.refused(THREE, "consortium:Vote", ballot("plan", PLAN, terms().sha256))

    assert late.code == Code.VOTE_OVER
    asked = {"subject": "plan", "subject_id": PLAN}
    assert scenario.do(ONE, "consortium:GetBallot", asked)["decided"] is False


def test_no_round_of_a_plan_that_is_not_active():
    first = {"plan_id": PLAN, "number": 1}
    aborted = at("open")
    update = aborted.update_args(terms(), ONE)
    aborted.do(ONE, "plan:Abort", {"plan_id": PLAN, "reason": "enough"})

    for stage in ("proposed", "approved"):
        error = at(stage).refused(ONE, "round:Open", first)
        assert error.code == Code.PLAN_NOT_APPROVED
    assert aborted.refused(ONE, "round:SubmitUpdate", update).code == Code.PLAN_NOT_APPROVED
    assert aborted.refused(ONE, "round:Advance", first).code == Code.ALREADY
    assert aborted.refused(ONE, "round:Open", first | {"number": 2}).code == Code.PLAN_NOT_APPROVED


# ceremonies

STEPS = {
    "COMMIT": ("ceremony:Commit", commit_args),
    "REVEAL": ("ceremony:Reveal", reveal_args),
    "CONFIRM": ("ceremony:Confirm", confirm_args),
}


def ceremony_in(stage):
    scenario = at("approved")
    for name, (transaction, args_of) in STEPS.items():
        if name == stage:
            break
        scenario.post_all(terms(), transaction, args_of)
        scenario.advance_ceremony(terms())
    return scenario


@pytest.mark.parametrize("stage", STEPS)
def test_a_ceremony_waits_for_everyone_and_then_fails_naming_who_is_missing(stage):
    scenario = ceremony_in(stage)
    name, args_of = STEPS[stage]
    for hospital in (ONE, TWO, FOUR):
        scenario.do(hospital, name, args_of(terms(), hospital))
    early = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN})

    scenario.wait()
    failed = scenario.advance_ceremony(terms())

    assert early.code == Code.NOT_YET
    assert THREE in early.message
    assert failed["missing"] == [THREE]
    assert failed["reason"].startswith(Code.CEREMONY_OVERDUE)
    assert scenario.asset(keys.plan(PLAN))["status"] == "FAILED"
    assert scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN}).code == Code.ALREADY


@pytest.mark.parametrize("missing", HOSPITALS)
@pytest.mark.parametrize("stage", STEPS)
def test_a_ceremony_needs_every_single_hospital(stage, missing):
    scenario = ceremony_in(stage)
    name, args_of = STEPS[stage]
    for hospital in HOSPITALS:
        if hospital != missing:
            scenario.do(hospital, name, args_of(terms(), hospital))

    error = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN})

    assert error.code == Code.NOT_YET
    assert missing in error.message


@pytest.mark.parametrize("stage", STEPS)
def test_each_hospital_posts_once_and_only_in_its_stage(stage):
    scenario = ceremony_in(stage)
    for other, (name, args_of) in STEPS.items():
        if other != stage:
            error = scenario.refused(ONE, name, args_of(terms(), ONE))
            assert error.code == Code.BAD_STATE
    name, args_of = STEPS[stage]
    scenario.do(ONE, name, args_of(terms(), ONE))

    error = scenario.refused(ONE, name, args_of(terms(), ONE))

    assert error.code == Code.DUPLICATE_CONTRIBUTION


def test_a_share_that_was_not_committed_to_is_refused():
    scenario = ceremony_in("REVEAL")
    honest = reveal_args(terms(), ONE)

    for wrong in (
        honest | {"share": ref("chosen after seeing the others")},
        honest | {"nonce": sha("other")},
        reveal_args(terms(), TWO),
    ):
        error = scenario.refused(ONE, "ceremony:Reveal", wrong)
        assert error.code == Code.COMMITMENT_MISMATCH


def test_hospitals_that_confirm_different_keys_fail_the_ceremony():
    scenario = ceremony_in("CONFIRM")
    for hospital in (ONE, TWO, THREE):
        scenario.do(hospital, "ceremony:Confirm", confirm_args(terms(), hospital))
    other = confirm_args(terms(), FOUR) | {"collective_key_sha256": sha("other key")}
    scenario.do(FOUR, "ceremony:Confirm", other)

    failed = scenario.advance_ceremony(terms())

    assert failed["status"] == "FAILED"
    assert failed["reason"].startswith(Code.KEY_DISAGREEMENT)
    assert failed["collective_key_sha256"] is None
    assert scenario.asset(keys.plan(PLAN))["status"] == "FAILED"


def test_a_hospital_outside_the_plan_takes_no_part():
    scenario = at("enrolled")
    plan = terms("plan-3", participants=ALL[:3], agreement=2)
    scenario.propose(plan)
    scenario.consent(plan)
    scenario.approve(plan)
    commit = scenario.refused(FOUR, "ceremony:Commit", commit_args(plan, FOUR))
    scenario.ceremony(plan)
    opening = scenario.refused(FOUR, "round:Open", {"plan_id": "plan-3", "number": 1})
    scenario.open(plan)
    update = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(plan, FOUR))

    assert {commit.code, opening.code, update.code} == {Code.NOT_A_PARTICIPANT}


# Releases.


def test_a_release_is_charged_once_beside_what_plans_spend_and_within_the_budget():
    scenario = at("enrolled")
    args = EXAMPLES["ReleaseArgs"]()
    made = scenario.do(ONE, "dataset:Release", args)
    again = scenario.refused(ONE, "dataset:Release", args)
    scenario.do(ONE, "dataset:Release", args | {"release_id": "second", "sha256": sha("2")})

    each = rdp_pico(1, 1, 40_000_000, 20)
    account = scenario.asset(keys.account(dataset_of(ONE)))
    assert made["epsilon_micro"] == epsilon_micro(each, 10_000)
    assert again.code == Code.EXISTS
    assert account["epsilon_micro"] == epsilon_micro([2 * loss for loss in each], 10_000)
    assert scenario.asset(keys.release(dataset_of(ONE), "second"))["sha256"] == sha("2")


def test_a_release_beyond_the_budget_is_refused_and_so_is_another_hospitals():
    scenario = at("enrolled")
    args = EXAMPLES["ReleaseArgs"]()

    assert (
        scenario.refused(ONE, "dataset:Release", args | {"noise": 1}).code == Code.BUDGET_EXCEEDED
    )
    assert scenario.refused(TWO, "dataset:Release", args).code == Code.NOT_OWNER


def test_what_a_release_spent_no_plan_can_spend_again():
    scenario = at("open")
    update = scenario.update_args(terms(), ONE)
    args = EXAMPLES["ReleaseArgs"]()
    spent = scenario.do(ONE, "dataset:Release", args)["epsilon_micro"]
    budget = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": spent}
    scenario.do(ONE, "dataset:SetBudget", budget)

    assert scenario.refused(ONE, "round:SubmitUpdate", update).code == Code.BUDGET_EXCEEDED
