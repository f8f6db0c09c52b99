"""Hospitals that come and go, the rules they vote by, and the life of their nodes."""

from __future__ import annotations

import pytest
from support.memory_stub import creator
from support.owners import old_policies, renew
from support.scenario import (
    HOSPITALS,
    PLAN,
    at,
    attest_args,
    commit_args,
    dataset_args,
    sha,
    terms,
)

from chaincode.schema import keys
from chaincode.schema.errors import Code
from chaincode.schema.policies import RENEWAL_SECONDS, Owned
from chaincode.shim.identity import ClientIdentity

ONE, TWO, THREE, FOUR = HOSPITALS
FIRST = {"plan_id": PLAN, "number": 1}


def motion(scenario, name, args, who=ONE):
    return scenario.do(who, f"consortium:{name}", args)["terms_sha256"]


def subject(kind, subject_id):
    return {"subject": kind, "subject_id": subject_id}


def vote(scenario, who, kind, subject_id, digest, approve=True):
    for hospital in who:
        scenario.vote(hospital, kind, subject_id, digest, approve)


def expel(scenario, msp_id=FOUR):
    args = {"msp_id": msp_id, "reason": "forged attestations"}
    digest = motion(scenario, "ProposeExpulsion", args)
    vote(scenario, [h for h in HOSPITALS if h != msp_id], "expulsion", msp_id, digest)
    scenario.do(ONE, "consortium:Advance", subject("expulsion", msp_id))


def leave(scenario, msp_id=FOUR):
    scenario.do(msp_id, "consortium:Leave", {"reason": "merged"})


# leaving and being expelled


@pytest.mark.parametrize(("part", "status"), [(leave, "LEFT"), (expel, "EXPELLED")])
def test_a_hospital_that_parted_is_refused_at_once_and_its_past_stays(part, status):
    scenario = at("published")
    before = dict(scenario.ledger.state)

    part(scenario)

    assert scenario.asset(keys.hospital(FOUR))["status"] == status
    assert scenario.asset(keys.consortium())["hospitals"] == list(HOSPITALS[:3])
    gone = scenario.refused(FOUR, "dataset:Register", dataset_args("later"))
    trainer = scenario.refused(FOUR, "round:Attest", attest_args(terms()))
    assert {gone.code, trainer.code} == {Code.NOT_ADMITTED}
    kept = {key for key in before if key.split("\x00")[1] not in ("consortium", "hospital")}
    assert all(scenario.ledger.state[key] == before[key] for key in kept)


def test_a_hospital_has_no_vote_on_its_own_expulsion():
    scenario = at("founded")
    digest = motion(scenario, "ProposeExpulsion", {"msp_id": FOUR, "reason": "no"})
    args = subject("expulsion", FOUR) | {"subject_sha256": digest, "approve": False}

    assert scenario.refused(FOUR, "consortium:Vote", args).code == Code.NOT_A_VOTER
    vote(scenario, (ONE, TWO), "expulsion", FOUR, digest)
    early = scenario.refused(ONE, "consortium:Advance", subject("expulsion", FOUR))
    assert early.code == Code.NOT_YET  # two are no two thirds of four


def test_an_expulsion_that_is_refused_leaves_the_hospital_a_member():
    scenario = at("founded")
    args = {"msp_id": FOUR, "reason": "no"}
    digest = motion(scenario, "ProposeExpulsion", args)
    vote(scenario, (TWO,), "expulsion", FOUR, digest, approve=False)

    scenario.do(ONE, "consortium:Advance", subject("expulsion", FOUR))

    assert scenario.asset(keys.hospital(FOUR))["status"] == "ADMITTED"
    assert scenario.asset(keys.motion("expulsion", FOUR))["status"] == "DEFEATED"
    again = motion(scenario, "ProposeExpulsion", args)
    assert again != digest
    past = scenario.do(ONE, "consortium:ListMotions", {"past": True})["motions"]
    assert [(m["terms_sha256"], m["status"]) for m in past] == [(digest, "DEFEATED")]
    assert scenario.do(ONE, "consortium:GetBallot", subject("expulsion", FOUR))["votes"] == []


def test_a_hospital_that_left_comes_back_by_vote_with_the_reputation_it_had():
    scenario = at("published")
    before = scenario.asset(keys.reputation("hospital", FOUR))
    leave(scenario)

    digest = motion(scenario, "ProposeHospital", {"msp_id": FOUR, "name": "Four again"})
    vote(scenario, (ONE, TWO), "hospital", FOUR, digest)
    scenario.do(ONE, "consortium:Advance", subject("hospital", FOUR))

    assert scenario.asset(keys.consortium())["hospitals"] == list(HOSPITALS)
    assert scenario.asset(keys.hospital(FOUR))["name"] == "Four again"
    assert scenario.asset(keys.reputation("hospital", FOUR)) == before
    assert before["score_milli"] > 500
    scenario.do(FOUR, "dataset:Register", dataset_args("later"))


def test_votes_on_one_motion_do_not_count_for_the_next():
    scenario = at("founded")
    args = {"msp_id": "Hospital5MSP", "name": "Five"}
    first = motion(scenario, "ProposeHospital", args)
    vote(scenario, (ONE, TWO), "hospital", "Hospital5MSP", first)
    vote(scenario, (THREE, FOUR), "hospital", "Hospital5MSP", first, approve=False)
    scenario.do(ONE, "consortium:Advance", subject("hospital", "Hospital5MSP"))
    second = motion(scenario, "ProposeHospital", args)

    undecided = scenario.refused(ONE, "consortium:Advance", subject("hospital", "Hospital5MSP"))

    assert first != second
    assert undecided.code == Code.NOT_YET
    old = subject("hospital", "Hospital5MSP") | {"subject_sha256": first, "approve": True}
    assert scenario.refused(THREE, "consortium:Vote", old).code == Code.TERMS_MISMATCH


def test_the_vote_of_a_hospital_that_parted_counts_no_more():
    scenario = at("founded")
    digest = motion(scenario, "ProposeHospital", {"msp_id": "Hospital5MSP", "name": "Five"})
    vote(scenario, (ONE, FOUR), "hospital", "Hospital5MSP", digest)
    leave(scenario)

    shown = scenario.do(ONE, "consortium:GetBallot", subject("hospital", "Hospital5MSP"))

    assert [v["msp_id"] for v in shown["votes"]] == [ONE]
    assert (shown["needed"], shown["decided"]) == (2, None)


def test_a_consortium_keeps_two_hospitals():
    scenario = at("founded")
    leave(scenario, FOUR)
    for hospital in (ONE, TWO):
        renew(scenario, hospital)
    leave(scenario, THREE)

    error = scenario.refused(ONE, "consortium:Leave", {"reason": ""})

    assert error.code == Code.TOO_FEW_HOSPITALS


# policies of what a hospital owns


def owned(msp_id=ONE, kind=Owned.NODE, name="node1"):
    attributes = (msp_id, name) if kind is Owned.NODE else (name,)
    return {"kind": kind, "attributes": attributes}


def test_a_departure_waits_for_those_whose_keys_nobody_could_write_after_it():
    scenario = at("enrolled")
    leave(scenario)
    args = {"msp_id": THREE, "reason": "forged attestations"}
    digest = motion(scenario, "ProposeExpulsion", args)
    vote(scenario, (ONE, TWO), "expulsion", THREE, digest)
    renew(scenario, ONE)

    left = scenario.refused(THREE, "consortium:Leave", {"reason": "merged"})
    expelled = scenario.refused(ONE, "consortium:Advance", subject("expulsion", THREE))
    renew(scenario, TWO)
    scenario.do(ONE, "consortium:Advance", subject("expulsion", THREE))

    assert (left.code, expelled.code) == (Code.POLICIES_OLD, Code.POLICIES_OLD)
    assert (TWO in left.message, ONE in left.message) == (True, False)
    for hospital in (ONE, TWO):
        scenario.do(hospital, "node:Suspend", {"node_id": "node1", "reason": "still ours"})


def test_who_does_not_renew_in_time_keeps_nobody_in_and_its_keys_are_shown_as_lost():
    scenario = at("enrolled")
    leave(scenario)
    renew(scenario, ONE)
    scenario.wait(RENEWAL_SECONDS + 1)

    leave(scenario, THREE)

    old = old_policies(scenario, TWO)
    assert {policy["lost"] for policy in old} == {True}
    assert {policy["lost"] for policy in old_policies(scenario, ONE)} == {False}
    stuck = scenario.invoke(
        scenario.users[TWO, "admin"], "policy:Renew", {"keys": [old[0]["key"]], "complete": False}
    )
    assert "ENDORSEMENT_POLICY_FAILURE" in stuck.message


def test_a_membership_between_two_renewals_is_waited_for_too():
    scenario = at("enrolled")
    fifth = "Hospital5MSP"
    scenario.users[fifth, "admin"] = creator(fifth, "admin", "admin")
    digest = motion(scenario, "ProposeHospital", {"msp_id": fifth, "name": "Five"})
    vote(scenario, HOSPITALS[:3], "hospital", fifth, digest)
    scenario.do(ONE, "consortium:Advance", subject("hospital", fifth))
    # Of five: its policy needs two of the four others.
    scenario.do(fifth, "dataset:Register", dataset_args("fifth"))
    leave(scenario, FOUR)
    for hospital in (ONE, TWO):
        renew(scenario, hospital)
    leave(scenario, THREE)
    for hospital in (ONE, TWO):
        renew(scenario, hospital)

    error = scenario.refused(ONE, "consortium:Leave", {"reason": "merged"})

    assert (error.code, fifth in error.message) == (Code.POLICIES_OLD, True)
    assert renew(scenario, fifth) == {Owned.DATASET, Owned.ACCOUNT}
    leave(scenario, ONE)
    more = {"dataset_id": "fifth", "budget_epsilon_micro": 20_000_000}
    scenario.do(fifth, "dataset:SetBudget", more)


def test_a_hospital_renews_its_own_alone_and_says_so_once():
    scenario = at("enrolled")
    leave(scenario)
    standing = scenario.do(ONE, "policy:Get", {"msp_id": ONE})
    assert (standing["membership"], standing["renewal"]["membership"]) == (2, 1)

    foreign = {"keys": [owned(TWO)]}
    assert scenario.refused(ONE, "policy:Renew", foreign).code == Code.NOT_OWNER
    scenario.do(ONE, "policy:Renew", {"keys": [owned()]}, "node1")
    assert scenario.refused(ONE, "policy:Renew", {"keys": [owned()]}).code == Code.ALREADY
    assert scenario.do(ONE, "policy:Get", {"msp_id": ONE})["renewal"]["membership"] == 1
    renew(scenario, ONE)
    assert scenario.do(ONE, "policy:Get", {"msp_id": ONE})["renewal"]["membership"] == 2
    assert scenario.refused(ONE, "policy:Renew", {"complete": True}).code == Code.ALREADY


def test_who_leaves_while_it_is_to_be_expelled_can_come_back_later():
    scenario = at("founded")
    digest = motion(scenario, "ProposeExpulsion", {"msp_id": FOUR, "reason": "no"})
    vote(scenario, (ONE, TWO, THREE), "expulsion", FOUR, digest)
    leave(scenario)

    error = scenario.refused(ONE, "consortium:Advance", subject("expulsion", FOUR))

    assert error.code == Code.ALREADY
    assert scenario.asset(keys.motion("expulsion", FOUR))["status"] == "LAPSED"
    again = scenario.refused(ONE, "consortium:ProposeExpulsion", {"msp_id": FOUR, "reason": "no"})
    assert again.code == Code.BAD_STATE


# what becomes of plans whose key loses a holder


def test_a_plan_between_rounds_fails_on_advance_when_a_key_holder_has_left():
    scenario = at("published")
    leave(scenario)
    opening = scenario.refused(ONE, "round:Open", {"plan_id": PLAN, "number": 2})

    failed = scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert opening.code == Code.KEY_HOLDER_LEFT
    assert failed["status"] == "FAILED"
    assert failed["reason"].startswith(f"{Code.KEY_HOLDER_LEFT}: {FOUR}")
    assert scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN}).code == Code.ALREADY


@pytest.mark.parametrize("stage", ["open", "sealed", "aggregated"])
def test_a_round_that_can_no_longer_be_decrypted_fails_with_its_plan(stage):
    scenario = at(stage)
    leave(scenario)
    early = scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN})

    failed = scenario.advance(terms())

    assert early.code == Code.NOT_YET
    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_LEFT)
    assert failed["absent"] == [FOUR]
    plan = scenario.asset(keys.plan(PLAN))
    assert plan["status"] == "FAILED"
    assert plan["reason"].startswith(Code.KEY_HOLDER_LEFT)


def test_a_round_goes_on_without_a_hospital_whose_share_is_posted():
    scenario = at("aggregated")
    scenario.share(terms())
    leave(scenario)
    scenario.advance(terms())
    scenario.evaluate(terms(), who=(ONE, TWO, THREE))

    published = scenario.advance(terms())

    assert (published["status"], published["absent"]) == ("PUBLISHED", [FOUR])
    plan = scenario.asset(keys.plan(PLAN))
    assert (plan["status"], plan["model_sha256"]) == ("FAILED", sha("model 1"))


def test_the_last_round_of_a_plan_completes_it_although_a_holder_left_meanwhile():
    scenario = at("published")
    scenario.open(terms(), 2)
    for step in (scenario.submit, scenario.attest, scenario.share):
        step(terms(), 2)
        scenario.advance(terms(), 2)
    leave(scenario)
    scenario.evaluate(terms(), 2, who=(ONE, TWO, THREE))

    scenario.advance(terms(), 2)

    assert scenario.asset(keys.plan(PLAN))["status"] == "COMPLETED"


def test_a_ceremony_fails_as_soon_as_a_holder_has_left():
    scenario = at("approved")
    scenario.do(ONE, "ceremony:Commit", commit_args(terms(), ONE))
    expel(scenario)

    failed = scenario.advance_ceremony(terms())

    assert failed["reason"].startswith(Code.KEY_HOLDER_LEFT)
    assert failed["missing"] == [FOUR]
    assert scenario.asset(keys.plan(PLAN))["status"] == "FAILED"


def test_a_plan_that_names_a_hospital_that_left_is_not_approved():
    scenario = at("proposed")
    vote(scenario, (ONE, TWO, THREE), "plan", PLAN, terms().sha256)
    leave(scenario)

    rejected = scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert rejected["status"] == "REJECTED"
    assert rejected["reason"].startswith(Code.KEY_HOLDER_LEFT)


def test_others_of_a_plan_may_stop_it_once_its_proposer_has_left():
    scenario = at("open")
    args = {"plan_id": PLAN, "reason": "its proposer left"}
    before = scenario.refused(TWO, "plan:Abort", args)
    leave(scenario, ONE)

    scenario.do(TWO, "plan:Abort", args)

    assert before.code == Code.NOT_OWNER
    assert scenario.asset(keys.plan(PLAN))["status"] == "ABORTED"


# the rules


def rules(**changes):
    return {"rules": changes, "reason": "as agreed"}


def change_rules(scenario, who=(ONE, TWO, THREE), **changes):
    digest = motion(scenario, "ProposeRules", rules(**changes))
    vote(scenario, who, "rules", "rules", digest)
    scenario.do(ONE, "consortium:Advance", subject("rules", "rules"))


def test_rules_are_changed_by_the_rule_in_force_and_hold_from_then_on():
    scenario = at("proposed")
    digest = motion(scenario, "ProposeRules", rules(plan={"fraction_micro": 999_999}))
    vote(scenario, (ONE, TWO), "rules", "rules", digest)
    early = scenario.refused(ONE, "consortium:Advance", subject("rules", "rules"))
    vote(scenario, (THREE,), "rules", "rules", digest)
    scenario.do(ONE, "consortium:Advance", subject("rules", "rules"))

    vote(scenario, (ONE, TWO, THREE), "plan", PLAN, terms().sha256)
    undecided = scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN})
    vote(scenario, (FOUR,), "plan", PLAN, terms().sha256)
    scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert (early.code, undecided.code) == (Code.NOT_YET, Code.NOT_YET)
    rulebook = scenario.do(ONE, "consortium:Get")["rulebook"]
    assert (rulebook["version"], rulebook["motion_sha256"]) == (2, digest)


def test_a_quorum_waits_for_votes_although_the_approvals_are_enough():
    scenario = at("proposed")
    change_rules(scenario, plan={"quorum_micro": 1_000_000})
    vote(scenario, (ONE, TWO, THREE), "plan", PLAN, terms().sha256)
    early = scenario.refused(ONE, "plan:Advance", {"plan_id": PLAN})
    vote(scenario, (FOUR,), "plan", PLAN, terms().sha256, approve=False)

    approved = scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert (early.code, approved["status"]) == (Code.NOT_YET, "APPROVED")


@pytest.mark.parametrize(
    ("voters", "fraction", "needed"),
    [(2, 500_000, 2), (3, 500_000, 2), (4, 500_000, 3), (4, 999_999, 4), (3, 666_666, 2)],
)
def test_more_than_the_fraction_must_approve(voters, fraction, needed):
    scenario = at("founded")
    change_rules(scenario, admission={"fraction_micro": fraction})
    for hospital in HOSPITALS[voters:]:
        leave(scenario, hospital)
        scenario.wait(RENEWAL_SECONDS + 1)
    motion(scenario, "ProposeHospital", {"msp_id": "Hospital5MSP", "name": "Five"})

    shown = scenario.do(ONE, "consortium:GetBallot", subject("hospital", "Hospital5MSP"))

    assert shown["needed"] == needed


def test_a_vote_that_decides_nothing_in_time_has_lapsed():
    scenario = at("founded")
    change_rules(scenario, admission={"open_seconds": 100}, plan={"open_seconds": 100})
    scenario.enrol()
    scenario.propose(terms())
    args = {"msp_id": "Hospital5MSP", "name": "Five"}
    digest = motion(scenario, "ProposeHospital", args)
    vote(scenario, (ONE, TWO), "hospital", "Hospital5MSP", digest)
    scenario.wait()
    late = subject("hospital", "Hospital5MSP") | {"subject_sha256": digest, "approve": True}

    assert scenario.refused(THREE, "consortium:Vote", late).code == Code.VOTE_OVER
    scenario.do(ONE, "consortium:Advance", subject("hospital", "Hospital5MSP"))
    plan = scenario.do(ONE, "plan:Advance", {"plan_id": PLAN})

    assert scenario.asset(keys.motion("hospital", "Hospital5MSP"))["status"] == "LAPSED"
    assert scenario.asset(keys.hospital("Hospital5MSP"))["status"] == "REJECTED"
    assert (plan["status"], plan["reason"]) == ("REJECTED", "the vote has lapsed")
    motion(scenario, "ProposeHospital", args)


def test_what_was_carried_in_time_is_carried_out_later():
    scenario = at("founded")
    change_rules(scenario, admission={"open_seconds": 100})
    digest = motion(scenario, "ProposeHospital", {"msp_id": "Hospital5MSP", "name": "Five"})
    vote(scenario, (ONE, TWO, THREE), "hospital", "Hospital5MSP", digest)
    scenario.wait()

    scenario.do(ONE, "consortium:Advance", subject("hospital", "Hospital5MSP"))

    assert scenario.asset(keys.hospital("Hospital5MSP"))["status"] == "ADMITTED"


def test_one_motion_at_a_time_on_each_subject():
    scenario = at("founded")
    motion(scenario, "ProposeRules", rules())

    error = scenario.refused(TWO, "consortium:ProposeRules", rules(plan={}))

    assert error.code == Code.EXISTS
    shown = scenario.do(ONE, "consortium:ListMotions", {"subject": "rules"})["motions"]
    assert [m["terms"]["subject_id"] for m in shown] == ["rules"]
    assert scenario.do(ONE, "consortium:GetMotion", subject("rules", "rules")) == shown[0]


@pytest.mark.parametrize("wrong", [{"fraction_micro": 499_999}, {"fraction_micro": 1_000_000}])
def test_no_rule_lets_less_than_half_or_more_than_all_decide(wrong):
    error = at("founded").refused(ONE, "consortium:ProposeRules", rules(plan=wrong))

    assert error.code == Code.BAD_ARGUMENT


# nodes


def status(scenario, who=ONE):
    return scenario.asset(keys.node(who, "node1"))["status"]


def test_a_renewed_node_signs_with_its_new_key_alone():
    scenario = at("open")
    old = scenario.users[ONE, "node1"]
    renewed = creator(ONE, "node1", "trainer,validator", "renewed")
    digest = ClientIdentity.parse(renewed).public_key_sha256
    args = {"node_id": "node1", "public_key_sha256": digest, "reason": "expires soon"}
    scenario.do(ONE, "node:Renew", args)

    refused = scenario.refused(old, "round:SubmitUpdate", scenario.update_args(terms(), ONE))
    query = scenario.refused(old, "plan:Get", {"plan_id": PLAN})
    scenario.users[ONE, "node1"] = renewed
    scenario.submit(terms(), who=(ONE,))

    assert (refused.code, query.code) == (Code.NODE_KEY_MISMATCH, Code.NODE_KEY_MISMATCH)


def test_every_status_and_key_of_a_node_is_kept():
    scenario = at("enrolled")
    first = scenario.asset(keys.node(ONE, "node1"))["public_key_sha256"]
    scenario.do(ONE, "node:Rest", {"node_id": "node1", "reason": "night"}, "node1")
    scenario.do(ONE, "node:Renew", {"node_id": "node1", "public_key_sha256": sha("new")})
    scenario.do(ONE, "node:Suspend", {"node_id": "node1", "reason": "odd"})
    scenario.do(ONE, "node:Revoke", {"node_id": "node1", "reason": "stolen"})
    args = {"msp_id": ONE, "node_id": "node1", "page_size": 3}

    page = scenario.do(TWO, "node:History", args, "auditor")
    rest = scenario.do(TWO, "node:History", args | {"bookmark": page["bookmark"]}, "auditor")

    told = page["changes"] + rest["changes"]
    assert [c["status"] for c in told] == ["ACTIVE", "RESTING", "RESTING", "SUSPENDED", "REVOKED"]
    assert [c["public_key_sha256"] for c in told] == [first] * 2 + [sha("new")] * 3
    assert [c["changed_by"] for c in told] == ["admin", "node1", "admin", "admin", "admin"]
    assert [c["number"] for c in told] == [1, 2, 3, 4, 5]


def test_a_key_is_bound_to_one_node_for_good():
    scenario = at("enrolled")
    old = scenario.asset(keys.node(ONE, "node1"))["public_key_sha256"]
    scenario.do(ONE, "node:Renew", {"node_id": "node1", "public_key_sha256": sha("new")})

    back = scenario.refused(ONE, "node:Renew", {"node_id": "node1", "public_key_sha256": old})
    other = scenario.node_args(ONE) | {"node_id": "node2", "public_key_sha256": sha("new")}
    elsewhere = scenario.refused(ONE, "node:Register", other)

    assert (back.code, elsewhere.code) == (Code.KEY_IN_USE, Code.KEY_IN_USE)


def test_a_resting_node_is_left_out_of_rounds_until_it_wakes():
    scenario = at("active")
    scenario.do(ONE, "node:Rest", {"node_id": "node1"}, "node1")
    resting = scenario.refused(ONE, "round:Open", FIRST)
    scenario.do(TWO, "round:Open", FIRST)

    excluded = scenario.round_state(terms())["excluded"]
    assert resting.code == Code.NODE_NOT_ACTIVE
    assert [(e["msp_id"], e["code"]) for e in excluded] == [(ONE, Code.NODE_NOT_ACTIVE)]
    scenario.do(ONE, "node:Wake", {"node_id": "node1"}, "node1")
    assert status(scenario) == "ACTIVE"
    late = scenario.refused(ONE, "round:SubmitUpdate", scenario.update_args(terms(), ONE))
    assert late.code == Code.NOT_A_PARTICIPANT


def test_a_node_speaks_for_itself_and_its_admin_for_all():
    scenario = at("enrolled")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "trainer,validator", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2"))

    error = scenario.refused(ONE, "node:Rest", {"node_id": "node1"}, "node2")
    scenario.do(ONE, "node:Rest", {"node_id": "node1"})
    scenario.do(ONE, "node:Wake", {"node_id": "node1"})

    assert error.code == Code.NOT_OWNER


def test_a_rest_does_not_end_a_suspension_nor_a_suspension_by_waking():
    scenario = at("enrolled")
    scenario.do(ONE, "node:Suspend", {"node_id": "node1"})
    for name in ("node:Rest", "node:Wake"):
        assert scenario.refused(ONE, name, {"node_id": "node1"}).code == Code.BAD_STATE
    own = scenario.refused(ONE, "node:Wake", {"node_id": "node1"}, "node1")
    scenario.do(ONE, "node:Resume", {"node_id": "node1"})
    scenario.do(ONE, "node:Rest", {"node_id": "node1"})

    assert own.code == Code.NODE_NOT_ACTIVE
    assert scenario.refused(ONE, "node:Resume", {"node_id": "node1"}).code == Code.BAD_STATE


def test_a_node_that_left_can_be_registered_again_and_has_one_history():
    scenario = at("enrolled")
    scenario.do(ONE, "node:Leave", {"node_id": "node1"}, "node1")
    gone = scenario.refused(ONE, "node:Wake", {"node_id": "node1"}, "node1")

    scenario.do(ONE, "node:Register", scenario.node_args(ONE))

    assert gone.code == Code.NODE_NOT_ACTIVE
    assert status(scenario) == "ACTIVE"
    history = scenario.do(ONE, "node:History", {"msp_id": ONE, "node_id": "node1"})["changes"]
    assert [c["status"] for c in history] == ["ACTIVE", "LEFT", "ACTIVE"]


def test_a_revoked_certificate_asks_nothing_whatever_roles_it_carries():
    scenario = at("open")
    scenario.users[ONE, "node1"] = all_roles = creator(
        ONE, "node1", "admin,trainer,validator,auditor"
    )
    scenario.do(ONE, "node:Revoke", {"node_id": "node1", "reason": "stolen"}, "admin")

    for name, args in (
        ("plan:Get", {"plan_id": PLAN}),
        ("consortium:Get", {}),
        ("dataset:Register", dataset_args("planted")),
        ("consortium:Vote", subject("plan", PLAN) | {"subject_sha256": sha("x"), "approve": True}),
    ):
        assert scenario.refused(all_roles, name, args).code == Code.NODE_NOT_ACTIVE


def test_nodes_are_listed_by_hospital():
    scenario = at("enrolled")

    mine = scenario.do(ONE, "node:List", {"msp_id": TWO}, "auditor")

    assert [(n["msp_id"], n["node_id"]) for n in mine["nodes"]] == [(TWO, "node1")]
