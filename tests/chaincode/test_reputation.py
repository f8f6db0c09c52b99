"""Conduct that becomes reputation: the arithmetic, and what the contracts book."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_stub import creator
from support.scenario import (
    BAD,
    GOOD,
    HOSPITALS,
    PLAN,
    at,
    attest_args,
    commit_args,
    dataset_of,
    evaluate_args,
    ref,
    sha,
    terms,
)

from chaincode.schema import canonical, conduct, keys
from chaincode.schema.errors import Code
from chaincode.schema.reputation import Evidence, Rated
from chaincode.shim.stub import composite_key

ONE, TWO, THREE, FOUR = HOSPITALS
NEWCOMER = conduct.unknown(Rated.NODE, f"{ONE}/node1")

counts = st.integers(0, 3)
rounds = st.lists(
    st.dictionaries(st.sampled_from(list(Evidence)), st.tuples(counts, counts)), max_size=40
)


def lived(history, start=NEWCOMER):
    for now, events in enumerate(history):
        start = conduct.book(start, events, now)
    return start


def record(scenario, subject, subject_id):
    return scenario.asset(keys.reputation(subject, subject_id))


def tally(scenario, subject, subject_id, kind):
    """Good and bad events ever."""
    found = record(scenario, subject, subject_id)["tallies"].get(kind, (0, 0))
    return found[GOOD], found[BAD]


# the arithmetic


@given(rounds)
def test_a_score_is_a_whole_number_strictly_between_none_and_all(history):
    after = lived(history)

    assert type(after.score_milli) is int
    assert 0 <= after.score_milli <= 1000
    assert after.rounds == len(history)
    # What validation would refuse is never made: the arithmetic skips it.
    assert type(after).model_validate_json(after.model_dump_json()) == after


@given(rounds, st.sampled_from([k for k, (good, _) in conduct.WEIGHTS.items() if good]))
def test_good_conduct_never_lowers_a_score_and_bad_never_raises_it(history, kind):
    before = lived(history)

    better = conduct.book(before, {kind: (1, 0)}, 1, fade=False)
    worse = conduct.book(before, {kind: (0, 1)}, 1, fade=False)

    assert worse.score_milli <= before.score_milli <= better.score_milli


@settings(max_examples=10)
@given(rounds)
def test_recent_evidence_stays_bounded_whatever_the_history(history):
    after = lived(history * 8)

    for held in after.tallies.values():
        assert held.recent_good_milli <= 16 * 3000
        assert held.recent_bad_milli <= 32 * 3000


def test_the_score_is_the_mean_of_the_beta_distribution():
    after = lived([{Evidence.UPDATE: (1, 0)}, {Evidence.UPDATE: (0, 1)}])

    good, bad = 15 / 16, 1
    assert 0 <= 1000 * (good + 1) / (good + bad + 2) - after.score_milli < 2  # rounded down
    assert NEWCOMER.score_milli == 500


def test_an_honest_node_recovers_from_one_fault():
    honest = lived([{Evidence.AGREEMENT: (1, 0), Evidence.UPDATE: (1, 0)}] * 60)
    fallen = conduct.book(honest, {Evidence.AGREEMENT: (0, 1)}, 0)
    recovered = lived([{Evidence.AGREEMENT: (1, 0), Evidence.UPDATE: (1, 0)}] * 60, fallen)

    assert fallen.score_milli < honest.score_milli - 100
    assert recovered.score_milli > honest.score_milli - 40


def test_faults_every_other_round_keep_a_score_low():
    steady = lived([{Evidence.AGREEMENT: (1, 0)}] * 100)
    on_off = lived([{Evidence.AGREEMENT: (1, 0)}, {Evidence.AGREEMENT: (0, 1)}] * 50)

    assert on_off.score_milli < 100 < 900 < steady.score_milli


@settings(max_examples=10)
@given(rounds)
def test_a_record_stays_small_however_long_its_subject_lives(history):
    after = lived(history * 10)

    assert len(canonical.dumps(after)) < 1500


# what rounds book


def test_a_round_books_at_most_three_kilobytes_per_node():
    scenario = at("published")
    booked = [
        len(v) for k, v in scenario.ledger.state.items() if k.startswith("\x00reputation\x00")
    ]

    assert len(booked) == 3 * len(HOSPITALS) + 1
    assert sum(booked) < 3000 * len(HOSPITALS)


def test_a_published_round_books_everybody_who_took_part():
    scenario = at("published")

    node = f"{ONE}/node1"
    for kind, expected in {"update": (1, 0), "duty": (3, 0), "share": (1, 0)}.items():
        assert tally(scenario, "node", node, kind) == expected
        assert tally(scenario, "hospital", ONE, kind) == expected
    assert tally(scenario, "node", node, "agreement") == (2, 0)  # aggregate and candidate
    assert tally(scenario, "dataset", dataset_of(ONE), "outcome") == (1, 0)
    assert tally(scenario, "model", sha("model 1"), "evaluation") == (4, 0)
    assert record(scenario, "hospital", ONE)["validator"] == "node1"
    assert len({record(scenario, "hospital", h)["score_milli"] for h in HOSPITALS}) == 1


def test_nothing_is_booked_before_a_round_has_ended():
    kinds = {key.split("\x00")[1] for key in at("decrypted").ledger.state}

    assert "round" in kinds
    assert "reputation" not in kinds


def test_votes_against_the_outcome_and_a_rejected_candidate_are_booked():
    scenario = at("decrypted")
    for hospital, correct in zip(HOSPITALS, (19, 0, 0, 0), strict=True):
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), correct=correct))
    scenario.advance(terms())

    assert tally(scenario, "hospital", ONE, "evaluation") == (0, 1)
    assert tally(scenario, "hospital", TWO, "evaluation") == (1, 0)
    assert tally(scenario, "node", f"{ONE}/node1", "outcome") == (0, 1)
    assert tally(scenario, "node", f"{ONE}/node1", "progress") == (0, 1)


def test_another_candidate_than_the_agreed_one_counts_against_its_hospital():
    scenario = at("decrypted")
    scenario.evaluate(terms(), who=(ONE, TWO, THREE))
    scenario.do(FOUR, "round:Evaluate", evaluate_args(terms(), candidate=ref("other")))
    scenario.advance(terms())

    assert tally(scenario, "hospital", FOUR, "agreement") == (1, 1)
    assert tally(scenario, "hospital", FOUR, "evaluation") == (0, 0)


def test_a_share_that_most_cannot_use_counts_against_its_hospital():
    scenario = at("decrypted")
    share = {"plan_id": PLAN, "round": 1, "subject_sha256": sha(f"share 1 {ONE}")}
    for hospital in (TWO, THREE, FOUR):
        scenario.do(hospital, "round:Object", share | {"code": "MF-7021"})
    nothing = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 0}
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))

    assert scenario.advance(terms())["failure"] == Code.DECRYPTION_FAILED
    assert tally(scenario, "hospital", ONE, "share") == (0, 1)
    assert tally(scenario, "hospital", TWO, "share") == (0, 0)


def test_a_share_repaired_in_time_costs_nothing():
    scenario = at("decrypted")
    share = {"plan_id": PLAN, "round": 1, "subject_sha256": sha(f"share 1 {ONE}")}
    for hospital in (TWO, THREE, FOUR):
        scenario.do(hospital, "round:Object", share | {"code": "MF-7021"})
    scenario.evaluate(terms())
    scenario.advance(terms())

    assert tally(scenario, "hospital", ONE, "share") == (1, 0)


def test_progress_without_a_missing_node_is_told_apart():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE, TWO, THREE))
    scenario.wait()
    for step in (None, scenario.attest, scenario.share, scenario.evaluate):
        if step is not None:
            step(terms())
        scenario.advance(terms())

    assert tally(scenario, "node", f"{FOUR}/node1", "update") == (0, 1)
    assert tally(scenario, "node", f"{FOUR}/node1", "progress-absent") == (1, 0)
    assert tally(scenario, "node", f"{FOUR}/node1", "progress") == (0, 0)


def test_an_update_far_faster_than_the_others_is_told_apart():
    scenario = at("open")
    scenario.submit(terms(), who=(ONE,))
    scenario.wait(40)
    scenario.submit(terms(), who=(TWO, THREE, FOUR))
    for step in (None, scenario.attest, scenario.share, scenario.evaluate):
        if step is not None:
            step(terms())
        scenario.advance(terms())

    assert tally(scenario, "node", f"{ONE}/node1", "haste") == (0, 1)
    assert tally(scenario, "node", f"{TWO}/node1", "haste") == (1, 0)


def test_a_missed_duty_is_the_validators_as_well_once_it_is_known():
    scenario = at("published")
    scenario.open(terms(), 2)
    scenario.submit(terms(), 2)
    scenario.advance(terms(), 2)
    scenario.attest(terms(), 2, who=(ONE, TWO))
    scenario.wait()

    scenario.advance(terms(), 2)

    assert tally(scenario, "hospital", THREE, "duty") == (3, 1)
    assert tally(scenario, "node", f"{THREE}/node1", "duty") == (3, 1)


def test_a_ceremony_let_lapse_costs_who_let_it():
    scenario = at("approved")
    for hospital in (ONE, TWO, THREE):
        scenario.do(hospital, "ceremony:Commit", commit_args(terms(), hospital))
    scenario.wait()
    scenario.advance_ceremony(terms())

    assert tally(scenario, "hospital", FOUR, "duty") == (0, 1)
    assert composite_key(*keys.reputation("hospital", ONE)) not in scenario.ledger.state


def test_reputations_are_found_and_paged_by_kind():
    scenario = at("published")

    page = scenario.do(ONE, "reputation:List", {"subject": "node", "page_size": 3})
    rest = scenario.do(
        ONE, "reputation:List", {"subject": "node", "page_size": 3, "bookmark": page["bookmark"]}
    )
    found = scenario.do(
        ONE, "reputation:Get", {"subject": "node", "subject_id": f"{TWO}/node1"}, "auditor"
    )

    names = [r["subject_id"] for r in page["reputations"] + rest["reputations"]]
    assert names == [f"{h}/node1" for h in HOSPITALS]
    assert found.items() >= record(scenario, "node", f"{TWO}/node1").items()


@pytest.mark.parametrize(
    ("subject", "subject_id"),
    [("node", ONE), ("node", f"{ONE}/other"), ("dataset", "other"), ("model", sha("other"))],
)
def test_what_is_not_there_has_no_reputation(subject, subject_id):
    args = {"subject": subject, "subject_id": subject_id}

    assert at("enrolled").refused(ONE, "reputation:Get", args).code == Code.NOT_FOUND


def test_whom_nothing_is_known_of_has_the_unknowns_reputation():
    args = {"subject": "dataset", "subject_id": dataset_of(ONE)}

    found = at("enrolled").do(ONE, "reputation:Get", args)

    assert (found["score_milli"], found["rounds"], found["tallies"]) == (500, 0, {})


def test_a_wrong_attestation_weighs_in_every_other_plan_too():
    scenario = at("sealed")
    scenario.attest(terms(), who=(ONE, TWO, THREE))
    scenario.do(FOUR, "round:Attest", attest_args(terms(), aggregate="forged"))
    scenario.advance(terms())
    for step in (scenario.share, scenario.evaluate):
        step(terms())
        scenario.advance(terms())
    other = terms("plan-2")
    for step in (scenario.propose, scenario.consent, scenario.approve, scenario.ceremony):
        step(other)
    scenario.open(other)
    scenario.submit(other)

    weights = [c["weight"] for c in scenario.advance(other)["contributions"]]

    assert weights[0] == weights[1] == weights[2] > weights[3]


# complaints


def complaint(subject="node", subject_id=f"{FOUR}/node1", **changes):
    args = {"complaint_id": "c1", "subject": subject, "subject_id": subject_id}
    return {**args, "reason": "sells records", "evidence_sha256": sha("photograph"), **changes}


def decide(scenario, args, voters=(ONE, TWO, THREE), approve=True):
    opened = scenario.do(ONE, "complaint:Open", args)
    for hospital in voters:
        scenario.vote(hospital, "complaint", "c1", opened["terms_sha256"], approve)
    return scenario.do(ONE, "complaint:Advance", {"complaint_id": "c1"})


def test_an_upheld_complaint_costs_reputation():
    scenario = at("published")
    before = record(scenario, "dataset", dataset_of(FOUR))["score_milli"]

    decided = decide(scenario, complaint("dataset", dataset_of(FOUR)))

    after = record(scenario, "dataset", dataset_of(FOUR))
    assert (decided["status"], decided["accused"]) == ("UPHELD", FOUR)
    assert tally(scenario, "dataset", dataset_of(FOUR), "complaint") == (0, 1)
    assert after["score_milli"] < before // 2
    assert after["rounds"] == 1
    again = scenario.refused(ONE, "complaint:Advance", {"complaint_id": "c1"})
    assert again.code == Code.ALREADY


def test_a_dismissed_complaint_costs_nothing():
    scenario = at("published")

    decided = decide(scenario, complaint(), voters=(TWO, THREE), approve=False)

    assert decided["status"] == "DISMISSED"
    assert tally(scenario, "node", f"{FOUR}/node1", "complaint") == (0, 0)


def test_a_complaint_waits_for_a_majority_of_all_hospitals():
    scenario = at("published")
    opened = scenario.do(ONE, "complaint:Open", complaint())
    for hospital in (ONE, TWO):
        scenario.vote(hospital, "complaint", "c1", opened["terms_sha256"])

    error = scenario.refused(ONE, "complaint:Advance", {"complaint_id": "c1"})

    assert error.code == Code.NOT_YET
    ballot = {"subject": "complaint", "subject_id": "c1"}
    assert len(scenario.do(ONE, "consortium:GetBallot", ballot)["votes"]) == 2
    assert scenario.refused(ONE, "consortium:Advance", ballot).code == Code.BAD_ARGUMENT


def test_nobody_votes_on_a_complaint_about_themselves():
    scenario = at("published")
    opened = scenario.do(ONE, "complaint:Open", complaint())
    vote = {"subject": "complaint", "subject_id": "c1", "approve": False}

    error = scenario.refused(
        FOUR, "consortium:Vote", vote | {"subject_sha256": opened["terms_sha256"]}
    )

    assert error.code == Code.NOT_A_VOTER


def test_everybody_votes_on_a_complaint_about_a_model():
    scenario = at("published")

    decided = decide(
        scenario, complaint("model", sha("model 1")), voters=(FOUR, THREE, TWO), approve=True
    )

    assert (decided["status"], decided["accused"]) == ("UPHELD", None)
    assert tally(scenario, "model", sha("model 1"), "complaint") == (0, 1)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (complaint(subject_id=f"{FOUR}/other"), Code.NOT_FOUND),
        (complaint("hospital", "Hospital9MSP"), Code.NOT_FOUND),
        (complaint("hospital", FOUR, suspend_seconds=60), Code.BAD_ARGUMENT),
        (complaint(suspend_seconds=367 * 86_400), Code.BAD_ARGUMENT),
        (complaint(reason=""), Code.BAD_ARGUMENT),
        (complaint(subject_id="a/b/c"), Code.BAD_ARGUMENT),
    ],
)
def test_a_complaint_about_nobody_or_without_reason_is_refused(args, code):
    assert at("published").refused(ONE, "complaint:Open", args).code == code


def test_a_complaint_is_opened_once_under_its_name():
    scenario = at("published")
    scenario.do(ONE, "complaint:Open", complaint())

    assert scenario.refused(TWO, "complaint:Open", complaint()).code == Code.EXISTS
    listed = scenario.do(TWO, "complaint:List")["complaints"]
    assert listed == [scenario.do(TWO, "complaint:Get", {"complaint_id": "c1"})]


def test_a_vote_suspends_a_node_for_a_time_whatever_its_hospital_says():
    scenario = at("open")
    decide(scenario, complaint(suspend_seconds=60))

    error = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(terms(), FOUR))
    scenario.do(FOUR, "node:Suspend", {"node_id": "node1"})
    scenario.do(FOUR, "node:Resume", {"node_id": "node1"})
    still = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(terms(), FOUR))
    listed = scenario.do(ONE, "node:List", {})["suspensions"]
    scenario.wait(60)

    assert (error.code, still.code) == (Code.NODE_NOT_ACTIVE, Code.NODE_NOT_ACTIVE)
    assert "c1" in error.message
    assert [(s["msp_id"], s["node_id"], s["complaint_id"]) for s in listed] == [
        (FOUR, "node1", "c1")
    ]
    assert scenario.do(ONE, "node:List", {})["suspensions"] == []
    scenario.submit(terms(), who=(FOUR,))


def test_a_later_shorter_suspension_does_not_end_a_longer_one():
    scenario = at("open")
    decide(scenario, complaint(suspend_seconds=86_400))
    first = scenario.asset(keys.suspension(FOUR, "node1"))
    second = complaint(suspend_seconds=1, complaint_id="c2")
    opened = scenario.do(ONE, "complaint:Open", second)
    for hospital in (ONE, TWO, THREE):
        scenario.vote(hospital, "complaint", "c2", opened["terms_sha256"])
    scenario.do(ONE, "complaint:Advance", {"complaint_id": "c2"})

    assert scenario.asset(keys.suspension(FOUR, "node1")) == first


def lift(scenario, *, voters=(ONE, TWO, THREE), approve=True, advance=True):
    args = {"complaint_id": "c1", "reason": "another machine's log"}
    digest = scenario.do(TWO, "complaint:ProposeLifting", args)["terms_sha256"]
    for hospital in voters:
        scenario.vote(hospital, "lifting", "c1", digest, approve)
    if advance:
        scenario.do(ONE, "consortium:Advance", {"subject": "lifting", "subject_id": "c1"})
    return digest


def test_a_vote_lifts_a_suspension_before_its_time_and_leaves_the_complaint():
    scenario = at("open")
    decide(scenario, complaint(suspend_seconds=86_400))
    digest = lift(scenario)

    scenario.submit(terms(), who=(FOUR,))
    lifted = scenario.asset(keys.suspension(FOUR, "node1"))
    assert (lifted["lifted_by"], lifted["complaint_id"]) == (digest, "c1")
    assert scenario.do(TWO, "complaint:Get", {"complaint_id": "c1"})["status"] == "UPHELD"
    assert tally(scenario, "node", f"{FOUR}/node1", "complaint") == (0, 1)
    again = {"complaint_id": "c1", "reason": "once more"}
    assert scenario.refused(TWO, "complaint:ProposeLifting", again).code == Code.BAD_STATE


def test_a_refused_lifting_leaves_the_suspension():
    scenario = at("open")
    decide(scenario, complaint(suspend_seconds=86_400))
    lift(scenario, approve=False)

    error = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(terms(), FOUR))
    assert error.code == Code.NODE_NOT_ACTIVE
    assert scenario.ledger.events[-1][0] == "lifting.refused"


def test_a_suspended_nodes_hospital_does_not_vote_on_lifting():
    scenario = at("open")
    decide(scenario, complaint(suspend_seconds=86_400))
    digest = lift(scenario, voters=(ONE, TWO), advance=False)
    vote = {"subject": "lifting", "subject_id": "c1", "approve": True, "subject_sha256": digest}

    assert scenario.refused(FOUR, "consortium:Vote", vote).code == Code.NOT_A_VOTER
    advance = {"subject": "lifting", "subject_id": "c1"}
    assert scenario.refused(ONE, "consortium:Advance", advance).code == Code.NOT_YET


def test_lifting_one_complaints_suspension_leaves_a_later_ones():
    scenario = at("open")
    decide(scenario, complaint(suspend_seconds=60))
    lift(scenario, advance=False)
    opened = scenario.do(ONE, "complaint:Open", complaint(suspend_seconds=90, complaint_id="c2"))
    for hospital in (ONE, TWO, THREE):
        scenario.vote(hospital, "complaint", "c2", opened["terms_sha256"])
    scenario.do(ONE, "complaint:Advance", {"complaint_id": "c2"})
    scenario.do(ONE, "consortium:Advance", {"subject": "lifting", "subject_id": "c1"})

    assert scenario.ledger.events[-1][0] == "lifting.late"
    error = scenario.refused(FOUR, "round:SubmitUpdate", scenario.update_args(terms(), FOUR))
    assert (error.code, "c2" in error.message) == (Code.NODE_NOT_ACTIVE, True)


@pytest.mark.parametrize("about", [complaint(), complaint("dataset", dataset_of(FOUR))])
def test_a_complaint_that_suspends_nobody_has_nothing_to_lift(about):
    scenario = at("published")
    decide(scenario, about)
    args = {"complaint_id": "c1", "reason": "why not"}
    assert scenario.refused(ONE, "complaint:ProposeLifting", args).code == Code.BAD_STATE


def test_a_suspension_of_one_node_leaves_the_others_alone():
    scenario = at("open")
    scenario.users[FOUR, "node2"] = creator(FOUR, "node2", "trainer,validator", "n2")
    scenario.do(FOUR, "node:Register", scenario.node_args(FOUR, "node2"))
    decide(scenario, complaint(subject_id=f"{FOUR}/node2", suspend_seconds=60))

    scenario.submit(terms(), who=(FOUR,))
    round_ = {"plan_id": PLAN, "number": 1}
    assert scenario.refused(FOUR, "round:Advance", round_, "node2").code == Code.NODE_NOT_ACTIVE
