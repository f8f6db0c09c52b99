"""Complaints: a hospital accuses, the others decide; what is upheld costs reputation."""

from __future__ import annotations

from chaincode.contracts import motion as motions
from chaincode.contracts import reputation, voting
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import canonical, keys, states
from chaincode.schema.base import PageArgs
from chaincode.schema.consortium import Subject
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.motions import Motion
from chaincode.schema.reputation import (
    Complaint,
    ComplaintArgs,
    ComplaintPage,
    ComplaintStatus,
    ComplaintTerms,
    LiftingArgs,
    Rated,
    Suspension,
)


class ComplaintContract:
    """Only a vote suspends a node against its own hospital's will, and only for a time."""

    @transaction("complaint:Open")
    def open(self, context: Context, terms: ComplaintTerms) -> Complaint:
        if context.find(keys.complaint(terms.complaint_id), Complaint) is not None:
            raise MedFabricError(
                Code.EXISTS, f"complaint {terms.complaint_id} exists; name another"
            )
        if terms.suspend_seconds and terms.subject is not Rated.NODE:
            raise MedFabricError(
                Code.BAD_ARGUMENT, "only a node is suspended; complain with suspend_seconds 0"
            )
        complaint = Complaint(
            terms=terms,
            terms_sha256=canonical.sha256(terms),
            status=ComplaintStatus.OPEN,
            accused=reputation.owner(context, terms.subject, terms.subject_id),
            opened_by=context.msp_id,
            opened_at=context.now,
        )
        context.put(keys.complaint(terms.complaint_id), complaint)
        context.emit("complaint.opened", msp_id=context.msp_id, subject=terms.complaint_id)
        return complaint

    @transaction("complaint:Advance")
    def advance(self, context: Context, args: ComplaintArgs) -> Complaint:
        complaint = context.get(keys.complaint(args.complaint_id), Complaint)
        if states.is_final(states.COMPLAINT, complaint.status):
            raise MedFabricError(
                Code.ALREADY, f"complaint {args.complaint_id} is {complaint.status} already"
            )
        upheld = voting.decided(voting.ballot(context, question(context, complaint)))
        if upheld:
            _uphold(context, complaint.terms)
        return _decide(context, complaint, upheld=upheld)

    @transaction("complaint:ProposeLifting")
    def propose_lifting(self, context: Context, args: LiftingArgs) -> Motion:
        if _running(context, args.complaint_id) is None:
            raise MedFabricError(
                Code.BAD_STATE,
                f"complaint {args.complaint_id} suspends nobody now; read what became of it",
            )
        motion = motions.propose(context, Subject.LIFTING, args.complaint_id, args.reason)
        context.emit("lifting.proposed", msp_id=context.msp_id, subject=args.complaint_id)
        return motion

    @transaction("complaint:Get")
    def get(self, context: Context, args: ComplaintArgs) -> Complaint:
        return context.get(keys.complaint(args.complaint_id), Complaint)

    @transaction("complaint:List")
    def list(self, context: Context, args: PageArgs) -> ComplaintPage:
        complaints, bookmark = context.page(
            "complaint", (), Complaint, args.page_size, args.bookmark
        )
        return ComplaintPage(complaints=complaints, bookmark=bookmark)


def question(context: Context, complaint: Complaint) -> voting.Question:
    """A complaint as a question to the hospitals; the accused one counts, and has no vote: nobody
    judges their own case."""
    rule = voting.rules(context).complaint
    return voting.question(
        Subject.COMPLAINT,
        complaint.terms.complaint_id,
        complaint.terms_sha256,
        context.consortium().hospitals,
        rule,
        complaint.opened_at + rule.open_seconds,
        accused=complaint.accused,
    )


def voted(context: Context, motion: Motion, carried: bool) -> None:
    """Carry out what the votes on lifting a suspension decided."""
    complaint_id = motion.terms.subject_id
    suspension = _running(context, complaint_id)
    if not carried or suspension is None:
        context.emit("lifting.refused" if suspension else "lifting.late", subject=complaint_id)
        return
    lifted = {"until": context.now, "lifted_by": motion.terms_sha256}
    key = keys.suspension(suspension.msp_id, suspension.node_id)
    context.put(key, suspension.model_copy(update=lifted))
    context.emit("suspension.lifted", msp_id=suspension.msp_id, subject=suspension.node_id)


def _running(context: Context, complaint_id: str) -> Suspension | None:
    """The suspension that a complaint led to, while it lasts."""
    terms = context.get(keys.complaint(complaint_id), Complaint).terms
    if terms.subject is not Rated.NODE:
        return None
    suspension = context.find(keys.suspension(*terms.subject_id.split("/")), Suspension)
    if suspension is None or suspension.complaint_id != complaint_id:
        return None
    return suspension if context.now < suspension.until else None


def _uphold(context: Context, terms: ComplaintTerms) -> None:
    reputation.complaint_upheld(context, (terms.subject, terms.subject_id))
    if not terms.suspend_seconds:
        return
    msp_id, _, node_id = terms.subject_id.partition("/")
    key = keys.suspension(msp_id, node_id)
    before = context.find(key, Suspension)
    until = context.now + terms.suspend_seconds
    if before is None or before.until < until:
        suspension = Suspension(
            msp_id=msp_id, node_id=node_id, complaint_id=terms.complaint_id, until=until
        )
        context.put(key, suspension)


def _decide(context: Context, complaint: Complaint, *, upheld: bool) -> Complaint:
    to = ComplaintStatus.UPHELD if upheld else ComplaintStatus.DISMISSED
    states.check(states.COMPLAINT, complaint.status, to)
    decided = complaint.model_copy(update={"status": to, "decided_at": context.now})
    context.put(keys.complaint(complaint.terms.complaint_id), decided)
    context.emit(f"complaint.{to.value.lower()}", subject=complaint.terms.complaint_id)
    return decided
