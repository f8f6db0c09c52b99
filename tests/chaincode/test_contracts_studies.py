"""Studies: what may be asked, who may do what, when, and that there is one result."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.masking import bring, masked_terms
from support.replayed import proven
from support.scenario import (
    BAD,
    HOSPITALS,
    Scenario,
    at,
    dataset_args,
    dataset_of,
    ref,
    sha,
    terms,
)
from support.studies import (
    DATA,
    HELD,
    Steps,
    deposit_args,
    everything,
    found_sums,
    share_args,
    study_terms,
    sum_args,
)

from chaincode.schema import accounting, canonical, keys, studies
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code
from chaincode.schema.studies import (
    Flooding,
    Histogram,
    Selection,
    StudyDataset,
    StudyPrivacy,
    StudyTerms,
    Term,
    spending_of,
)
from chaincode.shim.stub import composite_key
from client.audit import reputations
from client.audit import studies as audited

ONE, TWO, THREE, FOUR = HOSPITALS
PLAN = terms().model_copy(update={"encryption": EncryptionTerms(threshold=3)})
STUDY = study_terms(PLAN)
NOISED = study_terms(PLAN, privacy=StudyPrivacy(noise_milli=20_000, quorum=3))


@lru_cache(maxsize=1)
def _active() -> Scenario:
    made = at("enrolled")
    for step in (made.propose, made.consent, made.approve, made.ceremony):
        step(PLAN)
    return made


def begun(status: str, study: StudyTerms = STUDY) -> Steps:
    return Steps(copy.deepcopy(_active()), PLAN, study).to(status)


@pytest.mark.parametrize(
    "changes",
    [
        {"holder": ONE},
        {"holder": "Hospital9MSP"},
        {"plan_id": "no-such-plan"},
        {"datasets": (StudyDataset(msp_id=ONE, dataset_id=dataset_of(TWO)),)},
        {"datasets": STUDY.datasets * 2},
        {"linear": ("ward",)},
        {"histograms": (Histogram(name="nothing", bins=2),)},
        {"histograms": (Histogram(name="ward", bins=2),)},
        {"histograms": (Histogram(name="radius"),)},
        {"logistic": 3, "levels": 2**15},
        {"levels": 2**24},
        {"least_records": 2000},
        {"data": DATA.model_copy(update={"classes": ("no", "maybe", "yes")})},
        {"flooding": Flooding(scale_bits=40, flood_bits=40)},
        {"flooding": STUDY.flooding.model_copy(update={"statistical_bits": 128})},
        {"privacy": StudyPrivacy(noise_milli=1000, quorum=4)},
        {"privacy": StudyPrivacy(noise_milli=1000, quorum=1)},
        {"privacy": StudyPrivacy(noise_milli=10**6, quorum=3), "levels": 10_000},
    ],
)
def test_a_study_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    made = copy.deepcopy(_active())
    asked = {**STUDY.model_dump(mode="json"), **_plain(changes)}

    assert made.refused(ONE, "study:Propose", asked).code == Code.STUDY_INVALID


def _plain(changes: dict[str, Any]) -> dict[str, Any]:
    whole = STUDY.model_copy(update=changes)
    return {name: whole.model_dump(mode="json")[name] for name in changes}


def test_a_plan_without_a_collective_key_serves_no_study() -> None:
    made = copy.deepcopy(_active())
    bring(made, masked_terms("plan-4"), "active")
    asked = {**STUDY.model_dump(mode="json"), "plan_id": "plan-4"}

    assert made.refused(ONE, "study:Propose", asked).code == Code.STUDY_INVALID


def test_only_what_is_asked_for_is_summed() -> None:
    bare = StudyTerms.model_validate(
        {**dict(STUDY), "statistics": (), "histograms": (), "linear": (), "logistic": None}
    )
    means = bare.model_copy(update={"statistics": ("mean",)})

    assert studies.terms_of(bare) == (Term(),)
    assert studies.terms_of(means) == (Term(), Term((0,)), Term((1,)))
    assert len(studies.terms_of(STUDY)) == 1 + 2 + 3 + 3 + 4 + 2 + 2


def test_a_whole_study_leaves_a_result_whose_lineage_leads_to_the_datasets() -> None:
    steps = begun("PUBLISHED")

    view = steps.made.do(FOUR, "study:Get", steps.which)
    result = f"study-result/{STUDY.study_id}"
    edges = steps.made.do(FOUR, "provenance:Ancestors", {"name": result})["edges"]
    used = steps.made.do(FOUR, "provenance:Ancestors", {"name": f"study/{STUDY.study_id}"})
    assert view["result"]["sums"] == found_sums(STUDY)
    assert view["result"]["records"] == 3 * HELD
    targets = {edge["target"] for edge in edges}
    assert targets >= {f"dataset/{dataset_of(h)}" for h in (ONE, TWO, THREE)}
    assert targets >= {f"study/{STUDY.study_id}"}
    assert f"deposit/{STUDY.study_id}/{dataset_of(ONE)}" in {e["target"] for e in used["edges"]}


def test_records_are_handed_over_by_consent_alone_and_whole() -> None:
    steps = begun("COLLECTING")
    args = deposit_args(PLAN, STUDY, dataset_of(ONE))
    few = {**args, "records": HELD - 1}
    short = {**args, "content": {**args["content"], "size_bytes": 1}}
    withdrawn = {"dataset_id": dataset_of(TWO), "terms_sha256": STUDY.sha256, "given": False}
    steps.made.do(TWO, "study:Consent", {**steps.which, **withdrawn})
    other = deposit_args(PLAN, STUDY, dataset_of(TWO))

    assert steps.made.refused(TWO, "study:Deposit", args).code == Code.NOT_OWNER
    assert steps.made.refused(TWO, "study:Deposit", other).code == Code.CONSENT_MISSING
    assert steps.made.refused(ONE, "study:Deposit", few).code == Code.BAD_ARGUMENT
    assert steps.made.refused(ONE, "study:Deposit", short).code == Code.WRONG_SIZE
    steps.made.do(ONE, "study:Deposit", args)
    assert steps.made.refused(ONE, "study:Deposit", args).code == Code.DUPLICATE_CONTRIBUTION


@pytest.mark.parametrize(
    "ranges",
    [
        [(0, 0, 9)],
        [(0, 0, 20), (1, 0, 9)],
        [(0, 0, HELD + 1)],
        [(0, 20, 20)],
        [(1, 0, 20), (0, 0, 20)],
        [(0, 0, 20), (0, 15, 40)],
    ],
)
def test_a_selection_names_records_that_are_there_once_and_enough_of_each_owner(
    ranges: list[tuple[int, int, int]],
) -> None:
    study = study_terms(PLAN, holder_selects=True)
    steps = begun("HELD", study)
    chosen = [
        {"dataset_id": study.datasets[place].dataset_id, "first": first, "last": last}
        for place, first, last in ranges
    ]

    args = {**sum_args(PLAN, study), "selection": chosen}

    assert steps.made.refused(FOUR, "study:Sum", args).code == Code.BAD_ARGUMENT


def test_the_holder_alone_sums_once_and_chooses_only_where_it_may() -> None:
    steps = begun("HELD")
    args = sum_args(PLAN, STUDY)
    some = {**args, "selection": [{**everything(STUDY)[0], "last": HELD - 1}]}

    assert steps.made.refused(ONE, "study:Sum", args, "node1").code == Code.NOT_OWNER
    assert steps.made.refused(FOUR, "study:Sum", some).code == Code.BAD_ARGUMENT
    steps.sum()
    assert steps.made.refused(FOUR, "study:Sum", args).code == Code.BAD_STATE


def test_who_withdraws_before_the_sum_is_left_out() -> None:
    study = study_terms(PLAN, holder_selects=True)
    steps = begun("HELD", study)
    withdrawn = {"dataset_id": dataset_of(TWO), "terms_sha256": study.sha256, "given": False}
    steps.made.do(TWO, "study:Consent", {**steps.which, **withdrawn})
    args = sum_args(PLAN, study)
    without = [args["selection"][0], args["selection"][2]]

    assert steps.made.refused(FOUR, "study:Sum", args).code == Code.CONSENT_MISSING
    summed = steps.made.do(FOUR, "study:Sum", {**args, "selection": without})
    assert summed["records"] == 2 * HELD


def test_a_sum_that_others_do_not_attest_is_never_decrypted() -> None:
    steps = begun("SUMMED")
    for hospital in HOSPITALS:
        agreed = "sum " + STUDY.study_id if hospital in (ONE, FOUR) else "another"
        args = {**steps.which, "sum_sha256": sha(agreed)}
        steps.made.do(hospital, "study:Attest", args)

    failed = steps.advance()

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.NO_AGREEMENT)
    share = share_args(PLAN, STUDY, ONE)
    assert steps.made.refused(ONE, "study:SubmitShare", share).code == Code.BAD_STATE


def test_shares_are_of_the_agreed_sum_of_its_key_holders_and_of_no_more_than_is_asked() -> None:
    steps = begun("AGREED")
    args = share_args(PLAN, STUDY, ONE)
    whole = {**args, "share": {**args["share"], "size_bytes": 49_204}}
    other = {**args, "sum_sha256": sha("another")}

    assert steps.study()["key_holders"] == [ONE, TWO, THREE]
    assert steps.made.refused(ONE, "study:SubmitShare", whole).code == Code.WRONG_SIZE
    assert steps.made.refused(ONE, "study:SubmitShare", other).code == Code.WRONG_AGGREGATE
    assert steps.made.refused(FOUR, "study:SubmitShare", args).code == Code.NOT_A_PARTICIPANT


def test_a_stage_that_lapses_fails_the_study_and_is_booked_on_who_was_missing() -> None:
    steps = begun("AGREED")
    steps.made.do(ONE, "study:SubmitShare", share_args(PLAN, STUDY, ONE))

    assert steps.made.refused(ONE, "study:Advance", steps.which).code == Code.NOT_YET
    steps.made.wait()
    failed = steps.advance()

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_MISSING)
    booked = steps.made.asset(keys.reputation("hospital", TWO))
    assert booked["tallies"]["duty"][BAD] > 0


def test_others_share_where_a_key_holder_stays_away() -> None:
    steps = begun("AGREED")
    for hospital in (ONE, THREE):
        steps.made.do(hospital, "study:SubmitShare", share_args(PLAN, STUDY, hospital))
    steps.made.wait()

    again = steps.advance()

    assert (again["status"], again["attempt"]) == ("AGREED", 2)
    assert (again["key_holders"], again["silent"]) == ([ONE, THREE, FOUR], [TWO])
    assert steps.made.asset(keys.reputation("hospital", TWO))["tallies"]["duty"][BAD] == 1
    assert steps.made.do(ONE, "study:Get", steps.which)["shares"] == []
    late = share_args(PLAN, STUDY, TWO)
    old = share_args(PLAN, STUDY, ONE)
    assert steps.made.refused(TWO, "study:SubmitShare", late).code == Code.NOT_A_PARTICIPANT
    assert steps.made.refused(ONE, "study:SubmitShare", old).code == Code.BAD_STATE
    for hospital in again["key_holders"]:
        steps.made.do(hospital, "study:SubmitShare", share_args(PLAN, STUDY, hospital, 2))
    assert steps.advance()["status"] == "DECRYPTED"
    assert list(reputations.check(proven(steps.made.ledger))) == []


def test_a_study_ends_when_too_few_key_holders_are_left_for_another_attempt() -> None:
    steps = begun("AGREED")
    for hospital in (ONE, THREE):
        steps.made.do(hospital, "study:SubmitShare", share_args(PLAN, STUDY, hospital))
    steps.made.wait()
    steps.advance()
    steps.made.wait()

    failed = steps.advance()

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.KEY_HOLDER_MISSING)
    assert list(reputations.check(proven(steps.made.ledger))) == []


def test_an_owner_of_two_datasets_is_waited_for_until_both_are_handed_over() -> None:
    made = copy.deepcopy(_active())
    made.do(ONE, "dataset:Register", dataset_args("another"))
    both = (*STUDY.datasets, StudyDataset(msp_id=ONE, dataset_id="another"))
    study = study_terms(PLAN, datasets=both)
    steps = Steps(made, PLAN, study).to("COLLECTING")
    for one in STUDY.datasets:
        args = deposit_args(PLAN, study, one.dataset_id)
        made.do(one.msp_id, "study:Deposit", args)

    early = made.refused(ONE, "study:Advance", steps.which)
    made.do(ONE, "study:Deposit", deposit_args(PLAN, study, "another"))

    assert (early.code, ONE in early.message, TWO in early.message) == (Code.NOT_YET, True, False)
    held = steps.advance()
    assert (held["status"], len(held["deposits"])) == ("HELD", 4)


@pytest.mark.parametrize(("saying", "booked"), [(HOSPITALS[:3], True), (HOSPITALS[:2], False)])
def test_what_is_not_proven_is_booked_on_who_handed_it_over(
    saying: tuple[str, ...], booked: bool
) -> None:
    steps = begun("HELD")
    made, name = steps.made, dataset_of(TWO)
    args = sum_args(PLAN, STUDY)
    without = [one for one in args["selection"] if one["dataset_id"] != name]
    made.do(FOUR, "study:Sum", {**args, "selection": without})
    attest = {**steps.which, "sum_sha256": args["sum"]["sha256"]}
    for wrong in ([name, name], [dataset_of(ONE)]):
        refused = made.refused(ONE, "study:Attest", {**attest, "unsound": wrong})
        assert refused.code == Code.BAD_ARGUMENT
    for hospital in HOSPITALS[:3]:
        found = [name] if hospital in saying else []
        made.do(hospital, "study:Attest", {**attest, "unsound": found})

    agreed = steps.advance()

    assert (agreed["status"], agreed["unsound"]) == ("AGREED", [name] if booked else [])
    for subject, subject_id in (("hospital", TWO), ("node", f"{TWO}/node1")):
        place = composite_key(*keys.reputation(subject, subject_id))
        known = json.loads(made.ledger.state.get(place, b'{"tallies":{}}'))["tallies"]
        assert known.get("content", (0, 0))[BAD] == int(booked)
    assert list(reputations.check(proven(made.ledger))) == []


@pytest.mark.parametrize(
    ("sums", "code"),
    [
        ([HELD], None),
        ([3 * HELD - 1], 0),
        ([3 * HELD, 10**9], 1),
        ([3 * HELD, -(10**9)], 1),
        # No column's square.
        ([3 * HELD, 1, 1, -1], 3),
    ],
)
def test_sums_that_no_records_give_are_refused(sums: list[int], code: int | None) -> None:
    steps = begun("DECRYPTED")
    whole = sums if code is None else sums + found_sums(STUDY)[len(sums) :]

    error = steps.made.refused(ONE, "study:Find", {**steps.which, "sums": whole})

    assert error.code == Code.BAD_ARGUMENT


def judging(who: tuple[str, ...] = (ONE, TWO, THREE)) -> Steps:
    """The shares of three decrypted nothing; so many of them proved theirs in time."""
    steps = begun("DECRYPTED")
    for hospital in HOSPITALS:
        steps.made.do(hospital, "study:Find", {**steps.which, "sums": []})
    assert steps.advance()["status"] == "DISPUTED"
    for hospital in who:
        steps.prove(hospital)
    if len(who) < 3:
        assert steps.made.refused(ONE, "study:Advance", steps.which).code == Code.NOT_YET
        steps.made.wait()
    assert steps.advance()["status"] == "JUDGING"
    return steps


def shares_of(steps: Steps, subject: str, name: str) -> int:
    """Wrong ones that were booked."""
    raw = steps.made.ledger.state.get(composite_key(*keys.reputation(subject, name)), b"{}")
    return int(json.loads(raw).get("tallies", {}).get("share", {BAD: 0})[BAD])


def test_whose_share_is_not_shown_to_be_right_is_named_and_booked() -> None:
    steps = judging(who=(ONE, TWO))
    steps.judge({ONE: [TWO], TWO: [FOUR], FOUR: [TWO, ONE]})
    steps.made.wait()

    failed = steps.advance()

    assert (failed["status"], failed["failure"]) == ("FAILED", Code.DECRYPTION_FAILED)
    # THREE gave neither proof nor verdict, and is booked for the worse of both.
    assert (failed["unproven"], failed["absent"]) == ([THREE], [])
    assert failed["reason"].endswith(f"; not shown to be right: that of {THREE}")
    assert [shares_of(steps, "hospital", h) for h in HOSPITALS] == [0, 0, 1, 0]
    assert shares_of(steps, "node", f"{THREE}/node1") == 1
    ledger = proven(steps.made.ledger)
    assert [*reputations.check(ledger), *audited.check(ledger)] == []


def test_most_hospitals_name_whose_proof_does_not_hold() -> None:
    steps = judging()
    steps.judge({ONE: [TWO], THREE: [TWO], FOUR: [TWO, ONE], TWO: []})

    assert steps.advance()["unproven"] == [TWO]
    ledger = proven(steps.made.ledger)
    assert list(audited.check(ledger)) == []
    writings = ledger.writings[composite_key(*keys.study(STUDY.study_id))]
    for named in ([], [ONE, TWO], [THREE]):
        told = json.loads(writings[-1].value or b"") | {"unproven": named}
        writings[-1] = replace(writings[-1], value=canonical.dumps(told))
        (finding,) = audited.check(ledger)
        assert finding.message == "study study-1: whom it names does not follow from proofs"


def test_where_all_shares_are_proven_nobody_is_named_and_who_judges_late_missed_a_duty() -> None:
    steps = judging()
    steps.judge({ONE: [], TWO: [THREE], THREE: [TWO]})
    steps.made.wait()

    failed = steps.advance()

    assert (failed["unproven"], failed["absent"]) == ([], [FOUR])
    assert failed["reason"].endswith("each is proven, so values are none of honest records")
    assert [shares_of(steps, "hospital", h) for h in HOSPITALS] == [0, 0, 0, 0]


def test_who_did_not_share_proves_nothing_and_nothing_is_proven_twice_or_early() -> None:
    steps = begun("DECRYPTED")
    proof = {**steps.which, "proof": ref("proof")}
    assert steps.made.refused(ONE, "study:Prove", proof).code == Code.BAD_STATE
    judged = {**steps.which, "culprits": [TWO]}
    assert steps.made.refused(ONE, "study:Judge", judged).code == Code.BAD_STATE
    for hospital in HOSPITALS:
        steps.made.do(hospital, "study:Find", {**steps.which, "sums": []})
    steps.advance()
    steps.prove(ONE)

    assert steps.made.refused(ONE, "study:Prove", proof).code == Code.DUPLICATE_CONTRIBUTION
    assert steps.made.refused(FOUR, "study:Prove", proof).code == Code.NOT_A_PARTICIPANT
    steps.made.wait()
    assert steps.made.refused(TWO, "study:Prove", proof).code == Code.DEADLINE_PASSED


def test_a_study_is_refused_by_vote() -> None:
    steps = Steps(copy.deepcopy(_active()), PLAN, STUDY)
    steps.propose()
    for hospital in (ONE, TWO):
        steps.made.vote(hospital, "study", STUDY.study_id, STUDY.sha256, approve=False)

    assert steps.advance()["status"] == "REJECTED"


def test_records_that_nobody_hands_over_in_time_end_the_study() -> None:
    steps = begun("COLLECTING")
    steps.made.wait()

    assert steps.advance()["failure"] == Code.QUORUM_MISSED


def test_noised_sums_are_charged_to_each_dataset_that_is_handed_over() -> None:
    steps = begun("COLLECTING", NOISED)

    steps.deposit()

    spent = spending_of(NOISED, 10_000)
    for hospital in (ONE, TWO, THREE):
        account = steps.made.do(FOUR, "dataset:Get", {"dataset_id": dataset_of(hospital)})
        assert account["account"]["studies"] == [spent.model_dump(mode="json")]
        assert account["account"]["epsilon_micro"] == spent.epsilon_micro > 0


def test_exact_sums_are_charged_to_no_account() -> None:
    steps = begun("HELD")

    account = steps.made.do(FOUR, "dataset:Get", {"dataset_id": dataset_of(ONE)})["account"]

    assert (account["studies"], account["epsilon_micro"]) == ([], 0)


def test_records_are_not_handed_over_to_noised_sums_beyond_their_budget() -> None:
    steps = begun("COLLECTING", NOISED)
    spent = spending_of(NOISED, 10_000).epsilon_micro
    budget = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": spent - 1}
    steps.made.do(ONE, "dataset:SetBudget", budget)
    args = deposit_args(PLAN, NOISED, dataset_of(ONE))

    assert steps.made.refused(ONE, "study:Deposit", args).code == Code.BUDGET_EXCEEDED
    steps.made.do(ONE, "dataset:SetBudget", budget | {"budget_epsilon_micro": spent})
    steps.made.do(ONE, "study:Deposit", args)


def test_fewer_noises_than_were_agreed_are_not_summed() -> None:
    steps = begun("HELD", NOISED)
    args = sum_args(PLAN, NOISED)

    error = steps.made.refused(FOUR, "study:Sum", {**args, "selection": args["selection"][:2]})
    steps.made.do(FOUR, "study:Sum", args)

    assert error.code == Code.BAD_ARGUMENT
    assert "noise of 2 datasets" in error.message


def test_noise_may_bring_sums_below_zero_and_no_further_than_it_reaches() -> None:
    steps = begun("DECRYPTED", NOISED)
    sums = found_sums(NOISED)
    (ward,) = (
        i for i, term in enumerate(studies.terms_of(NOISED)) if (term.name, term.bin) == ("ward", 1)
    )
    reach = 12 * 3 * studies.noises(NOISED)[ward]

    def found(value: int) -> dict[str, Any]:
        return {**steps.which, "sums": [*sums[:ward], value, *sums[ward + 1 :]]}

    assert steps.made.refused(ONE, "study:Find", found(-reach - 1)).code == Code.BAD_ARGUMENT
    assert steps.made.refused(ONE, "study:Find", {**steps.which, "sums": [1, *sums[1:]]}).code
    steps.made.do(ONE, "study:Find", found(-reach))


def test_sums_from_the_middle_may_be_below_zero_but_for_squares_and_counts() -> None:
    steps = begun("DECRYPTED")
    levels, number = STUDY.levels, 3 * HELD
    least = {Term((0,)): -levels, Term((0, 1)): -(levels**2), Term((), labelled=True): -1}
    least[Term((1,), labelled=True)] = -levels
    sums = [
        number * least.get(term, 0) if place else number
        for place, term in enumerate(studies.terms_of(STUDY))
    ]

    steps.made.do(ONE, "study:Find", {**steps.which, "sums": sums})

    for place in range(1, len(sums)):
        beyond = [*sums[:place], sums[place] - 1, *sums[place + 1 :]]
        if place in (1, 3, 6, len(sums) - 1):
            args = {**steps.which, "sums": beyond}
            assert steps.made.refused(TWO, "study:Find", args).code == Code.BAD_ARGUMENT


def test_noise_is_chosen_however_finely_columns_are_told_apart() -> None:
    fine = NOISED.model_copy(update={"levels": 1000})
    epsilon = spending_of(NOISED, 10_000).epsilon_micro

    found = studies.calibrated(fine, epsilon, 10_000).privacy

    assert found is not None
    assert 19_000 < found.noise_milli <= 20_000
    with pytest.raises(ValueError, match="fewer levels"):
        studies.calibrated(NOISED.model_copy(update={"levels": 2**20}), epsilon, 10_000)


def test_what_noised_sums_tell_is_that_of_each_sum_added_up() -> None:
    """Of two columns: each, their products and the label's, by its own largest value; of each
    histogram's bins together, for a record is in one of them."""
    told = spending_of(NOISED, 10_000)

    assert told.summands == 2
    assert [(s.norm, s.noise, s.values, s.number) for s in told.sums] == [
        (1, 20, 1, 1),  # the label
        (1, 20, 2, 2),  # wards, labels
        (1, 20, 4, 1),  # bins of the radius
        (100, 2000, 1, 4),  # two columns, and those times the label
        (10_000, 200_000, 1, 3),  # their products
    ]
    first = accounting.summed_rdp_pico(1, 20, 2, 1)[0]
    assert told.rdp_pico()[0] == pytest.approx(11 * first, abs=11)
    least = studies.calibrated(NOISED, told.epsilon_micro, 10_000)
    assert least.privacy is not None
    assert 19_000 < least.privacy.noise_milli <= 20_000
    assert spending_of(least, 10_000).epsilon_micro <= told.epsilon_micro


def _choosing(study_id: str, **changes: Any) -> StudyTerms:
    return study_terms(PLAN, study_id, holder_selects=True, **changes)


def _summed(made: Scenario, study: StudyTerms, *ranges: tuple[int, int]) -> dict[str, Any]:
    """What the holder says who chose these records of the first hospital's dataset."""
    Steps(made, PLAN, study).to("HELD")
    chosen = [{"dataset_id": dataset_of(ONE), "first": a, "last": b} for a, b in ranges]
    return {**sum_args(PLAN, study), "selection": chosen}


def test_exact_sums_over_nearly_the_same_records_are_refused() -> None:
    made = copy.deepcopy(_active())
    made.do(FOUR, "study:Sum", _summed(made, _choosing("first"), (0, 50), (60, 80)))
    second = _summed(made, _choosing("second"), (0, 50), (60, 79))

    error = made.refused(FOUR, "study:Sum", second)
    same = copy.deepcopy(second)
    same["selection"][1]["last"] = 80
    made.do(FOUR, "study:Sum", same)

    assert error.code == Code.STUDY_LIMIT
    assert "by 1; by none, or by 5" in error.message
    uses = made.do(TWO, "study:Uses", {"dataset_id": dataset_of(ONE)})["uses"]
    assert [(u["study_id"], u["selection"]) for u in uses] == [
        (name, same["selection"]) for name in ("first", "second")
    ]


def test_an_owner_says_how_many_exact_studies_there_are_and_how_far_apart() -> None:
    made = copy.deepcopy(_active())
    limit = {"dataset_id": dataset_of(ONE), "most_studies": 2, "least_apart": 20}
    assert made.refused(TWO, "study:Limit", limit).code == Code.NOT_OWNER
    made.do(ONE, "study:Limit", limit)
    made.do(FOUR, "study:Sum", _summed(made, _choosing("first"), (0, 50)))
    second = _summed(made, _choosing("second"), (0, 69))
    assert made.refused(FOUR, "study:Sum", second).code == Code.STUDY_LIMIT
    second["selection"][0]["last"] = 70
    made.do(FOUR, "study:Sum", second)

    third = made.refused(FOUR, "study:Sum", _summed(made, _choosing("third"), (0, 50)))

    assert third.code == Code.STUDY_LIMIT
    assert "as many as its owner allows" in third.message


def test_sums_with_noise_may_be_of_nearly_the_same_records() -> None:
    made = copy.deepcopy(_active())
    privacy = StudyPrivacy(noise_milli=20_000, quorum=1, colluding=0)
    for name, last in (("first", 50), ("second", 51)):
        made.do(FOUR, "study:Sum", _summed(made, _choosing(name, privacy=privacy), (0, last)))

    assert made.do(TWO, "study:Uses", {"dataset_id": dataset_of(ONE)})["uses"] == []


@given(st.sets(st.integers(0, 40)), st.sets(st.integers(0, 40)))
def test_apart_counts_records_of_one_choice_alone(one: set[int], other: set[int]) -> None:
    assert studies.apart(_selection(one), _selection(other)) == len(one ^ other)


def _selection(records: set[int]) -> tuple[Selection, ...]:
    starts = [r for r in sorted(records) if r - 1 not in records]
    ends = [r + 1 for r in sorted(records) if r + 1 not in records]
    pairs = zip(starts, ends, strict=True)
    return tuple(Selection(dataset_id="masses", first=a, last=b) for a, b in pairs)
