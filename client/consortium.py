"""The ledger as a program sees it: typed transactions, queries and events.

    with Consortium.connect("connection.json", Identity.load("users/node1")) as consortium:
        view = consortium.rounds.get(plan_id="wdbc", number=1)
        consortium.rounds.advance(plan_id="wdbc", number=1)

Every transaction is declared once, in :mod:`chaincode.schema.transactions`; the groups below give
them typed names.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError

from chaincode.schema import applications as a
from chaincode.schema import canonical
from chaincode.schema import ceremonies as c
from chaincode.schema import classifiers as k
from chaincode.schema import consortium as o
from chaincode.schema import datasets as d
from chaincode.schema import disputes as q
from chaincode.schema import grouptests as u
from chaincode.schema import hospitals as b
from chaincode.schema import inferences as i
from chaincode.schema import masking as f
from chaincode.schema import motions as m
from chaincode.schema import nodes as n
from chaincode.schema import places as s
from chaincode.schema import plans as p
from chaincode.schema import policies as y
from chaincode.schema import private as x
from chaincode.schema import provenance as v
from chaincode.schema import reputation as t
from chaincode.schema import rounds as r
from chaincode.schema import sharing as g
from chaincode.schema import storage as h
from chaincode.schema import studies as w
from chaincode.schema.base import Empty, Event, Language, PageArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.transactions import TRANSACTIONS, Transaction
from client.closing import Closing
from client.connection import Connection
from client.gateway import ChaincodeEvents, Checkpoint, Endorsers, Gateway, Policy, Scope
from client.identity import Identity

Args = TypeVar("Args", bound=Language)
Paged = TypeVar("Paged", bound=PageArgs)
Result = TypeVar("Result", bound=Language)


@dataclass(frozen=True)
class LedgerEvent:
    """An event of a committed transaction: which, where, and about what. Read the state then."""

    name: str
    body: Event
    block_number: int
    transaction_id: str


class Events(Closing, Iterator[LedgerEvent]):
    """Waits for the next event; :meth:`close` ends the iteration, from any thread.

    An event counts as processed when the next one is asked for: the checkpoint is saved then.

    Raises (while iterating):
        EventsError: the stream broke off; begin again, with the same checkpoint.
    """

    def __init__(self, stream: ChaincodeEvents, checkpoint: Checkpoint | None) -> None:
        self._stream = stream
        self._checkpoint = checkpoint
        self._given: LedgerEvent | None = None

    def __next__(self) -> LedgerEvent:
        if self._checkpoint is not None and self._given is not None:
            self._checkpoint.after_transaction(self._given.block_number, self._given.transaction_id)
        self._given = None
        event = next(self._stream)
        body = _parse(Event, event.payload, f"event {event.name}")
        self._given = LedgerEvent(event.name, body, event.block_number, event.transaction_id)
        return self._given

    def close(self) -> None:
        """End the iteration. Harmless when repeated."""
        self._stream.close()


class Call(Generic[Args, Result]):
    """A transaction by its name, with the types that the table declares for it.

    ``group.name(args)`` or ``group.name(**fields of args)``; ordered if the transaction writes,
    else asked of one peer.
    """

    def __init__(self, name: str, args: type[Args], result: type[Result]) -> None:
        declared = TRANSACTIONS[name]
        if (declared.args, declared.result) != (args, result):
            raise TypeError(f"{name} takes {declared.args} and gives {declared.result}")
        self.name, self.args, self.result = name, args, result

    def __get__(self, group: Group, owner: type[Group]) -> Bound[Args, Result]:
        return Bound(self, group.consortium)


@dataclass(frozen=True)
class Bound(Generic[Args, Result]):
    """A transaction, ready to be called."""

    call: Call[Args, Result]
    consortium: Consortium

    def __call__(self, args: Args | None = None, /, **fields: Any) -> Result:
        """Carry it out; see :meth:`Consortium.submit` and :meth:`Consortium.evaluate`."""
        return self.given({}, args, **fields)

    def given(
        self, transient: Mapping[str, bytes], args: Args | None = None, /, **fields: Any
    ) -> Result:
        """Carry it out with transient data, which reach the contracts and no ledger."""
        call, consortium = self.call, self.consortium
        if args is None:
            args = arguments(call.args, fields)
        if TRANSACTIONS[call.name].writes:
            return consortium.submit(call.name, args, call.result, transient=transient)
        return consortium.evaluate(call.name, args, call.result, transient=transient)


@dataclass(frozen=True)
class Group:
    """Transactions of one contract."""

    consortium: Consortium


class Charter(Group):
    """The consortium itself and its hospitals."""

    found = Call("consortium:Found", o.FoundArgs, o.Consortium)
    propose_hospital = Call("consortium:ProposeHospital", o.ProposeHospitalArgs, m.Motion)
    propose_expulsion = Call("consortium:ProposeExpulsion", m.ProposeExpulsionArgs, m.Motion)
    propose_rules = Call("consortium:ProposeRules", m.ProposeRulesArgs, m.Motion)
    leave = Call("consortium:Leave", m.LeaveArgs, o.Hospital)
    vote = Call("consortium:Vote", o.VoteArgs, o.Vote)
    advance = Call("consortium:Advance", o.SubjectArgs, o.Ballot)
    get = Call("consortium:Get", Empty, o.ConsortiumView)
    members = Call("consortium:Members", Empty, o.Consortium)
    ballot = Call("consortium:GetBallot", o.SubjectArgs, o.Ballot)
    motion = Call("consortium:GetMotion", o.SubjectArgs, m.Motion)
    motions = Call("consortium:ListMotions", m.MotionPageArgs, m.MotionPage)


class Policies(Group):
    renew = Call("policy:Renew", y.RenewPoliciesArgs, y.Renewal)
    get = Call("policy:Get", y.StandingArgs, y.Standing)
    page = Call("policy:List", y.PolicyPageArgs, y.PolicyPage)


class Nodes(Group):
    register = Call("node:Register", o.RegisterNodeArgs, o.Node)
    renew = Call("node:Renew", n.RenewNodeArgs, o.Node)
    rest = Call("node:Rest", o.NodeStatusArgs, o.Node)
    wake = Call("node:Wake", o.NodeStatusArgs, o.Node)
    leave = Call("node:Leave", o.NodeStatusArgs, o.Node)
    suspend = Call("node:Suspend", o.NodeStatusArgs, o.Node)
    resume = Call("node:Resume", o.NodeStatusArgs, o.Node)
    revoke = Call("node:Revoke", o.NodeStatusArgs, o.Node)
    get = Call("node:Get", o.NodeArgs, o.Node)
    page = Call("node:List", n.NodePageArgs, o.NodePage)
    history = Call("node:History", n.NodeHistoryArgs, n.NodeChangePage)


class Datasets(Group):
    register = Call("dataset:Register", d.RegisterDatasetArgs, d.DatasetView)
    set_budget = Call("dataset:SetBudget", d.BudgetArgs, d.PrivacyAccount)
    release = Call("dataset:Release", d.ReleaseArgs, d.Release)
    consent = Call("dataset:Consent", d.ConsentArgs, d.Consent)
    withdraw = Call("dataset:Withdraw", d.ConsentArgs, d.Consent)
    get = Call("dataset:Get", d.DatasetArgs, d.DatasetView)
    page = Call("dataset:List", PageArgs, d.DatasetPage)
    privacy = Call("dataset:Privacy", PageArgs, d.PrivacyReport)


class Hospitals(Group):
    set_budget = Call("hospital:SetBudget", b.HospitalBudgetArgs, b.HospitalAccount)
    privacy = Call("hospital:Privacy", PageArgs, b.HospitalAccountPage)


class Plans(Group):
    propose = Call("plan:Propose", p.PlanTerms, p.PlanState)
    advance = Call("plan:Advance", p.PlanArgs, p.PlanState)
    amend = Call("plan:Amend", p.PlanTerms, p.PlanState)
    pause = Call("plan:Pause", p.PlanReasonArgs, p.PlanState)
    resume = Call("plan:Resume", p.PlanReasonArgs, p.PlanState)
    abort = Call("plan:Abort", p.PlanReasonArgs, p.PlanState)
    join = Call("plan:Join", s.JoinPlanArgs, s.Place)
    leave = Call("plan:Leave", s.LeavePlanArgs, s.Place)
    places = Call("plan:Places", s.PlacesArgs, s.PlacePage)
    versions = Call("plan:Versions", p.PlanVersionsArgs, p.PlanVersionPage)
    get = Call("plan:Get", p.PlanArgs, p.PlanView)
    page = Call("plan:List", PageArgs, p.PlanPage)


class Ceremonies(Group):
    commit = Call("ceremony:Commit", c.CommitArgs, c.KeyCommitment)
    reveal = Call("ceremony:Reveal", c.RevealArgs, c.KeyShare)
    confirm = Call("ceremony:Confirm", c.ConfirmArgs, c.KeyConfirmation)
    accuse = Call("ceremony:Accuse", c.AccuseArgs, c.KeyAccusation)
    judge = Call("ceremony:Judge", c.JudgeArgs, c.KeyVerdict)
    advance = Call("ceremony:Advance", p.PlanArgs, c.Ceremony)
    get = Call("ceremony:Get", p.PlanArgs, c.CeremonyView)


class Rounds(Group):
    open = Call("round:Open", r.RoundArgs, r.RoundState)
    decline = Call("round:Decline", r.DeclineArgs, r.Decline)
    submit_update = Call("round:SubmitUpdate", r.SubmitUpdateArgs, r.Posted)
    attest = Call("round:Attest", r.AttestArgs, r.Posted)
    submit_share = Call("round:SubmitShare", r.ShareArgs, r.Posted)
    evaluate = Call("round:Evaluate", r.EvaluateArgs, r.Posted)
    object = Call("round:Object", r.ObjectArgs, r.Objection)
    advance = Call("round:Advance", r.AdvanceArgs, r.RoundState)
    page = Call("round:Get", r.RoundPageArgs, r.RoundPage)

    def get(self, *, plan_id: str, number: int) -> r.RoundView:
        """A round and everything contributed to it, read page by page.

        Raises:
            MedFabricError: as :meth:`Consortium.evaluate`.
        """
        first = self.page(plan_id=plan_id, number=number)
        rest = range(1, first.round.pages)
        others = [self.page(plan_id=plan_id, number=number, page=page) for page in rest]
        return r.RoundView.of([first, *others])


class Masks(Group):
    post_keys = Call("masking:PostKeys", f.PostMaskKeysArgs, f.MaskKeys)
    unmask = Call("masking:Unmask", f.UnmaskArgs, f.Unmasking)


class Disputes(Group):
    prove = Call("dispute:Prove", q.ProveShareArgs, r.Posted)
    judge = Call("dispute:Judge", q.JudgeSharesArgs, r.Posted)


class GroupTests(Group):
    attest = Call("grouptest:Attest", u.AttestGroupsArgs, u.GroupAttestation)
    submit_shares = Call("grouptest:SubmitShares", u.ShareGroupsArgs, u.GroupShare)
    score = Call("grouptest:Score", u.ScoreGroupsArgs, u.GroupScore)
    advance = Call("grouptest:Advance", u.GroupTestArgs, u.GroupTest)
    get = Call("grouptest:Get", u.GroupTestArgs, u.GroupTestView)


class Models(Group):
    get = Call("model:Get", r.ModelArgs, r.Model)
    page = Call("model:List", PageArgs, r.ModelPage)
    deprecate = Call("model:Deprecate", r.DeprecateArgs, r.Model)
    propose_recall = Call("model:ProposeRecall", r.RecallArgs, m.Motion)
    recall_derived = Call("model:RecallDerived", r.ModelArgs, r.Model)


class Inferences(Group):
    ask = Call("inference:Ask", i.InquiryArgs, i.Inquiry)
    answer = Call("inference:Answer", i.AnswerInquiryArgs, i.Inference)
    get = Call("inference:Get", i.InquiryArgs, i.InquiryView)
    page = Call("inference:List", i.InquiryPageArgs, i.InquiryPage)
    lend = Call("inference:Lend", i.LendArgs, i.Loan)
    score = Call("inference:Score", i.ScoreArgs, i.Scoring)
    loan = Call("inference:Loan", i.LoanArgs, i.LoanView)
    loans = Call("inference:Loans", i.LoanPageArgs, i.LoanPage)


class Reputations(Group):
    get = Call("reputation:Get", t.RatedArgs, t.Reputation)
    page = Call("reputation:List", t.ReputationPageArgs, t.ReputationPage)


class Complaints(Group):
    open = Call("complaint:Open", t.ComplaintTerms, t.Complaint)
    advance = Call("complaint:Advance", t.ComplaintArgs, t.Complaint)
    get = Call("complaint:Get", t.ComplaintArgs, t.Complaint)
    propose_lifting = Call("complaint:ProposeLifting", t.LiftingArgs, m.Motion)
    page = Call("complaint:List", PageArgs, t.ComplaintPage)


class Classifiers(Group):
    propose = Call("classifier:Propose", k.ClassifierTerms, k.Classifier)
    advance = Call("classifier:Advance", k.ClassifierArgs, k.Classifier)
    get = Call("classifier:Get", k.ClassifierArgs, k.Classifier)
    page = Call("classifier:List", PageArgs, k.ClassifierPage)
    assess = Call("classifier:Assess", o.NodeArgs, k.Assessment)


class Studies(Group):
    propose = Call("study:Propose", w.StudyTerms, w.Study)
    consent = Call("study:Consent", w.StudyConsentArgs, w.ConsentToStudy)
    limit = Call("study:Limit", w.UseLimitArgs, w.UseLimit)
    uses = Call("study:Uses", w.DatasetUsesArgs, w.DatasetUses)
    deposit = Call("study:Deposit", w.DepositArgs, w.Deposit)
    sum = Call("study:Sum", w.SumArgs, w.Study)
    attest = Call("study:Attest", w.AttestSumArgs, w.StudyAttestation)
    submit_share = Call("study:SubmitShare", w.ShareSumArgs, w.StudyShare)
    find = Call("study:Find", w.FindArgs, w.Finding)
    prove = Call("study:Prove", w.ProveStudyShareArgs, r.Posted)
    judge = Call("study:Judge", w.JudgeStudySharesArgs, r.Posted)
    advance = Call("study:Advance", w.StudyArgs, w.Study)
    get = Call("study:Get", w.StudyArgs, w.StudyView)
    page = Call("study:List", PageArgs, w.StudyPage)


class Storage(Group):
    hold = Call("storage:Hold", h.HoldArgs, h.Holding)
    challenge = Call("storage:Challenge", h.ChallengeArgs, h.Challenge)
    answer = Call("storage:Answer", h.AnswerArgs, h.Challenge)
    check = Call("storage:Check", h.AnswerArgs, h.Check)
    conclude = Call("storage:Conclude", h.ChallengeRefArgs, h.Challenge)
    get = Call("storage:Get", h.ChallengeRefArgs, h.ChallengeView)
    holders = Call("storage:Holders", h.HolderPageArgs, h.HoldingPage)
    challenges = Call("storage:Challenges", PageArgs, h.ChallengePage)
    pending = Call("storage:Pending", PageArgs, h.PendingPage)


class Applications(Group):
    register = Call("application:Register", a.RegisterApplicationArgs, a.ApplicationSchema)
    record = Call("application:Record", a.RecordArgs, a.SpecificRecord)
    get = Call("application:Get", a.ApplicationArgs, a.ApplicationSchema)
    page = Call("application:List", PageArgs, a.ApplicationPage)
    get_record = Call("application:GetRecord", a.RecordRefArgs, a.SpecificRecord)
    records = Call("application:Records", a.RecordPageArgs, a.RecordPage)


class Sharing(Group):
    publish = Call("sharing:Publish", g.PublishLocalArgs, g.LocalModel)
    grant = Call("sharing:Grant", g.GrantArgs, g.Grant)
    revoke = Call("sharing:Revoke", g.RevokeArgs, g.Grant)
    receive = Call("sharing:Receive", g.LocalModelArgs, g.Receipt)
    get = Call("sharing:Get", g.LocalModelArgs, g.SharedModel)
    grants = Call("sharing:Grants", g.LocalModelPageArgs, g.GrantPage)
    gains = Call("sharing:Gains", PageArgs, g.GainPage)
    receipts = Call("sharing:Receipts", g.LocalModelPageArgs, g.ReceiptPage)


class Provenance(Group):
    open_access = Call("provenance:OpenAccess", v.OpenAccessArgs, v.Accesses)
    ancestors = Call("provenance:Ancestors", v.TraceArgs, v.Ancestors)
    descendants = Call("provenance:Descendants", v.TraceArgs, v.Descendants)
    signed = Call("provenance:Signed", v.SignedArgs, v.ActPage)
    accesses = Call("provenance:Accesses", v.AccessPageArgs, v.AccessPage)


class Private(Group):
    """The hospital's own records of its nodes and datasets; see :mod:`chaincode.schema.private`.

    Never submit what only reads: the result of a submitted transaction is on the ledger.
    """

    get = Call("private:Get", x.PrivateRecordArgs, x.PrivateRecord)
    page = Call("private:List", x.PrivateRecordPageArgs, x.PrivateRecordPage)
    purge = Call("private:Purge", x.PrivateRecordArgs, x.PurgedRecord)
    keep_record = Call("private:Keep", x.PrivateRecordArgs, x.KeptRecord)
    verify_record = Call("private:Verify", x.VerifyRecordArgs, x.KeptRecord)

    def keep(self, subject: str, content: x.Inventory | x.Statistics) -> x.KeptRecord:
        """Keep what a node or dataset of one's hospital is, under a new salt.

        Raises:
            MedFabricError: as :meth:`Consortium.submit`.
        """
        kind = _kind_of(content)
        fields = {
            "kind": kind,
            "msp_id": self.consortium.identity.msp_id,
            "subject": subject,
            "salt": secrets.token_hex(32),
            kind.value: content,
        }
        record = arguments(x.PrivateRecord, fields)
        return self.keep_record.given(_transient(record), kind=kind, subject=subject)

    def verify(self, record: x.PrivateRecord) -> x.KeptRecord:
        """Whether a record that a hospital handed on is the one that it keeps now.

        Raises:
            MedFabricError: ``PRIVATE_RECORD_MISMATCH`` or ``NOT_FOUND``.
        """
        return self.verify_record.given(
            _transient(record), msp_id=record.msp_id, kind=record.kind, subject=record.subject
        )


class Consortium(Closing):
    """Typed access to the consortium's ledger through one hospital's peer.

    Safe to share among threads.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._endorsers = Endorsers(gateway.identity.msp_id, self._members)
        self.charter = Charter(self)
        self.policies = Policies(self)
        self.nodes = Nodes(self)
        self.datasets = Datasets(self)
        self.hospitals = Hospitals(self)
        self.plans = Plans(self)
        self.ceremonies = Ceremonies(self)
        self.rounds = Rounds(self)
        self.masks = Masks(self)
        self.disputes = Disputes(self)
        self.group_tests = GroupTests(self)
        self.models = Models(self)
        self.inferences = Inferences(self)
        self.reputations = Reputations(self)
        self.complaints = Complaints(self)
        self.studies = Studies(self)
        self.classifiers = Classifiers(self)
        self.storage = Storage(self)
        self.applications = Applications(self)
        self.sharing = Sharing(self)
        self.provenance = Provenance(self)
        self.private = Private(self)

    @classmethod
    def connect(
        cls,
        connection: Connection | Path | str,
        identity: Identity | Path | str,
        *,
        policy: Policy | None = None,
    ) -> Self:
        """Connect as an identity; nothing is sent before the first call.

        Raises:
            MedFabricError: the connection's file or the identity's folder is unusable.
        """
        if not isinstance(connection, Connection):
            connection = Connection.load(connection)
        if not isinstance(identity, Identity):
            identity = Identity.load(identity)
        return cls(Gateway.connect(connection, identity, policy=policy))

    @property
    def identity(self) -> Identity:
        """Who submits."""
        return self.gateway.identity

    def submit(
        self,
        name: str,
        args: Language,
        result: type[Result],
        *,
        transient: Mapping[str, bytes] | None = None,
        scope: Scope | None = None,
    ) -> Result:
        """Submit a transaction and wait until it is committed and valid.

        Conflicts with other transactions are proposed anew. ``error.code`` of a refusal is the
        contract's. A ``scope`` bounds the whole.

        Raises:
            MedFabricError: refused by the contracts; nothing was written.
            EndorseError, SubmitError, CommitError: nothing was written.
            CommitStatusError: it may have been written; read the state.
        """
        declared = _declared(name, args, result)
        if not declared.writes:
            raise TypeError(f"{name} writes nothing: evaluate it")
        committed = self.gateway.submit(
            [name.encode(), canonical.brief(args)],
            transient=transient,
            organizations=self._only(declared),
            endorsers=None if declared.private else self._endorsers,
            scope=scope,
        )
        return _parse(result, committed.result, name)

    def submit_once(self, name: str, args: Language, result: type[Result]) -> Result | None:
        """Like :meth:`submit`; None where somebody has done it already (``ALREADY``)."""
        try:
            return self.submit(name, args, result)
        except MedFabricError as error:
            if error.code == Code.ALREADY:
                return None
            raise

    def evaluate(
        self,
        name: str,
        args: Language,
        result: type[Result],
        *,
        transient: Mapping[str, bytes] | None = None,
        scope: Scope | None = None,
    ) -> Result:
        """Query one peer's committed state.

        Raises:
            EvaluateError: the peer did not answer, or the contracts refused.
        """
        declared = _declared(name, args, result)
        answer = self.gateway.evaluate(
            [name.encode(), canonical.brief(args)],
            transient=transient,
            organizations=self._only(declared),
            scope=scope,
        )
        return _parse(result, answer, name)

    def _only(self, declared: Transaction) -> tuple[str, ...]:
        """Whose peers may be asked; none leaves it to the own peer."""
        return (self.identity.msp_id,) if declared.private else ()

    def _members(self, scope: Scope | None) -> tuple[str, ...]:
        try:
            found = self.evaluate("consortium:Members", Empty(), o.Consortium, scope=scope)
        except MedFabricError:  # not founded, or no answer: the proposal's own error tells
            return ()
        return found.hospitals

    def catch_up(self, other: Consortium, *, seconds: float = 30.0) -> None:
        """Wait until this hospital's peer has every block that another hospital's peer has now.

        For programs that act for several hospitals in turn: peers commit on their own, so what one
        shows may reach the next a moment later.

        Raises:
            MedFabricError: ``UNREACHABLE`` where the peer stays behind.
        """
        deadline = time.monotonic() + seconds
        wanted = other._height()
        while not wanted or self._height() < wanted:
            if time.monotonic() > deadline:
                raise MedFabricError(
                    Code.UNREACHABLE,
                    f"the peer of {self.identity.msp_id} does not reach the blocks of "
                    f"{other.identity.msp_id}; check that both run and have orderers to follow",
                )
            time.sleep(0.02)
            wanted = wanted or other._height()

    def events(
        self, checkpoint: Checkpoint | None = None, *, start_block: int | None = None
    ) -> Events:
        """Events from the checkpoint on, else from ``start_block``, else from now on."""
        stream = self.gateway.events(start_block=start_block, checkpoint=checkpoint)
        return Events(stream, checkpoint)

    def close(self) -> None:
        """Close the connection."""
        self.gateway.close()

    def _height(self) -> int:
        try:
            return self.gateway.height()
        except MedFabricError as error:
            if error.code == Code.UNREACHABLE:
                return 0
            raise


def every(page: Bound[Paged, Result], *, size: int = 100, **fields: Any) -> Iterator[Result]:
    """All pages of a list, one after the other: ``every(consortium.plans.page)``.

    ``fields`` are what the list's argument has beside the page.
    """
    bookmark = ""
    while True:
        found = page(page_size=size, bookmark=bookmark, **fields)
        yield found
        bookmark = str(getattr(found, "bookmark", ""))
        if not bookmark:
            return


def _transient(record: x.PrivateRecord) -> dict[str, bytes]:
    return {x.TRANSIENT: canonical.dumps(record)}


def _kind_of(content: x.Inventory | x.Statistics) -> x.RecordKind:
    if isinstance(content, x.Inventory):
        return x.RecordKind.INVENTORY
    return x.RecordKind.STATISTICS


def arguments(model: type[Args], fields: dict[str, Any]) -> Args:
    """Arguments from their fields.

    Raises:
        MedFabricError: ``BAD_ARGUMENT``, naming the field.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the arguments"
        raise MedFabricError(Code.BAD_ARGUMENT, f"{field}: {first['msg']}") from None


def _declared(name: str, args: Language, result: type[Language]) -> Transaction:
    declared = TRANSACTIONS.get(name)
    if declared is None:
        raise MedFabricError(Code.UNKNOWN_TRANSACTION, f"there is no transaction {name}")
    if type(args) is not declared.args or result is not declared.result:
        raise TypeError(
            f"{name} takes {declared.args.__name__} and gives {declared.result.__name__}"
        )
    return declared


def _parse(model: type[Result], content: bytes, what: str) -> Result:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise MedFabricError(
            Code.BAD_RESPONSE,
            f"{what}: the peer's answer is not what the ledger's language says ({field}: "
            f"{first['msg']}); use the same version of MedFabric on both sides",
        ) from None
