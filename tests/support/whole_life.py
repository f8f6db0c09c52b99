"""One life of a consortium in which every transaction that writes is carried out, on any ledger.

After every chapter another hospital's peer is asked for what the ledger then holds.
"""

from __future__ import annotations

import json
from typing import Any

from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.plans import AcceptanceTerms, DynamicTerms, PlanTerms
from chaincode.schema.private import TRANSIENT
from chaincode.schema.studies import StudyPrivacy
from support.hiding import hiding, set_budgets
from support.masking import bring, masked_terms
from support.owners import TABLE, old_policies, renew
from support.scenario import (
    HOSPITALS,
    PLAN,
    SAMPLES,
    Scenario,
    commit_args,
    dataset_args,
    dataset_of,
    evaluate_args,
    ref,
    reveal_args,
    sha,
    terms,
)
from support.studies import Steps, found_sums, study_terms

ONE, TWO, THREE, FOUR = HOSPITALS
UNTIL = 2_000_000_000
MODELS = [{"sha256": sha(f"model {number}")} for number in (1, 2)]
SPARE = {"node_id": "spare", "reason": "as it is"}
_TIMES = {"ceremony_seconds": 1000, "update_seconds": 1000, "stage_seconds": 1000}
_RULE = DynamicTerms(hospitals=HOSPITALS, slots=2, least_samples=SAMPLES)
_TESTS = AcceptanceTerms(group_tests=2, least_group=2)
TRAINED = terms(dynamic=_RULE, quorum=2, **_TIMES).model_copy(update={"acceptance": _TESTS})
_DEALT = terms("plan-2", **_TIMES).model_copy(update={"encryption": EncryptionTerms(threshold=3)})
DEALT = [_DEALT.model_copy(update={"version": n, "title": f"Version {n}"}) for n in (1, 2, 3)]
MASKED = hiding(masked_terms("plan-4", **_TIMES))
HANDED = terms("plan-5", **_TIMES).model_copy(
    update={"key": TRAINED.handed_on(sha("collective key"))}
)
CLASSIFIERS = [
    {
        "classifier_id": name,
        "bias_micro": -1_000_000,
        "curves": [{"trait": "agreement-ever", "cuts": [1], "values_micro": [0, 4_000_000]}],
        "flag_micro": 1_500_000,
        "trained_on": "simulated consortia",
        "simulated": True,
        "recipe_sha256": sha("recipe"),
    }
    for name in ("first", "second")
]
COMPLAINTS = [
    {
        "complaint_id": f"complaint-{number}",
        "subject": "node",
        "subject_id": f"{msp_id}/node1",
        "reason": "sells records",
        "evidence_sha256": sha("photograph"),
        "suspend_seconds": 3600,
    }
    for number, msp_id in enumerate((THREE, FOUR))
]
FALLS = [
    {
        "application": "falls",
        "version": version,
        "title": "Falls",
        "definition": {"type": "object", "required": ["camera"]},
    }
    for version in (1, 2)
]


def lead(life: Scenario) -> None:
    """The whole life."""
    life.found()
    life.enrol()
    life.identity(ONE, "nobody")
    _nodes(life)
    _private_records(life)
    _budgets(life)
    _classifiers(life)
    _plan(life)
    _training(life)
    _studies(life)
    _dealing(life)
    _handing_on(life)
    _disputing(life)
    _masking(life)
    _storage(life)
    _applications(life)
    _sharing(life)
    _inferences(life)
    _models(life)
    _accesses(life)
    _complaints(life)
    _rules(life)
    _parting(life)


def _decide(life: Scenario, kind: str, subject_id: str, digest: str, *voters: str) -> None:
    """These hospitals vote for a motion, and it is carried out."""
    for voter in voters:
        life.vote(voter, kind, subject_id, digest)
    life.do(ONE, "consortium:Advance", {"subject": kind, "subject_id": subject_id})


def _parting(life: Scenario) -> None:
    """A hospital leaves, comes back by vote, and is expelled."""
    life.do(FOUR, "consortium:Leave", {"reason": "merged"})
    assert _hospital(life, FOUR)["status"] == "LEFT"
    motion = life.do(ONE, "consortium:ProposeHospital", {"msp_id": FOUR, "name": "Four again"})
    _decide(life, "hospital", FOUR, motion["terms_sha256"], ONE, TWO)
    assert _hospital(life, FOUR)["status"] == "ADMITTED"
    args = {"msp_id": FOUR, "reason": "forged attestations"}
    motion = life.do(ONE, "consortium:ProposeExpulsion", args)
    _decide(life, "expulsion", FOUR, motion["terms_sha256"], ONE, TWO, THREE)
    assert _hospital(life, FOUR)["status"] == "EXPELLED"
    renew(life, TWO)
    assert not old_policies(life, TWO)
    assert old_policies(life, ONE)


def _hospital(life: Scenario, msp_id: str) -> dict[str, Any]:
    """A hospital as another one's peer shows it."""
    known = life.do(TWO, "consortium:Get")["hospitals"]
    return next(dict(found) for found in known if found["msp_id"] == msp_id)


def _nodes(life: Scenario) -> None:
    first = {"roles": ["trainer"], "public_key_sha256": sha("key 1"), "device": "cpu"}
    life.do(ONE, "node:Register", {"node_id": "spare", **first})
    renewed = {"node_id": "spare", "public_key_sha256": sha("key 2"), "reason": "expired"}
    life.do(ONE, "node:Renew", renewed)
    for change in ("Rest", "Wake", "Suspend", "Resume", "Leave"):
        life.do(ONE, f"node:{change}", SPARE)
    life.do(ONE, "node:Register", {"node_id": "spare", **first, "public_key_sha256": sha("key 3")})
    life.do(ONE, "node:Revoke", SPARE)
    for change in ("Rest", "Wake"):
        life.do(FOUR, f"node:{change}", {"node_id": "node1"}, "node1")

    spare = {"msp_id": ONE, "node_id": "spare"}
    assert life.do(TWO, "node:Get", spare)["status"] == "REVOKED"
    changes = life.do(TWO, "node:History", spare)["changes"]
    statuses = ["ACTIVE", "ACTIVE", "RESTING", "ACTIVE", "SUSPENDED", "ACTIVE", "LEFT", "ACTIVE"]
    assert [change["status"] for change in changes] == [*statuses, "REVOKED"]
    assert [c["public_key_sha256"] for c in changes][:2] == [sha("key 1"), sha("key 2")]


def _private_records(life: Scenario) -> None:
    inventory = {
        "maker": "Acme",
        "model": "Box 9",
        "serial_number": "SN-0815",
        "location": "basement",
        "processors": 16,
        "memory_mib": 65536,
        "accelerators": [],
        "software": [],
    }
    record = {"kind": "inventory", "msp_id": ONE, "salt": sha("salt"), "statistics": None}
    for subject in ("node1", "spare"):
        whole = {**record, "subject": subject, "inventory": inventory}
        args = {"kind": "inventory", "subject": subject}
        kept = life.do(ONE, "private:Keep", args, transient={TRANSIENT: json.dumps(whole).encode()})
        assert life.do(ONE, "private:Get", args) == whole
        assert kept in life.do(ONE, "private:List", {"kind": "inventory"})["records"]
    # Two are left, for a list to have two pages.
    whole = {**record, "subject": "node1", "inventory": {**inventory, "location": "attic"}}
    args = {"kind": "inventory", "subject": "node1"}
    life.do(ONE, "private:Purge", args)
    assert len(life.do(ONE, "private:List", {"kind": "inventory"})["records"]) == 1
    life.do(ONE, "private:Keep", args, transient={TRANSIENT: json.dumps(whole).encode()})
    assert life.do(ONE, "private:Get", args) == whole


def _budgets(life: Scenario) -> None:
    args = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": 20_000_000}
    life.do(ONE, "dataset:SetBudget", args)
    account = life.do(TWO, "dataset:Get", {"dataset_id": dataset_of(ONE)})["account"]
    assert account["budget_epsilon_micro"] == 20_000_000
    set_budgets(life)
    released = life.do(ONE, "dataset:Release", TABLE)
    account = life.do(TWO, "dataset:Get", {"dataset_id": dataset_of(ONE)})["account"]
    assert account["releases"] == [released]
    assert account["epsilon_micro"] == released["epsilon_micro"] > 0


def _classifiers(life: Scenario) -> None:
    for terms_ in CLASSIFIERS:
        name = terms_["classifier_id"]
        proposed = life.do(ONE, "classifier:Propose", terms_)
        for voter in (ONE, TWO, THREE):
            life.vote(voter, "classifier", str(name), proposed["terms_sha256"])
        life.do(TWO, "classifier:Advance", {"classifier_id": name})
    found = life.do(THREE, "classifier:List")["classifiers"]
    assert [c["status"] for c in found] == ["RETIRED", "ADOPTED"]


def _plan(life: Scenario) -> None:
    plan = {"plan_id": PLAN}
    for step in (life.propose, life.consent, life.approve, life.ceremony):
        step(TRAINED)
    consent = {"dataset_id": dataset_of(FOUR), **plan, "terms_sha256": TRAINED.sha256}
    life.do(FOUR, "dataset:Withdraw", consent)
    life.do(FOUR, "dataset:Consent", consent)
    life.do(ONE, "plan:Pause", {**plan, "reason": "holidays"})
    assert life.do(TWO, "plan:Get", plan)["plan"]["status"] == "PAUSED"
    life.do(ONE, "plan:Resume", {**plan, "reason": "over"})
    assert life.do(TWO, "plan:Get", plan)["plan"]["status"] == "ACTIVE"

    for slot, user in enumerate(("edge", "rim")):
        _join(life, user, slot)
    life.do(ONE, "plan:Leave", {**plan, "node_id": "rim"}, "rim")
    life.do(ONE, "plan:Leave", {**plan, "node_id": "edge"})
    places = life.do(TWO, "plan:Places", plan)["places"]
    assert [p["node_id"] for p in places] == ["edge", "rim"]
    assert all(p["left_at"] for p in places)


def _join(life: Scenario, user: str, slot: int) -> None:
    life.identity(ONE, user, "trainer")
    node = {**life.node_args(ONE, user), "roles": ["trainer"], "dynamic": True}
    life.do(ONE, "node:Register", node)
    life.do(ONE, "dataset:Register", dataset_args(f"{user}-data"))
    given = {"plan_id": PLAN, "dataset_id": f"{user}-data", "terms_sha256": TRAINED.sha256}
    life.do(ONE, "dataset:Consent", given)
    life.do(ONE, "plan:Join", {"plan_id": PLAN, "dataset_id": f"{user}-data", "slot": slot}, user)


def _training(life: Scenario) -> None:
    life.open(TRAINED)
    life.submit(TRAINED)
    sealed = life.advance(TRAINED)
    unusable = {"subject_sha256": sealed["contributions"][1]["update"]["sha256"]}
    life.do(FOUR, "round:Object", {"plan_id": PLAN, "round": 1, **unusable, "code": "MF-7021"})
    for step in (life.attest, life.share, life.evaluate):
        step(TRAINED)
        life.advance(TRAINED)
    life.group_test(TRAINED, 1)
    life.open(TRAINED, 2)
    late = {"plan_id": PLAN, "round": 2, "code": "MF-5003", "trained": False}
    life.do(FOUR, "round:Decline", late)
    life.submit(TRAINED, 2, who=(ONE, TWO, THREE))
    life.advance(TRAINED, 2)
    life.object(TRAINED, THREE, 2, who=(ONE, TWO, FOUR))
    assert [d["msp_id"] for d in life.advance(TRAINED, 2)["dropped"]] == [THREE]
    for step in (life.attest, life.share, life.evaluate):
        step(TRAINED, 2)
        life.advance(TRAINED, 2)

    for number, updates in ((1, 4), (2, 3)):
        view = life.do(THREE, "round:Get", {"plan_id": PLAN, "number": number})
        assert view["round"]["status"] == "PUBLISHED"
        assert (len(view["updates"]), len(view["attestations"])) == (updates, 4)
    test = life.do(FOUR, "grouptest:Get", {"plan_id": PLAN, "round": 1})["test"]
    assert (test["status"], len(test["groups"])) == ("SCORED", 2)
    plan = life.do(FOUR, "plan:Get", {"plan_id": PLAN})["plan"]
    assert (plan["status"], plan["model_sha256"]) == ("COMPLETED", MODELS[1]["sha256"])


def _studies(life: Scenario) -> None:
    long = {"stage_seconds": 100_000}
    Steps(life, TRAINED, study_terms(TRAINED, "study-2", **long)).propose()
    life.do(ONE, "study:Limit", {"dataset_id": dataset_of(ONE), "most_studies": 2})
    privacy = StudyPrivacy(noise_milli=20_000, quorum=3)
    steps = Steps(life, TRAINED, study_terms(TRAINED, privacy=privacy, **long)).to("PUBLISHED")

    view = life.do(THREE, "study:Get", steps.which)
    assert view["result"]["sums"] == found_sums(steps.terms)
    assert [len(view[posts]) for posts in ("consents", "deposits", "findings")] == [3, 3, 4]
    assert len(view["shares"]) == len(view["attestations"]) == 4
    account = life.do(FOUR, "dataset:Get", {"dataset_id": dataset_of(TWO)})["account"]
    assert [told["study_id"] for told in account["studies"]] == [steps.terms.study_id]

    disputed = Steps(life, TRAINED, study_terms(TRAINED, "study-3", **long)).to("DECRYPTED")
    for hospital in HOSPITALS:
        life.do(hospital, "study:Find", {**disputed.which, "sums": []})
    disputed.advance()
    for hospital in HOSPITALS:
        disputed.prove(hospital)
    disputed.advance()
    disputed.judge({hospital: [FOUR] for hospital in HOSPITALS})
    assert disputed.advance()["unproven"] == [FOUR]


def _dealing(life: Scenario) -> None:
    plan = DEALT[2]
    life.propose(DEALT[0])
    for amended in DEALT[1:]:
        life.do(ONE, "plan:Amend", amended)
    for step in (life.consent, life.approve):
        step(plan)
    life.post_all(plan, "ceremony:Commit", commit_args)
    life.advance_ceremony(plan)
    life.post_all(plan, "ceremony:Reveal", reveal_args)
    life.advance_ceremony(plan)
    accusation = {"plan_id": plan.plan_id, "dealer": THREE, "transport_secret": sha("opened")}
    life.do(TWO, "ceremony:Accuse", accusation)
    life.advance_ceremony(plan)
    for msp_id in HOSPITALS:
        life.do(msp_id, "ceremony:Judge", {"plan_id": plan.plan_id, "culprits": [THREE]})
    life.advance_ceremony(plan)

    view = life.do(FOUR, "ceremony:Get", {"plan_id": plan.plan_id})
    assert (view["ceremony"]["status"], view["ceremony"]["culprits"]) == ("FAILED", [THREE])
    _abort(life)


def _handing_on(life: Scenario) -> None:
    life.propose(HANDED)
    for hospital in HOSPITALS:
        life.vote(hospital, "plan", HANDED.plan_id, HANDED.sha256)
    life.do(ONE, "plan:Advance", {"plan_id": HANDED.plan_id})
    life.hand_on(HANDED)

    former = life.do(TWO, "plan:Get", {"plan_id": PLAN})["plan"]
    assert former["successor"] == HANDED.plan_id


def _disputing(life: Scenario) -> None:
    """A round of the plan that took the key over, whose shares decode to nothing."""
    life.consent(HANDED)
    life.open(HANDED)
    for step in (life.submit, life.attest, life.share):
        step(HANDED)
        life.advance(HANDED)
    nothing = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 0}
    which = {"plan_id": HANDED.plan_id, "round": 1}
    for step in (
        lambda h: life.do(h, "round:Evaluate", evaluate_args(HANDED, **nothing)),
        lambda h: life.do(h, "dispute:Prove", {**which, "proof": ref(f"proof {h}")}),
        lambda h: life.do(h, "dispute:Judge", {**which, "culprits": [FOUR]}),
    ):
        for hospital in HOSPITALS:
            step(hospital)
        life.advance(HANDED)

    assert life.round_state(HANDED)["unproven"] == [FOUR]


def _masking(life: Scenario) -> None:
    bring(life, MASKED, "published")

    view = life.do(THREE, "round:Get", {"plan_id": MASKED.plan_id, "number": 1})
    assert view["round"]["status"] == "PUBLISHED"
    assert len(view["mask_keys"]) == len(view["unmaskings"]) == 4
    told = MASKED.told(ONE, 1)
    account = life.do(TWO, "hospital:Privacy")["accounts"][0]
    assert (account["msp_id"], account["epsilon_micro"]) == (ONE, told.epsilon_micro)
    assert account["plans"] == [told.model_dump()]


def _abort(life: Scenario) -> None:
    plan: PlanTerms = terms("plan-3", **_TIMES)
    life.propose(plan)
    life.do(ONE, "plan:Abort", {"plan_id": "plan-3", "reason": "no longer needed"})
    assert life.do(TWO, "plan:Get", {"plan_id": "plan-3"})["plan"]["status"] == "ABORTED"


def _storage(life: Scenario) -> None:
    for msp_id in (ONE, TWO):
        life.do(msp_id, "storage:Hold", {"content": ref("kept"), "until": UNTIL})
    asked = {"holder": ONE, "sha256": sha("kept"), "answer_seconds": 3600}
    open_, other, proven = (life.do(TWO, "storage:Challenge", asked)["challenge"] for _ in range(3))
    answer = {"challenge": proven, "answer_sha256": sha("answer")}
    life.do(ONE, "storage:Answer", answer)
    for msp_id in (TWO, THREE):
        life.do(msp_id, "storage:Check", answer)
    life.do(FOUR, "storage:Conclude", {"challenge": proven})

    view = life.do(THREE, "storage:Get", {"challenge": proven})
    assert (view["challenge"]["status"], len(view["checks"])) == ("PROVEN", 2)
    left = life.do(THREE, "storage:Get", {"challenge": open_})["challenge"]
    assert left["status"] == "OPEN"
    pending = life.do(THREE, "storage:Pending")["pending"]
    assert {found["challenge"]["challenge"] for found in pending} == {open_, other}
    assert all(found["holders"] == [ONE, TWO] for found in pending)


def _applications(life: Scenario) -> None:
    for schema in FALLS:
        life.do(ONE, "application:Register", schema)
    record = {"application": "falls", "version": 1, "record": {"camera": "ward 3"}}
    for number in (1, 2):
        about = {"record_id": f"r{number}", "subject": f"model/{MODELS[0]['sha256']}"}
        life.do(ONE, "application:Record", {**record, **about}, "node1")
    found = {"application": "falls", "msp_id": ONE, "record_id": "r1"}
    assert life.do(ONE, "application:GetRecord", found)["record"] == {"camera": "ward 3"}


def _sharing(life: Scenario) -> None:
    model = {"model_id": "mine", "kind": "personal", "base_sha256": MODELS[0]["sha256"]}
    content = {"plain_sha256": sha("plain"), "content": ref("envelope")}
    mechanism = {"batch_size": 10, "noise_multiplier_micro": 20_000_000, "steps": 5}
    trained = {"dataset_id": dataset_of(ONE), **mechanism}
    gain = {"part": "test", "base_correct": 7, "correct": 8, "total": 10}
    life.do(ONE, "sharing:Publish", {**model, **content, "trained": trained, "gain": gain})
    left = {**model, "model_id": "ward", "plain_sha256": sha("ward"), "gain": gain}
    life.do(ONE, "sharing:Publish", left)
    assert [told["gain"] for told in life.do(TWO, "sharing:Gains")["gains"]] == [gain, gain]
    for msp_id in (TWO, THREE):
        to = {"model_id": "mine", "recipient_msp": msp_id, "recipient_node": "node1"}
        life.do(ONE, "sharing:Grant", {**to, "key": ref(f"key of {msp_id}"), "until": UNTIL})
        life.do(msp_id, "sharing:Receive", {"msp_id": ONE, "model_id": "mine"}, "node1")
    life.do(ONE, "sharing:Revoke", {**to, "reason": "over"})
    assert len(life.do(ONE, "sharing:Receipts", {"model_id": "mine"})["receipts"]) == 2
    grants = life.do(ONE, "sharing:Grants", {"model_id": "mine"})["grants"]
    assert [g["status"] for g in grants] == ["GRANTED", "REVOKED"]


def _inferences(life: Scenario) -> None:
    for number in (1, 2):
        asked = {"model_sha256": MODELS[0]["sha256"], "query_sha256": sha(f"query {number}")}
        life.do(ONE, "inference:Ask", asked, "node1")
        for msp_id in (TWO, THREE):
            answer = {**asked, "answer_sha256": sha(f"answer {number}")}
            life.do(msp_id, "inference:Answer", answer, "node1")
    view = life.do(FOUR, "inference:Get", asked)
    assert view["inquiry"]["msp_id"] == ONE
    assert [one["msp_id"] for one in view["inferences"]] == [TWO, THREE]
    for number in (1, 2):
        lent = {"plan_id": PLAN, "lent_sha256": sha(f"lent {number}")}
        loan = {**lent, "model_sha256": sha("plain"), "borrower": TWO}
        life.do(ONE, "inference:Lend", loan, "node1")
        scores = {**lent, "scores_sha256": sha(f"scores {number}"), "records": 3}
        life.do(TWO, "inference:Score", scores, "node1")
    told = life.do(FOUR, "inference:Loan", lent)
    assert (told["loan"]["msp_id"], told["loan"]["borrower"]) == (ONE, TWO)
    assert [one["records"] for one in told["scorings"]] == [3]


def _models(life: Scenario) -> None:
    first, second = MODELS
    better = {"reason": "a better one", "successor_sha256": second["sha256"]}
    life.do(ONE, "model:Deprecate", {**first, **better})
    assert life.do(TWO, "model:Get", first)["status"] == "DEPRECATED"
    motion = life.do(TWO, "model:ProposeRecall", {**first, "reason": "a label was wrong"})
    _decide(life, "recall", first["sha256"], motion["terms_sha256"], ONE, TWO, THREE)
    life.do(TWO, "model:RecallDerived", second)
    statuses = [life.do(THREE, "model:Get", model)["status"] for model in MODELS]
    assert statuses == ["RECALLED", "RECALLED"]


def _accesses(life: Scenario) -> None:
    for _ in range(2):
        args = {"hospitals": [TWO, THREE], "purpose": "a patient asks"}
        access = life.do(ONE, "provenance:OpenAccess", args)["access"]
    update = {"name": f"update/{PLAN}/00001/{TWO}/node1", "access": access}
    told = life.do(ONE, "provenance:Ancestors", update)
    assert told["element"]["says"]["samples"] == SAMPLES
    recorded = life.do(THREE, "provenance:Accesses", {"hospital": TWO})["accesses"]
    assert [(a["msp_id"], a["node_id"]) for a in recorded] == [(ONE, "admin")] * 2


def _complaints(life: Scenario) -> None:
    for complaint in COMPLAINTS:
        opened = life.do(ONE, "complaint:Open", complaint)
    complaint_id = str(complaint["complaint_id"])
    for voter in (ONE, TWO, THREE):
        life.vote(voter, "complaint", complaint_id, opened["terms_sha256"])
    life.do(ONE, "complaint:Advance", {"complaint_id": complaint_id})
    decided = life.do(TWO, "complaint:Get", {"complaint_id": complaint_id})
    assert (decided["status"], decided["accused"]) == ("UPHELD", FOUR)
    lifting = {"complaint_id": complaint_id, "reason": "the records were its own"}
    motion = life.do(TWO, "complaint:ProposeLifting", lifting)
    _decide(life, "lifting", complaint_id, motion["terms_sha256"], ONE, TWO, THREE)
    life.do(FOUR, "storage:Hold", {"content": ref("kept"), "until": UNTIL})


def _rules(life: Scenario) -> None:
    for _ in range(2):
        motion = life.do(ONE, "consortium:ProposeRules", {"rules": {}, "reason": "as they are"})
        _decide(life, "rules", "rules", motion["terms_sha256"], ONE, TWO, THREE)
    assert life.do(FOUR, "consortium:Get")["rulebook"]["version"] == 3
    assert ONE in life.do(FOUR, "consortium:Members")["hospitals"]
