"""Every transaction: its name, argument, result, and who may call it.

The one declaration of access. The contracts' router enforces it, the client's facade and the
reference documentation are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.schema import ceremonies as c
from chaincode.schema import classifiers as k
from chaincode.schema import consortium as o
from chaincode.schema import datasets as d
from chaincode.schema import motions as m
from chaincode.schema import nodes as n
from chaincode.schema import places as s
from chaincode.schema import plans as p
from chaincode.schema import provenance as v
from chaincode.schema import reputation as t
from chaincode.schema import rounds as r
from chaincode.schema.base import Empty, Language, PageArgs, Role
from chaincode.schema.declaration import Declaration

ANYONE = frozenset(Role)
ADMIN = frozenset({Role.ADMIN})
TRAINER = frozenset({Role.TRAINER})
VALIDATOR = frozenset({Role.VALIDATOR})
AUDITOR = frozenset({Role.AUDITOR})
NODE_OR_ADMIN = ADMIN | TRAINER | VALIDATOR


@dataclass(frozen=True)
class Transaction(Declaration):
    """One row of the table.

    Trainers and validators must also be registered, active nodes whose key is the registered one.
    ``founding``: allowed before the consortium is ACTIVE. ``resting``: allowed to a node that is
    RESTING.
    """

    args: type[Language]
    result: type[Language]
    founding: bool = False
    resting: bool = False


_ROWS = (
    Transaction(
        "consortium:Found",
        o.FoundArgs,
        o.Consortium,
        ADMIN,
        True,
        "Propose the consortium's charter: its name and founding hospitals.",
        founding=True,
    ),
    Transaction(
        "consortium:ProposeHospital",
        o.ProposeHospitalArgs,
        m.Motion,
        ADMIN,
        True,
        "Move to admit a further hospital, or one that was rejected, left or was expelled.",
    ),
    Transaction(
        "consortium:ProposeExpulsion",
        m.ProposeExpulsionArgs,
        m.Motion,
        ADMIN,
        True,
        "Move to expel a hospital; it has no vote on that itself.",
    ),
    Transaction(
        "consortium:ProposeRules",
        m.ProposeRulesArgs,
        m.Motion,
        ADMIN,
        True,
        "Move to change the rules of voting, by the rules in force.",
    ),
    Transaction(
        "consortium:Leave",
        m.LeaveArgs,
        o.Hospital,
        ADMIN,
        True,
        "Leave the consortium at once; what the hospital did before stays valid.",
    ),
    Transaction(
        "consortium:Vote",
        o.VoteArgs,
        o.Vote,
        ADMIN,
        True,
        "Vote on the charter, a motion, a plan, a complaint or a classifier, once.",
        founding=True,
    ),
    Transaction(
        "consortium:Advance",
        o.SubjectArgs,
        o.Ballot,
        ADMIN,
        True,
        "Carry out what the votes on the charter or a motion decided.",
        founding=True,
    ),
    Transaction(
        "consortium:Get",
        Empty,
        o.ConsortiumView,
        ANYONE,
        False,
        "The consortium, its rules, its hospitals and their reputations.",
        founding=True,
    ),
    Transaction(
        "consortium:GetBallot",
        o.SubjectArgs,
        o.Ballot,
        ANYONE,
        False,
        "The votes on a subject, and what they decide.",
        founding=True,
    ),
    Transaction(
        "consortium:GetMotion",
        o.SubjectArgs,
        m.Motion,
        ANYONE,
        False,
        "The newest motion on a subject: what the votes bind to.",
    ),
    Transaction(
        "consortium:ListMotions",
        m.MotionPageArgs,
        m.MotionPage,
        ANYONE,
        False,
        "The newest motion on every subject.",
    ),
    Transaction(
        "node:Register",
        o.RegisterNodeArgs,
        o.Node,
        ADMIN,
        True,
        "Register a node of the caller's hospital, or one that has left, and its key.",
    ),
    Transaction(
        "node:Renew",
        n.RenewNodeArgs,
        o.Node,
        ADMIN,
        True,
        "Bind a node of one's hospital to the key of its new certificate; the old one is void.",
    ),
    Transaction(
        "node:Rest",
        o.NodeStatusArgs,
        o.Node,
        NODE_OR_ADMIN,
        True,
        "Rest: take no part in rounds that open from now on.",
    ),
    Transaction(
        "node:Wake",
        o.NodeStatusArgs,
        o.Node,
        NODE_OR_ADMIN,
        True,
        "End a rest.",
        resting=True,
    ),
    Transaction(
        "node:Leave",
        o.NodeStatusArgs,
        o.Node,
        NODE_OR_ADMIN,
        True,
        "Leave; the node's hospital may register it again.",
        resting=True,
    ),
    Transaction(
        "node:Suspend",
        o.NodeStatusArgs,
        o.Node,
        ADMIN,
        True,
        "Suspend a node of one's hospital.",
    ),
    Transaction(
        "node:Resume",
        o.NodeStatusArgs,
        o.Node,
        ADMIN,
        True,
        "Resume a suspended node.",
    ),
    Transaction(
        "node:Revoke",
        o.NodeStatusArgs,
        o.Node,
        ADMIN,
        True,
        "Revoke a node and its keys for good; its certificates are refused from then on.",
    ),
    Transaction("node:Get", o.NodeArgs, o.Node, ANYONE, False, "A node."),
    Transaction(
        "node:List",
        n.NodePageArgs,
        o.NodePage,
        ANYONE,
        False,
        "Nodes, by hospital; of all hospitals or of one.",
    ),
    Transaction(
        "node:History",
        n.NodeHistoryArgs,
        n.NodeChangePage,
        ANYONE,
        False,
        "Every status and key that a node ever had.",
    ),
    Transaction(
        "dataset:Register",
        d.RegisterDatasetArgs,
        d.DatasetView,
        ADMIN,
        True,
        "Register a dataset of the caller's hospital and its privacy budget.",
    ),
    Transaction(
        "dataset:SetBudget",
        d.BudgetArgs,
        d.PrivacyAccount,
        ADMIN,
        True,
        "Change the budget of a dataset; not below what is spent.",
    ),
    Transaction(
        "dataset:Consent",
        d.ConsentArgs,
        d.Consent,
        ADMIN,
        True,
        "Consent that a plan trains on a dataset of the caller's hospital.",
    ),
    Transaction(
        "dataset:Withdraw",
        d.ConsentArgs,
        d.Consent,
        ADMIN,
        True,
        "Withdraw consent; stops the next round, never rewrites the past.",
    ),
    Transaction("dataset:Get", d.DatasetArgs, d.DatasetView, ANYONE, False, "A dataset."),
    Transaction("dataset:List", PageArgs, d.DatasetPage, ANYONE, False, "All datasets."),
    Transaction(
        "dataset:Privacy",
        PageArgs,
        d.PrivacyReport,
        ANYONE,
        False,
        "Every privacy account, and the largest loss.",
    ),
    Transaction(
        "plan:Propose",
        p.PlanTerms,
        p.Plan,
        ADMIN,
        True,
        "Propose a training plan.",
    ),
    Transaction(
        "plan:Amend",
        p.PlanTerms,
        p.Plan,
        ADMIN,
        True,
        "Replace the terms of one's own plan before it is approved; votes on the old are void.",
    ),
    Transaction(
        "plan:Advance",
        p.PlanArgs,
        p.Plan,
        ADMIN | VALIDATOR,
        True,
        "Carry out what the votes on a plan decided, opening its key ceremony; or fail a plan "
        "whose key lost a holder.",
    ),
    Transaction(
        "plan:Pause",
        p.PlanReasonArgs,
        p.Plan,
        ADMIN,
        True,
        "Let no further round of one's own plan open; the open one goes on.",
    ),
    Transaction(
        "plan:Resume",
        p.PlanReasonArgs,
        p.Plan,
        ADMIN,
        True,
        "Let rounds of one's own paused plan open again.",
    ),
    Transaction(
        "plan:Abort",
        p.PlanReasonArgs,
        p.Plan,
        ADMIN,
        True,
        "Stop one's own plan for good; its open round or key ceremony fails.",
    ),
    Transaction(
        "plan:Join",
        s.JoinPlanArgs,
        s.Place,
        TRAINER,
        True,
        "Take a place in a plan as its rule allows, from the next round on.",
    ),
    Transaction(
        "plan:Leave",
        s.LeavePlanArgs,
        s.Place,
        ADMIN | TRAINER,
        True,
        "Give a place back; a round that is open still counts on the node.",
    ),
    Transaction("plan:Get", p.PlanArgs, p.PlanView, ANYONE, False, "A plan and its votes."),
    Transaction("plan:List", PageArgs, p.PlanPage, ANYONE, False, "All plans."),
    Transaction(
        "plan:Versions",
        p.PlanVersionsArgs,
        p.PlanVersionPage,
        ANYONE,
        False,
        "Terms of a plan that amendments have replaced.",
    ),
    Transaction(
        "plan:Places",
        s.PlacesArgs,
        s.PlacePage,
        ANYONE,
        False,
        "A plan's places, of all hospitals or of one, and who has them.",
    ),
    Transaction(
        "ceremony:Commit",
        c.CommitArgs,
        c.KeyCommitment,
        VALIDATOR,
        True,
        "Commit to this hospital's share of the collective key.",
    ),
    Transaction(
        "ceremony:Reveal",
        c.RevealArgs,
        c.KeyShare,
        VALIDATOR,
        True,
        "Open the commitment, once all stand.",
    ),
    Transaction(
        "ceremony:Confirm",
        c.ConfirmArgs,
        c.KeyConfirmation,
        VALIDATOR,
        True,
        "Confirm the collective key as computed from all shares.",
    ),
    Transaction(
        "ceremony:Advance",
        p.PlanArgs,
        c.Ceremony,
        VALIDATOR,
        True,
        "Move the ceremony on when every hospital has contributed, or fail it when overdue.",
    ),
    Transaction(
        "ceremony:Get",
        p.PlanArgs,
        c.CeremonyView,
        ANYONE,
        False,
        "A plan's key ceremony and what was contributed.",
    ),
    Transaction(
        "round:Open",
        r.RoundArgs,
        r.Round,
        VALIDATOR,
        True,
        "Open the plan's next round, once the one before has ended.",
    ),
    Transaction(
        "round:SubmitUpdate",
        r.SubmitUpdateArgs,
        r.Update,
        TRAINER,
        True,
        "Submit a node's encrypted update; charges the dataset's privacy account.",
    ),
    Transaction(
        "round:Attest",
        r.AttestArgs,
        r.Attestation,
        VALIDATOR,
        True,
        "Attest the aggregate as computed by this hospital.",
    ),
    Transaction(
        "round:SubmitShare",
        r.ShareArgs,
        r.DecryptionShare,
        VALIDATOR,
        True,
        "Submit this hospital's decryption share of the accepted aggregate.",
    ),
    Transaction(
        "round:Evaluate",
        r.EvaluateArgs,
        r.Evaluation,
        VALIDATOR,
        True,
        "Submit this hospital's evaluation of the candidate.",
    ),
    Transaction(
        "round:Object",
        r.ObjectArgs,
        r.Objection,
        VALIDATOR,
        True,
        "Object to content that the round names and that does not match its hash or its form.",
    ),
    Transaction(
        "round:Advance",
        r.RoundArgs,
        r.Round,
        VALIDATOR,
        True,
        "Move the round on when its stage is complete or overdue.",
    ),
    Transaction(
        "round:Get",
        r.RoundArgs,
        r.RoundView,
        ANYONE,
        False,
        "A round and everything contributed to it.",
    ),
    Transaction("model:Get", r.ModelArgs, r.Model, ANYONE, False, "A global model by address."),
    Transaction("model:List", PageArgs, r.ModelPage, ANYONE, False, "All global models."),
    Transaction(
        "reputation:Get",
        t.RatedArgs,
        t.Reputation,
        ANYONE,
        False,
        "The reputation of a hospital, node, dataset or model, and the evidence for it.",
    ),
    Transaction(
        "reputation:List",
        t.ReputationPageArgs,
        t.ReputationPage,
        ANYONE,
        False,
        "All reputations of one kind of subject that anything is known of.",
    ),
    Transaction(
        "complaint:Open",
        t.ComplaintTerms,
        t.Complaint,
        ADMIN,
        True,
        "Complain about a hospital, node, dataset or model; the other hospitals vote on it.",
    ),
    Transaction(
        "complaint:Advance",
        t.ComplaintArgs,
        t.Complaint,
        ADMIN,
        True,
        "Carry out what the votes on a complaint decided.",
    ),
    Transaction("complaint:Get", t.ComplaintArgs, t.Complaint, ANYONE, False, "A complaint."),
    Transaction("complaint:List", PageArgs, t.ComplaintPage, ANYONE, False, "All complaints."),
    Transaction(
        "classifier:Propose",
        k.ClassifierTerms,
        k.Classifier,
        ADMIN,
        True,
        "Propose a classifier of malicious nodes.",
    ),
    Transaction(
        "classifier:Advance",
        k.ClassifierArgs,
        k.Classifier,
        ADMIN,
        True,
        "Carry out what the votes on a classifier decided; retires the one before.",
    ),
    Transaction("classifier:Get", k.ClassifierArgs, k.Classifier, ANYONE, False, "A classifier."),
    Transaction("classifier:List", PageArgs, k.ClassifierPage, ANYONE, False, "All classifiers."),
    Transaction(
        "classifier:Assess",
        o.NodeArgs,
        k.Assessment,
        ANYONE,
        False,
        "What the adopted classifier makes of a node, and each trait's part in it.",
    ),
    Transaction(
        "provenance:OpenAccess",
        v.OpenAccessArgs,
        v.Accesses,
        ADMIN | AUDITOR,
        True,
        "Record that the caller will read other hospitals' lineage, and why; allows it for a time.",
    ),
    Transaction(
        "provenance:Ancestors",
        v.TraceArgs,
        v.Ancestors,
        ANYONE,
        False,
        "An element, what it came from, and the transactions that wrote it.",
    ),
    Transaction(
        "provenance:Descendants",
        v.TraceArgs,
        v.Descendants,
        ANYONE,
        False,
        "What came of an element.",
    ),
    Transaction(
        "provenance:Signed",
        v.SignedArgs,
        v.ActPage,
        ANYONE,
        False,
        "Everything that a node or an admin ever signed.",
    ),
    Transaction(
        "provenance:Accesses",
        v.AccessPageArgs,
        v.AccessPage,
        ANYONE,
        False,
        "Who recorded an access to a hospital's lineage.",
    ),
)

TRANSACTIONS: dict[str, Transaction] = {row.name: row for row in _ROWS}
