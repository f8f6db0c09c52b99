"""A plan that takes over the key of another: when, from whom, and what becomes of the other."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.replayed import proven
from support.scenario import (
    HOSPITALS,
    Scenario,
    at,
    commit_args,
    confirm_args,
    dataset_of,
    ref,
    reveal_args,
    sha,
    terms,
    usual,
)
from support.studies import study_terms

from chaincode.schema import keys
from chaincode.schema.errors import Code
from chaincode.schema.plans import InheritedKey, Participant, PlanTerms
from chaincode.shim.stub import composite_key
from client.audit import handovers

ONE, TWO, THREE, FOUR = HOSPITALS
OLD, NEW = "old", "new"


def _plan(plan_id: str, hospitals: tuple[str, ...], threshold: int | None, **changes: Any):
    participants = tuple(
        Participant(msp_id=h, node_id="node1", dataset_id=dataset_of(h)) for h in hospitals
    )
    agreement = len(hospitals) // 2 + 1
    plan = terms(plan_id, rounds=1, participants=participants, agreement=agreement, quorum=2)
    encryption = plan.encryption.model_copy(update={"threshold": threshold})
    return plan.model_copy(update={"encryption": encryption, **changes})


FORMER = _plan(OLD, HOSPITALS, 3)
KEY = InheritedKey(
    plan_id=OLD,
    origin_sha256=FORMER.sha256,
    collective_key_sha256=sha("collective key"),
    secrets=4,
)


def _successor(hospitals: tuple[str, ...] = (ONE, TWO, FOUR), **changes: Any) -> PlanTerms:
    return _plan(NEW, hospitals, 2, **{"key": KEY, **changes})


ALL_NEEDED = _plan(OLD, HOSPITALS, None)
"""A plan whose key all of its hospitals are needed for; with the next plan, which one leaves."""
WITHOUT_THREE = _plan(
    NEW,
    (ONE, TWO, FOUR),
    2,
    key=KEY.model_copy(update={"origin_sha256": ALL_NEEDED.sha256}),
)


def _with_key(former: PlanTerms = FORMER) -> Scenario:
    """The former plan's key is made."""
    scenario = at("enrolled")
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(former)
    return scenario


def _paused(former: PlanTerms = FORMER) -> Scenario:
    scenario = _with_key(former)
    scenario.do(ONE, "plan:Pause", {"plan_id": OLD, "reason": "one leaves"})
    return scenario


def _proposed(
    plan: PlanTerms, who: tuple[str, ...] = (ONE, TWO, FOUR), former: PlanTerms = FORMER
) -> Scenario:
    scenario = _paused(former)
    scenario.propose(plan)
    for hospital in who:
        scenario.vote(hospital, "plan", NEW, plan.sha256)
    return scenario


def _opened(plan: PlanTerms) -> Scenario:
    scenario = _proposed(plan)
    scenario.do(ONE, "plan:Advance", {"plan_id": NEW})
    return scenario


def _handed(plan: PlanTerms) -> Scenario:
    scenario = _opened(plan)
    scenario.hand_on(plan)
    return scenario


def _leaving() -> Scenario:
    """Where all are needed one leaves, and votes for that."""
    scenario = _proposed(WITHOUT_THREE, HOSPITALS, ALL_NEEDED)
    scenario.do(ONE, "plan:Advance", {"plan_id": NEW})
    return scenario


def _commit(scenario: Scenario, who: tuple[str, ...]) -> None:
    for hospital in who:
        scenario.do(hospital, "ceremony:Commit", commit_args(WITHOUT_THREE, hospital, 4))


def _to_confirm(scenario: Scenario, plan: PlanTerms) -> None:
    scenario.prepare_handing(plan)
    scenario.deal_on(plan)


def test_a_key_goes_on_without_a_hospital_that_left() -> None:
    scenario = _handed(_successor())

    ceremony, old = scenario.asset(keys.ceremony(NEW)), scenario.asset(keys.plan(OLD))

    assert ceremony["status"] == "DONE"
    assert ceremony["dealers"] == [ONE, TWO, FOUR]
    assert ceremony["collective_key_sha256"] == KEY.collective_key_sha256
    assert (old["status"], old["successor"]) == ("COMPLETED", NEW)
    assert old["reason"] == f"its key went to {NEW}"
    assert scenario.asset(keys.plan(NEW))["status"] == "ACTIVE"


def test_a_key_goes_on_to_one_that_joined() -> None:
    three = (ONE, TWO, THREE)
    former, scenario = _plan(OLD, three, 2), at("enrolled")
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(former)
    scenario.do(ONE, "plan:Pause", {"plan_id": OLD, "reason": "one joins"})
    key = KEY.model_copy(update={"origin_sha256": former.sha256, "secrets": 3})
    plan = _plan(NEW, HOSPITALS, 3, key=key)
    scenario.propose(plan)
    for hospital in three:
        scenario.vote(hospital, "plan", NEW, plan.sha256)
    scenario.do(ONE, "plan:Advance", {"plan_id": NEW})

    ceremony = scenario.asset(keys.ceremony(NEW))

    assert ceremony["hospitals"] == list(HOSPITALS)
    assert ceremony["dealers"] == [ONE, TWO]


def test_the_origin_stays_where_a_key_is_handed_on_twice() -> None:
    scenario = _handed(_successor())
    scenario.do(ONE, "plan:Pause", {"plan_id": NEW, "reason": "again"})
    key = KEY.model_copy(update={"plan_id": NEW})
    third = _plan("third", (ONE, TWO, FOUR), 2, key=key)
    wrong = third.model_copy(
        update={"key": key.model_copy(update={"origin_sha256": scenario_sha(scenario)})}
    )

    error = scenario.refused(ONE, "plan:Propose", wrong)
    scenario.propose(third)

    assert error.code == Code.PLAN_INVALID
    assert scenario.asset(keys.plan("third"))["status"] == "PROPOSED"


def scenario_sha(scenario: Scenario) -> str:
    sha256: str = scenario.asset(keys.plan(NEW))["terms_sha256"]
    return sha256


# who leaves


def test_who_leaves_deals_too_where_all_are_needed() -> None:
    scenario = _leaving()
    _to_confirm(scenario, WITHOUT_THREE)
    shown = scenario.do(THREE, "ceremony:Get", {"plan_id": NEW})
    scenario.post_all(WITHOUT_THREE, "ceremony:Confirm", confirm_args)
    scenario.advance_ceremony(WITHOUT_THREE)

    ceremony = scenario.asset(keys.ceremony(NEW))

    assert ceremony["dealers"] == [ONE, TWO, FOUR, THREE]
    assert ceremony["hospitals"] == [ONE, TWO, FOUR]
    assert ceremony["status"] == "DONE"
    assert [c["msp_id"] for c in shown["commitments"]] == [ONE, TWO, FOUR, THREE]
    assert [s["msp_id"] for s in shown["shares"]] == [ONE, TWO, FOUR, THREE]


def test_its_vote_is_its_consent_to_deal() -> None:
    scenario = _proposed(WITHOUT_THREE, (ONE, TWO, FOUR), ALL_NEEDED)
    silent = scenario.refused(ONE, "plan:Advance", {"plan_id": NEW})
    scenario.vote(THREE, "plan", NEW, WITHOUT_THREE.sha256)

    assert (silent.code, "3 hospitals" in silent.message) == (Code.PLAN_INVALID, True)
    assert scenario.do(ONE, "plan:Advance", {"plan_id": NEW})["status"] == "APPROVED"


def test_who_votes_against_does_not_deal() -> None:
    scenario = _proposed(WITHOUT_THREE, (ONE, TWO, FOUR), ALL_NEEDED)
    scenario.vote(THREE, "plan", NEW, WITHOUT_THREE.sha256, approve=False)

    assert scenario.refused(ONE, "plan:Advance", {"plan_id": NEW}).code == Code.PLAN_INVALID


def test_no_more_of_those_who_leave_deal_than_are_needed() -> None:
    plan = _successor((ONE, TWO)).model_copy(
        update={"encryption": FORMER.encryption.model_copy(update={"threshold": None})}
    )
    scenario = _proposed(plan, HOSPITALS)
    scenario.do(ONE, "plan:Advance", {"plan_id": NEW})

    assert scenario.asset(keys.ceremony(NEW))["dealers"] == [ONE, TWO, THREE]


def test_who_leaves_gets_nothing_and_judges_nobody() -> None:
    scenario = _leaving()
    _to_confirm(scenario, WITHOUT_THREE)
    refused = [
        scenario.refused(THREE, "ceremony:Confirm", confirm_args(WITHOUT_THREE, THREE)),
        scenario.refused(THREE, "ceremony:Accuse", {"plan_id": NEW, "dealer": ONE}),
    ]
    scenario.do(ONE, "ceremony:Accuse", {"plan_id": NEW, "dealer": TWO})
    scenario.advance_ceremony(WITHOUT_THREE)
    refused.append(scenario.refused(THREE, "ceremony:Judge", {"plan_id": NEW, "culprits": [TWO]}))

    assert {error.code for error in refused} == {Code.NOT_A_PARTICIPANT}
    assert scenario.do(ONE, "ceremony:Get", {"plan_id": NEW})["verdicts"] == []


def test_who_gets_a_key_posts_one_for_each_dealer_to_encrypt_to_and_nobody_else_does() -> None:
    scenario = _leaving()
    refused = [
        scenario.refused(hospital, "ceremony:Commit", commit_args(WITHOUT_THREE, hospital, number))
        for hospital, number in ((ONE, 0), (ONE, 3), (ONE, 5))
    ]
    leaving = commit_args(WITHOUT_THREE, THREE) | {
        "receiving": commit_args(FORMER, ONE, 4)["receiving"]
    }
    refused.append(scenario.refused(THREE, "ceremony:Commit", leaving))
    anew = at("approved")
    refused.append(anew.refused(ONE, "ceremony:Commit", commit_args(terms(), ONE, 4)))

    assert {error.code for error in refused} == {Code.BAD_ARGUMENT}


def test_who_leaves_is_named_like_others() -> None:
    scenario = _leaving()
    _to_confirm(scenario, WITHOUT_THREE)
    scenario.do(ONE, "ceremony:Accuse", {"plan_id": NEW, "dealer": THREE})
    scenario.advance_ceremony(WITHOUT_THREE)
    for hospital in WITHOUT_THREE.hospitals:
        scenario.do(hospital, "ceremony:Judge", {"plan_id": NEW, "culprits": [THREE]})

    failed = scenario.advance_ceremony(WITHOUT_THREE)

    assert (failed["status"], failed["culprits"]) == ("FAILED", [THREE])
    assert scenario.asset(keys.reputation("hospital", THREE))["tallies"]["duty"][:2] == [0, 1]


@pytest.mark.parametrize("stage", ["COMMIT", "REVEAL"])
def test_who_leaves_and_does_not_deal_is_waited_for_and_named(stage: str) -> None:
    scenario = _leaving()
    if stage == "REVEAL":
        scenario.prepare_handing(WITHOUT_THREE)
        scenario.post_all(WITHOUT_THREE, "ceremony:Reveal", reveal_args)
    else:
        _commit(scenario, WITHOUT_THREE.hospitals)
    early = scenario.refused(ONE, "ceremony:Advance", {"plan_id": NEW})
    scenario.wait()

    failed = scenario.advance_ceremony(WITHOUT_THREE)

    assert (early.code, THREE in early.message) == (Code.NOT_YET, True)
    assert (failed["status"], failed["missing"]) == ("FAILED", [THREE])
    assert "successor" not in scenario.asset(keys.plan(OLD))


def test_who_has_left_already_cannot_deal() -> None:
    scenario = _proposed(WITHOUT_THREE, HOSPITALS, ALL_NEEDED)
    scenario.do(THREE, "consortium:Leave", {"reason": "merged"})
    other = WITHOUT_THREE.model_copy(update={"plan_id": "other"})
    errors = [
        scenario.refused(ONE, "plan:Advance", {"plan_id": NEW}),
        scenario.refused(ONE, "plan:Propose", other),
    ]

    assert {error.code for error in errors} == {Code.KEY_HOLDER_LEFT}
    assert all(f"{THREE} left the consortium" in error.message for error in errors)


def test_its_vote_counts_no_more_once_it_has_left() -> None:
    # Three of four decrypt. Of those who stay only two approve, and who has left did.
    scenario = _proposed(_successor(), (ONE, TWO, THREE))
    scenario.do(THREE, "consortium:Leave", {"reason": "merged"})

    error = scenario.refused(ONE, "plan:Advance", {"plan_id": NEW})

    assert (error.code, "2 hospitals" in error.message) == (Code.PLAN_INVALID, True)


def test_a_ceremony_ends_where_a_dealer_leaves_the_consortium_before_it_is_done() -> None:
    scenario = _leaving()
    scenario.do(THREE, "consortium:Leave", {"reason": "merged"})

    failed = scenario.advance_ceremony(WITHOUT_THREE)

    assert failed["reason"].startswith(f"{Code.KEY_HOLDER_LEFT}: {THREE}")
    assert "successor" not in scenario.asset(keys.plan(OLD))


# what is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": 3},
        {"origin_sha256": sha("another plan")},
        {"collective_key_sha256": sha("another key")},
    ],
)
def test_a_key_that_is_not_the_ledger_s_is_refused(changes: dict[str, Any]) -> None:
    plan = _successor(key=KEY.model_copy(update=changes))

    assert _paused().refused(ONE, "plan:Propose", plan).code == Code.PLAN_INVALID


def test_a_key_of_another_ring_is_refused() -> None:
    plan = _successor()
    other = plan.encryption.model_copy(update={"modulus_bits": (48, 48, 48, 48)})
    error = _paused().refused(ONE, "plan:Propose", plan.model_copy(update={"encryption": other}))

    assert error.code == Code.PLAN_INVALID
    assert "ring" in error.message


def test_no_holder_deals_that_has_not_approved() -> None:
    # Most hospitals approve, but of those who hold the key only two.
    three = (ONE, TWO, THREE)
    former = _plan(OLD, three, None)
    key = KEY.model_copy(update={"origin_sha256": former.sha256, "secrets": 3})
    plan = _plan(NEW, HOSPITALS, 3, key=key)
    scenario = _proposed(plan, (ONE, TWO, FOUR), former)

    error = scenario.refused(ONE, "plan:Advance", {"plan_id": NEW})
    scenario.vote(THREE, "plan", NEW, plan.sha256)

    assert (error.code, "2 hospitals" in error.message) == (Code.PLAN_INVALID, True)
    assert scenario.do(ONE, "plan:Advance", {"plan_id": NEW})["status"] == "APPROVED"


def test_a_key_in_use_is_not_handed_on() -> None:
    plan = _successor()
    scenario = _proposed(plan)
    scenario.do(ONE, "plan:Resume", {"plan_id": OLD, "reason": "goes on"})

    assert scenario.refused(ONE, "plan:Advance", {"plan_id": NEW}).code == Code.NOT_YET

    scenario.open(FORMER)
    scenario.do(ONE, "plan:Pause", {"plan_id": OLD, "reason": "its round is open"})

    assert scenario.refused(ONE, "plan:Advance", {"plan_id": NEW}).code == Code.NOT_YET


def test_a_plan_whose_key_is_on_its_way_does_not_go_on() -> None:
    scenario = _opened(_successor())
    other = _successor().model_copy(update={"plan_id": "other"})
    scenario.propose(other)
    for hospital in (ONE, TWO, FOUR):
        scenario.vote(hospital, "plan", "other", other.sha256)
    resumed = {"plan_id": OLD, "reason": "goes on"}
    study = study_terms(FORMER)

    assert scenario.refused(ONE, "plan:Resume", resumed).code == Code.KEY_HANDED_ON
    assert scenario.refused(ONE, "plan:Advance", {"plan_id": "other"}).code == Code.ALREADY
    assert scenario.refused(ONE, "study:Propose", study).code == Code.KEY_HANDED_ON


@pytest.mark.parametrize("aborted", [True, False])
def test_the_key_goes_back_where_its_handing_on_fails(aborted: bool) -> None:
    scenario = _opened(_successor())
    if aborted:
        scenario.do(ONE, "plan:Abort", {"plan_id": NEW, "reason": "not now"})
    else:
        scenario.wait()
        scenario.advance_ceremony(_successor())

    assert "successor" not in scenario.asset(keys.plan(OLD))
    scenario.do(ONE, "plan:Resume", {"plan_id": OLD, "reason": "goes on"})
    assert scenario.asset(keys.plan(OLD))["status"] == "ACTIVE"


def test_only_those_reveal_who_hand_on_and_they_name_the_key() -> None:
    plan = _plan(NEW, HOSPITALS, 3, key=KEY)
    scenario = _opened(plan)
    with_commitment = commit_args(plan, ONE, 3) | {"commitment_sha256": sha("share")}
    refused = [scenario.refused(ONE, "ceremony:Commit", with_commitment)]
    scenario.prepare_handing(plan)
    honest = reveal_args(plan, ONE)
    refused += [
        scenario.refused(THREE, "ceremony:Reveal", reveal_args(plan, THREE)),
        scenario.refused(ONE, "ceremony:Reveal", honest | {"nonce": sha("nonce")}),
        scenario.refused(ONE, "ceremony:Reveal", honest | {"key": None}),
        scenario.refused(ONE, "ceremony:Reveal", honest | {"key": ref("another key")}),
        scenario.refused(ONE, "ceremony:Reveal", honest | {"bound": honest["bound"][:3]}),
        scenario.refused(ONE, "ceremony:Reveal", honest | {"bound": []}),
        scenario.refused(ONE, "ceremony:Reveal", honest | {"dealing": None}),
    ]

    assert [error.code for error in refused] == [
        Code.BAD_ARGUMENT,
        Code.NOT_A_PARTICIPANT,
        Code.BAD_ARGUMENT,
        Code.BAD_ARGUMENT,
        Code.KEY_DISAGREEMENT,
        Code.BAD_ARGUMENT,
        Code.BAD_ARGUMENT,
        Code.BAD_ARGUMENT,
    ]


def test_no_other_key_is_confirmed() -> None:
    plan = _successor()
    scenario = _opened(plan)
    _to_confirm(scenario, plan)
    other = confirm_args(plan, ONE) | {"collective_key_sha256": sha("another key")}

    assert scenario.refused(ONE, "ceremony:Confirm", other).code == Code.KEY_DISAGREEMENT


# whatever anybody does, in any order


class _Walk:
    """Four hospitals, of whose first plan all or three decrypt, and two next plans for its key."""

    def __init__(self, former: PlanTerms, after: tuple[PlanTerms, ...]) -> None:
        self.scenario = _paused(former)
        self.after = {plan.plan_id: plan for plan in after}
        for plan in after:
            self.scenario.propose(plan)
        self.reached: set[tuple[str, str]] = set()

    def ask(self, who: str, name: str, args: Any) -> None:
        scenario = self.scenario
        response = scenario.invoke(scenario.users[who, usual(name)], name, args)
        assert response.status in (200, 400), response.message

    def act(self, pick: Random) -> None:
        name, who = pick.choice(sorted(self.after)), pick.choice(HOSPITALS)
        plan, which = self.after[name], {"plan_id": name}
        match pick.randrange(12):
            case 0:
                for held in pick.choice((["Resume"], ["Resume", "Pause"], ["Pause"], ["Pause"])):
                    self.ask(ONE, f"plan:{held}", {"plan_id": OLD, "reason": "others"})
            case 1 | 2 | 3:
                for voter in pick.sample(HOSPITALS, pick.choice((3, 4, 4))):
                    said = {"subject_sha256": plan.sha256, "approve": pick.random() < 0.9}
                    vote = {"subject": "plan", "subject_id": name, **said}
                    self.ask(voter, "consortium:Vote", vote)
                self.ask(who, "plan:Advance", which)
            case 4:
                self.scenario.wait(pick.choice((1, 101)))
                self.ask(who, "ceremony:Advance", which)
            case 5 if pick.random() < 0.2:
                self.ask(who, "consortium:Leave", {"reason": "merged"})
            case 6 if pick.random() < 0.2:
                self.ask(ONE, "plan:Abort", {**which, "reason": "not now"})
            case 7 if pick.random() < 0.2:
                self.ask(who, "ceremony:Accuse", {**which, "dealer": pick.choice(HOSPITALS)})
            case _:
                self.stage(plan, pick.choice((*(None,) * 8, *HOSPITALS)))

    def stage(self, plan: PlanTerms, skip: str | None) -> None:
        """Whatever a ceremony's stage takes, by all but one."""
        dealers = len(self.ceremony(plan.plan_id).get("dealers", ()))
        judged = {"plan_id": plan.plan_id, "culprits": [ONE]}
        for who in (hospital for hospital in HOSPITALS if hospital != skip):
            self.ask(who, "ceremony:Commit", commit_args(plan, who, dealers))
            self.ask(who, "ceremony:Reveal", reveal_args(plan, who))
            self.ask(who, "ceremony:Confirm", confirm_args(plan, who))
            self.ask(who, "ceremony:Judge", judged)
        self.ask(ONE, "ceremony:Advance", {"plan_id": plan.plan_id})

    def ceremony(self, plan_id: str) -> dict[str, Any]:
        known = composite_key(*keys.ceremony(plan_id)) in self.scenario.ledger.state
        return self.scenario.asset(keys.ceremony(plan_id)) if known else {}

    def check(self) -> None:
        """One plan has the key, by the consent of those who had it."""
        view = {name: self.ceremony(name) for name in self.after}
        having = [name for name, found in view.items() if found.get("status", "FAILED") != "FAILED"]
        old = self.scenario.asset(keys.plan(OLD))
        assert having == [name for name in view if name == old.get("successor")]
        for name, found in view.items():
            self.reached.add((name, found.get("status", "none")))
            for dealer in found.get("dealers", ()):
                digest = self.after[name].sha256
                assert self.scenario.asset(keys.vote("plan", name, digest, dealer))["approve"]
            if found.get("status") == "DONE":
                assert old["status"] != "ACTIVE"
                for dealer in found["dealers"]:
                    self.scenario.asset(keys.key_share(name, dealer))
        assert list(handovers.check(proven(self.scenario.ledger))) == []


def test_a_key_is_with_one_plan_by_the_consent_of_its_holders_whatever_happens() -> None:
    walked: list[_Walk] = []

    # A walk is its seed: there is nothing to shrink.
    phases = (Phase.explicit, Phase.reuse, Phase.generate)

    @settings(
        max_examples=25, deadline=None, phases=phases, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from((FORMER, ALL_NEEDED)),
        st.sampled_from(((ONE, TWO), (ONE, TWO, FOUR), (TWO, THREE, FOUR), HOSPITALS)),
        st.randoms(use_true_random=True),
    )
    def walk(former: PlanTerms, hospitals: tuple[str, ...], pick: Random) -> None:
        key = KEY.model_copy(update={"origin_sha256": former.sha256})
        after = tuple(_plan(name, hospitals, None, key=key) for name in (NEW, "other"))
        walked.append(life := _Walk(former, after))
        for _ in range(25):
            life.act(pick)
            life.check()

    # What the walks reach is chance: where they miss something, more of them go there.
    for _ in range(4):
        walk()
        reached = {status for life in walked for _, status in life.reached}
        if "DONE" in reached:
            break

    assert reached >= {"none", "COMMIT", "CONFIRM", "DONE", "FAILED"}
