"""An argument of every kind that is right in form, and names what may not be there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from support.masking import keys_args, unmask_args
from support.scenario import HOSPITALS, PLAN, dataset_args, dataset_of, sha, terms
from support.studies import study_terms

ONE, TWO = HOSPITALS[:2]
STUDY = "study-1"


def _evaluation() -> dict[str, Any]:
    args = {"plan_id": PLAN, "round": 1, "candidate": None, "failure": "MF-6008"}
    return args | {"correct": 0, "base_correct": 0, "total": 0}


def _ref() -> dict[str, Any]:
    return {"cid": "Qm", "sha256": sha("x"), "size_bytes": 1}


EXAMPLES: dict[str, Callable[[], dict[str, Any]]] = {
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
    "RenewPoliciesArgs": lambda: {"keys": [{"kind": "dataset", "attributes": ["nothing"]}]},
    "StandingArgs": lambda: {"msp_id": TWO},
    "PolicyPageArgs": lambda: {"msp_id": ONE, "kind": "node"},
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
    "ReleaseArgs": lambda: {
        "dataset_id": dataset_of(ONE),
        "release_id": "table",
        "mechanism": "class-marginals-v1",
        "tables": 20,
        "noise": 40,
        "records": 100,
        "descriptor_sha256": sha("descriptor"),
        "sha256": sha("table"),
        "size_bytes": 1000,
    },
    "HospitalBudgetArgs": lambda: {"budget_epsilon_micro": 1, "delta_nano": 10_000},
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
    "AdvanceArgs": lambda: {"plan_id": PLAN, "number": 1},
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
    "DeclineArgs": lambda: {"plan_id": PLAN, "round": 1, "code": "MF-9013", "trained": True},
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
    "PostMaskKeysArgs": lambda: keys_args(terms(), ONE),
    "UnmaskArgs": lambda: unmask_args(terms(), ONE),
    "ObjectArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "subject_sha256": sha("x"),
        "code": "MF-7021",
    },
    "EvaluateArgs": _evaluation,
    "GroupTestArgs": lambda: {"plan_id": PLAN, "round": 1},
    "AttestGroupsArgs": lambda: {"plan_id": PLAN, "round": 1, "sums_sha256": sha("x")},
    "ShareGroupsArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "sums_sha256": sha("x"),
        "shares": [_ref()],
    },
    "ScoreGroupsArgs": lambda: {
        "plan_id": PLAN,
        "round": 1,
        "correct": [1, None],
        "base_correct": 1,
        "total": 2,
    },
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
    "LiftingArgs": lambda: {"complaint_id": "c", "reason": "no longer so"},
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
    "InquiryArgs": lambda: {"model_sha256": sha("x"), "query_sha256": sha("q")},
    "AnswerInquiryArgs": lambda: {
        "model_sha256": sha("x"),
        "query_sha256": sha("q"),
        "answer_sha256": sha("a"),
    },
    "InquiryPageArgs": lambda: {"model_sha256": sha("x")},
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
        "trained": {
            "dataset_id": dataset_of(ONE),
            "batch_size": 10,
            "noise_multiplier_micro": 5_000_000,
            "steps": 10,
        },
        "gain": {"part": "test", "base_correct": 7, "correct": 8, "total": 10},
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
    "StudyTerms": lambda: json.loads(study_terms(terms(), "study-9").model_dump_json()),
    "StudyArgs": lambda: {"study_id": STUDY},
    "UseLimitArgs": lambda: {"dataset_id": dataset_of(ONE), "most_studies": 3},
    "DatasetUsesArgs": lambda: {"dataset_id": dataset_of(ONE)},
    "StudyConsentArgs": lambda: {
        "study_id": STUDY,
        "dataset_id": dataset_of(ONE),
        "terms_sha256": sha("x"),
    },
    "DepositArgs": lambda: {
        "study_id": STUDY,
        "dataset_id": dataset_of(ONE),
        "content": _ref(),
        "records": 1,
    },
    "SumArgs": lambda: {
        "study_id": STUDY,
        "selection": [{"dataset_id": dataset_of(ONE), "first": 0, "last": 1}],
        "sum": _ref(),
    },
    "AttestSumArgs": lambda: {"study_id": STUDY, "sum_sha256": sha("x")},
    "ShareSumArgs": lambda: {
        "study_id": STUDY,
        "attempt": 1,
        "sum_sha256": sha("x"),
        "share": _ref(),
    },
    "FindArgs": lambda: {"study_id": STUDY, "sums": [1]},
    "AccessPageArgs": lambda: {"hospital": ONE},
}
