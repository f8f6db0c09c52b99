"""Global models: deprecated by their plan's proposer, recalled by vote or by rule."""

from __future__ import annotations

from support.scenario import HOSPITALS, PLAN, Scenario, at, ref, sha, terms

from chaincode.schema import keys
from chaincode.schema.errors import Code

ONE, TWO, THREE, FOUR = HOSPITALS
FIRST = {"sha256": sha("model 1")}


def move(made: Scenario, address: str) -> str:
    """Move to recall a model; the hash that is voted on."""
    args = {"sha256": address, "reason": "a label was wrong"}
    return made.do(TWO, "model:ProposeRecall", args)["terms_sha256"]


def recall(
    made: Scenario, address: str, *, approve: bool = True, digest: str | None = None
) -> None:
    """Move to recall a model, and vote."""
    digest = digest or move(made, address)
    for hospital in HOSPITALS[:3]:
        made.vote(hospital, "recall", address, digest, approve)
    made.do(ONE, "consortium:Advance", {"subject": "recall", "subject_id": address})


def status(made: Scenario, address: str) -> str:
    return made.do(ONE, "model:Get", {"sha256": address}, "auditor")["status"]


def test_a_vote_recalls_a_model_with_its_reason_and_tells_of_it():
    made = at("published")

    recall(made, FIRST["sha256"])

    model = made.asset(keys.model(FIRST["sha256"]))
    assert (model["status"], model["reason"]) == ("RECALLED", "a label was wrong")
    assert made.ledger.events[-1][0] == "model.recalled"
    again = {**FIRST, "reason": "again"}
    assert made.refused(TWO, "model:ProposeRecall", again).code == Code.BAD_STATE


def test_a_refused_recall_leaves_the_model():
    made = at("published")

    recall(made, FIRST["sha256"], approve=False)

    assert status(made, FIRST["sha256"]) == "CURRENT"


def test_no_round_begins_from_a_recalled_model_and_no_plan():
    made = at("published")
    recall(made, FIRST["sha256"])

    args = {"plan_id": PLAN, "number": 2}
    assert made.refused(ONE, "round:Open", args).code == Code.MODEL_RECALLED
    plan = terms("plan-2")
    from_it = plan.model_copy(
        update={"model": plan.model.model_copy(update={"base": content("model 1")})}
    )
    assert made.refused(ONE, "plan:Propose", from_it).code == Code.MODEL_RECALLED


def content(text: str):
    return terms().model.base.model_copy(update=ref(text))


def test_what_was_trained_on_from_a_recalled_model_is_recalled_by_rule():
    made, plan = at("published"), terms()
    made.round(plan, 2)
    child = {"sha256": sha("model 2")}
    assert made.refused(ONE, "model:RecallDerived", child).code == Code.NOT_YET
    recall(made, FIRST["sha256"])

    made.do(TWO, "model:RecallDerived", child)

    assert status(made, child["sha256"]) == "RECALLED"
    assert FIRST["sha256"] in made.asset(keys.model(child["sha256"]))["reason"]
    assert status(made, sha("base")) == "CURRENT"


def test_a_vote_that_comes_after_the_rule_s_recall_is_closed_without_effect():
    made, plan = at("published"), terms()
    made.round(plan, 2)
    child = sha("model 2")
    digest = move(made, child)
    recall(made, FIRST["sha256"])
    made.do(TWO, "model:RecallDerived", {"sha256": child})

    recall(made, child, digest=digest)

    assert made.ledger.events[-1][0] == "recall.late"
    assert FIRST["sha256"] in made.asset(keys.model(child))["reason"]
    assert made.asset(keys.motion("recall", child))["status"] == "CARRIED"


def test_only_the_proposer_of_its_plan_deprecates_a_model():
    made = at("published")
    args = {**FIRST, "reason": "a better one", "successor_sha256": sha("base")}
    assert made.refused(TWO, "model:Deprecate", args).code == Code.NOT_OWNER
    unknown = {**args, "successor_sha256": sha("nothing")}
    assert made.refused(ONE, "model:Deprecate", unknown).code == Code.NOT_FOUND

    made.do(ONE, "model:Deprecate", args)

    assert made.asset(keys.model(FIRST["sha256"]))["successor_sha256"] == sha("base")
    assert made.refused(ONE, "model:Deprecate", args).code == Code.BAD_STATE
    made.open(terms(), 2)  # a deprecated model may still be trained on
    recall(made, FIRST["sha256"])
    assert status(made, FIRST["sha256"]) == "RECALLED"


def test_predictions_are_asked_and_answered_on_the_record_until_the_model_is_recalled():
    made = at("published")
    asked = {"model_sha256": FIRST["sha256"], "query_sha256": sha("query")}
    answer = {**asked, "answer_sha256": sha("answer")}
    late = {**asked, "query_sha256": sha("late")}

    assert made.refused(TWO, "inference:Answer", answer).code == Code.NOT_FOUND
    made.do(ONE, "inference:Ask", asked)
    assert made.refused(TWO, "inference:Ask", asked).code == Code.DUPLICATE_CONTRIBUTION
    made.do(TWO, "inference:Answer", answer)
    other = {**answer, "answer_sha256": sha("another")}
    assert made.refused(TWO, "inference:Answer", other).code == Code.DUPLICATE_CONTRIBUTION
    recall(made, FIRST["sha256"])

    assert made.refused(ONE, "inference:Ask", late).code == Code.MODEL_RECALLED
    assert made.refused(ONE, "inference:Answer", answer).code == Code.MODEL_RECALLED
    view = made.do(ONE, "inference:Get", asked, "auditor")
    assert [one["answer_sha256"] for one in view["inferences"]] == [sha("answer")]
    of_model = {"model_sha256": FIRST["sha256"]}
    assert made.do(ONE, "inference:List", of_model, "auditor")["inquiries"] == [view]
    # What came of the model that was recalled, an auditor finds from the model.
    name = {"name": f"model/{FIRST['sha256']}"}
    edges = made.do(ONE, "provenance:Descendants", name, "auditor")["edges"]
    kinds = {edge["source"].partition("/")[0] for edge in edges}
    assert {"inquiry", "inference"} <= kinds


def test_a_model_is_lent_to_one_hospital_and_scored_there_on_the_record_until_it_is_recalled():
    made = at("published")
    lent = {"plan_id": PLAN, "lent_sha256": sha("lent")}
    loan = {**lent, "model_sha256": FIRST["sha256"], "borrower": TWO}
    scores = {**lent, "scores_sha256": sha("scores"), "records": 7}

    assert made.refused(TWO, "inference:Score", scores).code == Code.NOT_FOUND
    stranger = {**loan, "borrower": "Hospital9MSP"}
    assert made.refused(ONE, "inference:Lend", stranger).code == Code.NOT_ADMITTED
    elsewhere = {**loan, "plan_id": "nothing"}
    assert made.refused(ONE, "inference:Lend", elsewhere).code == Code.NOT_FOUND
    made.do(ONE, "inference:Lend", loan)
    assert made.refused(ONE, "inference:Lend", loan).code == Code.DUPLICATE_CONTRIBUTION
    assert made.refused(THREE, "inference:Score", scores).code == Code.GRANT_MISSING
    made.do(TWO, "inference:Score", scores)
    assert made.refused(TWO, "inference:Score", scores).code == Code.DUPLICATE_CONTRIBUTION
    own = {**loan, "lent_sha256": sha("own"), "model_sha256": sha("a personal model")}
    made.do(ONE, "inference:Lend", own)
    recall(made, FIRST["sha256"])

    more = {**scores, "scores_sha256": sha("more")}
    assert made.refused(TWO, "inference:Score", more).code == Code.MODEL_RECALLED
    again = {**loan, "lent_sha256": sha("again")}
    assert made.refused(ONE, "inference:Lend", again).code == Code.MODEL_RECALLED
    view = made.do(FOUR, "inference:Loan", lent, "auditor")
    assert view in made.do(FOUR, "inference:Loans", {"plan_id": PLAN}, "auditor")["loans"]
    assert (view["loan"]["msp_id"], view["loan"]["borrower"]) == (ONE, TWO)
    assert [(one["msp_id"], one["records"]) for one in view["scorings"]] == [(TWO, 7)]
    # What came of the model that was recalled, an auditor finds from the model.
    name = {"name": f"model/{FIRST['sha256']}"}
    edges = made.do(ONE, "provenance:Descendants", name, "auditor")["edges"]
    assert f"loan/{PLAN}/{sha('lent')}" in {edge["source"] for edge in edges}
    # Of a model that only its owner has, the ledger knows no more than the hash.
    told = made.do(ONE, "provenance:Ancestors", {"name": f"loan/{PLAN}/{sha('own')}"}, "auditor")
    assert told["element"]["says"]["model_sha256"] == sha("a personal model")
    assert {edge["target"].partition("/")[0] for edge in told["edges"]} == {
        *("node", "plan", "hospital")
    }
