"""Who may call what: every refusal has its code and leaves nothing written."""

from __future__ import annotations

import json

import pytest
from support.memory_stub import creator
from support.scenario import HOSPITALS, PLAN, at, dataset_args, dataset_of, sha, terms

from chaincode.schema.errors import Code
from chaincode.schema.transactions import TRANSACTIONS

ONE, TWO = HOSPITALS[0], HOSPITALS[1]


def submit(scenario, who, msp_id=ONE):
    return scenario.refused(who, "round:SubmitUpdate", scenario.update_args(terms(), msp_id))


def test_a_node_that_is_not_registered_is_refused():
    scenario = at("open")

    error = submit(scenario, creator(ONE, "node2", "trainer,validator"))

    assert error.code == Code.NODE_UNREGISTERED
    assert "node2" in error.message


def test_a_validator_must_be_registered_even_where_an_admin_need_not_be():
    scenario = at("proposed")
    for hospital in HOSPITALS[:3]:
        scenario.vote(hospital, "plan", PLAN, terms().sha256)
    args = {"plan_id": PLAN}

    error = scenario.refused(creator(ONE, "node2", "validator"), "plan:Advance", args)

    assert error.code == Code.NODE_UNREGISTERED
    scenario.do(TWO, "plan:Advance", args, "node1")


@pytest.mark.parametrize("change", ["node:Suspend", "node:Revoke"])
def test_a_suspended_or_revoked_node_is_refused(change):
    scenario = at("open")
    scenario.do(ONE, change, {"node_id": "node1", "reason": "lost"})

    assert submit(scenario, ONE).code == Code.NODE_NOT_ACTIVE


def test_a_resumed_node_submits_again():
    scenario = at("open")
    for change in ("node:Suspend", "node:Resume"):
        scenario.do(ONE, change, {"node_id": "node1"})

    scenario.submit(terms(), who=(ONE,))


def test_a_node_with_another_key_than_the_registered_one_is_refused():
    scenario = at("open")

    error = submit(scenario, creator(ONE, "node1", "trainer,validator", "another"))

    assert error.code == Code.NODE_KEY_MISMATCH


@pytest.mark.parametrize("user", ["admin", "auditor"])
def test_a_certificate_without_the_role_is_refused(user):
    scenario = at("open")

    submit_as = scenario.users[ONE, user]

    assert submit(scenario, submit_as).code == Code.ROLE_REQUIRED


def test_a_role_of_the_certificate_that_the_hospital_did_not_register_is_refused():
    scenario = at("enrolled")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "trainer,validator", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2") | {"roles": ["auditor"]})

    error = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN}, "node2")

    assert error.code == Code.ROLE_REQUIRED


def test_registration_alone_gives_no_role():
    scenario = at("founded")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "auditor", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2"))

    error = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN}, "node2")

    assert error.code == Code.ROLE_REQUIRED


@pytest.mark.parametrize(
    "roles", ["", "ADMIN", "superuser", "admin ", "administrator", "trainer;admin"]
)
def test_only_the_exact_name_of_a_role_counts(roles):
    scenario = at("founded")

    error = scenario.refused(
        creator(ONE, "x", roles), "dataset:Register", dataset_args("another-one")
    )

    assert error.code == Code.ROLE_REQUIRED


@pytest.mark.parametrize("name", sorted(TRANSACTIONS))
def test_every_transaction_refuses_a_certificate_without_roles(name):
    scenario = at("open")
    row = TRANSACTIONS[name]

    error = scenario.refused(creator(ONE, "nobody", ""), name, EXAMPLES[row.args.__name__]())

    assert error.code == Code.ROLE_REQUIRED


@pytest.mark.parametrize("name", sorted(n for n, row in TRANSACTIONS.items() if not row.founding))
def test_every_transaction_refuses_a_hospital_that_is_not_admitted(name):
    scenario = at("open")
    row = TRANSACTIONS[name]
    stranger = creator("Hospital9MSP", "node1", "admin,trainer,validator,auditor")

    error = scenario.refused(stranger, name, EXAMPLES[row.args.__name__]())

    assert error.code == Code.NOT_ADMITTED


def test_the_hospital_is_that_of_the_certificate_alone():
    scenario = at("enrolled")

    mine = scenario.refused(TWO, "node:Revoke", {"node_id": "node9"})
    budget = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": 10**9}
    dataset = scenario.refused(TWO, "dataset:SetBudget", budget)

    assert mine.code == Code.NOT_FOUND  # node9 of the caller, whoever else has one
    assert dataset.code == Code.NOT_OWNER


def test_a_foreign_hospital_neither_consents_nor_aborts():
    scenario = at("proposed")
    args = {"dataset_id": dataset_of(ONE), "plan_id": PLAN, "terms_sha256": terms().sha256}

    for name in ("dataset:Consent", "dataset:Withdraw"):
        assert scenario.refused(TWO, name, args).code == Code.NOT_OWNER
    abort = scenario.refused(TWO, "plan:Abort", {"plan_id": PLAN, "reason": "no"})
    assert abort.code == Code.NOT_OWNER


def test_an_unknown_transaction_is_refused():
    scenario = at("founded")

    for name in ("", "round", "round:Steal", "round:open", "consortium:Get ", "__init__"):
        assert scenario.refused(ONE, name).code == Code.UNKNOWN_TRANSACTION


def _evaluation():
    args = {"plan_id": PLAN, "round": 1, "candidate": None, "failure": "MF-6008"}
    return args | {"correct": 0, "base_correct": 0, "total": 0}


def _ref():
    return {"cid": "Qm", "sha256": sha("x"), "size_bytes": 1}


EXAMPLES = {
    "PrivateRecordArgs": lambda: {"kind": "inventory", "subject": "node1"},
    "PrivateRecordPageArgs": lambda: {"kind": "statistics"},
    "VerifyRecordArgs": lambda: {"msp_id": TWO, "kind": "inventory", "subject": "node1"},
    "Empty": dict,
    "PageArgs": dict,
    "FoundArgs": lambda: {
        "name": "Other",
        "hospitals": [{"msp_id": ONE, "name": "a"}, {"msp_id": TWO, "name": "b"}],
    },
    "ProposeHospitalArgs": lambda: {"msp_id": "Hospital9MSP", "name": "Nine"},
    "ProposeExpulsionArgs": lambda: {"msp_id": TWO, "reason": "no"},
    "ProposeRulesArgs": lambda: {"rules": {}},
    "LeaveArgs": dict,
    "MotionPageArgs": dict,
    "VoteArgs": lambda: {
        "subject": "plan",
        "subject_id": PLAN,
        "subject_sha256": sha("x"),
        "approve": True,
    },
    "SubjectArgs": lambda: {"subject": "charter", "subject_id": "Trial"},
    "RegisterNodeArgs": lambda: {
        "node_id": "n",
        "roles": ["trainer"],
        "public_key_sha256": sha("x"),
        "device": "cpu",
    },
    "NodeStatusArgs": lambda: {"node_id": "node1"},
    "RenewNodeArgs": lambda: {"node_id": "node1", "public_key_sha256": sha("y")},
    "NodePageArgs": dict,
    "NodeHistoryArgs": lambda: {"msp_id": ONE, "node_id": "node1"},
    "NodeArgs": lambda: {"msp_id": ONE, "node_id": "node1"},
    "RegisterDatasetArgs": lambda: dataset_args("another-one"),
    "DatasetArgs": lambda: {"dataset_id": dataset_of(ONE)},
    "ConsentArgs": lambda: {
        "dataset_id": dataset_of(ONE),
        "plan_id": PLAN,
        "terms_sha256": sha("x"),
    },
    "BudgetArgs": lambda: {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": 1},
    "PlanTerms": lambda: json.loads(terms("plan-2").model_dump_json()),
    "PlanArgs": lambda: {"plan_id": PLAN},
    "PlanReasonArgs": lambda: {"plan_id": PLAN, "reason": "no"},
    "PlanVersionsArgs": lambda: {"plan_id": PLAN},
    "JoinPlanArgs": lambda: {"plan_id": PLAN, "dataset_id": dataset_of(ONE), "slot": 0},
    "LeavePlanArgs": lambda: {"plan_id": PLAN, "node_id": "node1"},
    "PlacesArgs": lambda: {"plan_id": PLAN},
    "CommitArgs": lambda: {"plan_id": PLAN, "commitment_sha256": sha("x")},
    "RevealArgs": lambda: {"plan_id": PLAN, "share": _ref(), "nonce": sha("n")},
    "AccuseArgs": lambda: {"plan_id": PLAN, "dealer": TWO},
    "JudgeArgs": lambda: {"plan_id": PLAN, "culprits": []},
    "ConfirmArgs": lambda: {"plan_id": PLAN, "collective_key_sha256": sha("x")},
    "RoundArgs": lambda: {"plan_id": PLAN, "number": 1},
    "SubmitUpdateArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "dataset_id": dataset_of(ONE),
        "base_sha256": sha("base"),
        "update": _ref(),
        "samples": 1,
        "steps": 1,
        "batch_size": 1,
        "noise_multiplier_micro": 50_000,
    },
    "AttestArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "aggregate_sha256": sha("x"),
        "aggregate": _ref(),
    },
    "ShareArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "attempt": 1,
        "aggregate_sha256": sha("x"),
        "share": _ref(),
    },
    "ObjectArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "subject_sha256": sha("x"),
        "code": "MF-7021",
    },
    "EvaluateArgs": _evaluation,
    "RatedArgs": lambda: {"subject": "node", "subject_id": f"{ONE}/node1"},
    "ReputationPageArgs": lambda: {"subject": "node"},
    "ComplaintTerms": lambda: {
        "complaint_id": "c",
        "subject": "node",
        "subject_id": f"{TWO}/node1",
        "reason": "r",
        "evidence_sha256": sha("x"),
    },
    "ComplaintArgs": lambda: {"complaint_id": "c"},
    "ClassifierTerms": lambda: {
        "classifier_id": "c",
        "bias_micro": 0,
        "curves": [],
        "flag_micro": 1,
        "trained_on": "nothing",
        "simulated": True,
        "recipe_sha256": sha("x"),
    },
    "ClassifierArgs": lambda: {"classifier_id": "c"},
    "ModelArgs": lambda: {"sha256": sha("x")},
    "DeprecateArgs": lambda: {"sha256": sha("x"), "reason": "old"},
    "RecallArgs": lambda: {"sha256": sha("x"), "reason": "wrong"},
    "RegisterApplicationArgs": lambda: {
        "application": "falls",
        "version": 1,
        "title": "Falls",
        "definition": {},
    },
    "RecordArgs": lambda: {
        "application": "falls",
        "version": 1,
        "record_id": "r",
        "subject": f"plan/{PLAN}",
        "record": {},
    },
    "ApplicationArgs": lambda: {"application": "falls", "version": 1},
    "RecordRefArgs": lambda: {"application": "falls", "msp_id": ONE, "record_id": "r"},
    "RecordPageArgs": lambda: {"application": "falls", "msp_id": ONE},
    "HoldArgs": lambda: {"content": _ref(), "until": 2_000_000_000},
    "ChallengeArgs": lambda: {"holder": ONE, "sha256": sha("x"), "answer_seconds": 60},
    "AnswerArgs": lambda: {"challenge": sha("x"), "answer_sha256": sha("y")},
    "ChallengeRefArgs": lambda: {"challenge": sha("x")},
    "HolderPageArgs": lambda: {"sha256": sha("x")},
    "PublishLocalArgs": lambda: {
        "model_id": "mine",
        "kind": "personal",
        "plain_sha256": sha("x"),
        "content": _ref(),
    },
    "GrantArgs": lambda: {
        "model_id": "mine",
        "recipient_msp": TWO,
        "recipient_node": "node1",
        "key": _ref(),
        "until": 2_000_000_000,
    },
    "RevokeArgs": lambda: {
        "model_id": "mine",
        "recipient_msp": TWO,
        "recipient_node": "node1",
        "reason": "over",
    },
    "LocalModelArgs": lambda: {"msp_id": ONE, "model_id": "mine"},
    "LocalModelPageArgs": lambda: {"model_id": "mine"},
    "OpenAccessArgs": lambda: {"hospitals": [TWO], "purpose": "why"},
    "TraceArgs": lambda: {"name": f"plan/{PLAN}"},
    "SignedArgs": lambda: {"msp_id": ONE, "node_id": "node1"},
    "AccessPageArgs": lambda: {"hospital": ONE},
}
