"""The consortium: its charter, its hospitals, their votes."""

from __future__ import annotations

from chaincode.contracts import complaint as complaints
from chaincode.contracts import reputation, voting
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import canonical, keys, states
from chaincode.schema.base import Empty
from chaincode.schema.consortium import (
    Ballot,
    Consortium,
    ConsortiumStatus,
    ConsortiumView,
    FoundArgs,
    Hospital,
    HospitalStatus,
    ProposeHospitalArgs,
    Subject,
    SubjectArgs,
    Vote,
    VoteArgs,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import Plan
from chaincode.schema.reputation import Complaint, Rated


class ConsortiumContract:
    """Hospitals found a consortium unanimously and admit others by majority."""

    @transaction("consortium:Found")
    def found(self, context: Context, args: FoundArgs) -> Consortium:
        if context.find(keys.consortium(), Consortium) is not None:
            raise MedFabricError(Code.EXISTS, "this channel has a consortium already; join it")
        founders = tuple(sorted(founder.msp_id for founder in args.hospitals))
        if len(set(founders)) != len(founders) or context.msp_id not in founders:
            raise MedFabricError(
                Code.BAD_ARGUMENT, "name every founding hospital once, your own among them"
            )
        charter = canonical.sha256(args)
        consortium = Consortium(
            name=args.name,
            status=ConsortiumStatus.FOUNDING,
            charter_sha256=charter,
            hospitals=founders,
            founded_at=context.now,
        )
        context.put(keys.consortium(), consortium)
        for founder in args.hospitals:
            hospital = Hospital(
                msp_id=founder.msp_id,
                name=founder.name,
                status=HospitalStatus.PROPOSED,
                proposed_by=context.msp_id,
                proposed_at=context.now,
            )
            context.put(keys.hospital(founder.msp_id), hospital)
        own_vote = VoteArgs(
            subject=Subject.CHARTER, subject_id=args.name, subject_sha256=charter, approve=True
        )
        voting.cast(context, own_vote, founders)
        context.emit("consortium.proposed", msp_id=context.msp_id)
        return consortium

    @transaction("consortium:ProposeHospital")
    def propose_hospital(self, context: Context, args: ProposeHospitalArgs) -> Hospital:
        known = context.find(keys.hospital(args.msp_id), Hospital)
        if known is not None:
            raise MedFabricError(Code.EXISTS, f"{args.msp_id} is {known.status} already")
        hospital = Hospital(
            msp_id=args.msp_id,
            name=args.name,
            status=HospitalStatus.PROPOSED,
            proposed_by=context.msp_id,
            proposed_at=context.now,
        )
        context.put(keys.hospital(args.msp_id), hospital)
        context.emit("hospital.proposed", msp_id=args.msp_id)
        return hospital

    @transaction("consortium:Vote")
    def vote(self, context: Context, args: VoteArgs) -> Vote:
        expected, voters = _subject(context, args.subject, args.subject_id)
        if args.subject_sha256 != expected:
            raise MedFabricError(
                Code.TERMS_MISMATCH,
                f"the vote is on other terms than this {args.subject} has; read them again",
            )
        vote = voting.cast(context, args, voters)
        context.emit(f"{args.subject}.vote", msp_id=context.msp_id, subject=args.subject_id)
        return vote

    @transaction("consortium:Advance")
    def advance(self, context: Context, args: SubjectArgs) -> Ballot:
        ballot = _ballot(context, args)
        if args.subject in (Subject.PLAN, Subject.COMPLAINT):
            raise MedFabricError(
                Code.BAD_ARGUMENT, f"a {args.subject} advances by {args.subject}:Advance"
            )
        if ballot.decided is None:
            raise MedFabricError(Code.NOT_YET, "the votes decide nothing yet; wait for more")
        if args.subject is Subject.CHARTER:
            self._charter(context, ballot)
        else:
            self._hospital(context, args.subject_id, ballot)
        return ballot

    @transaction("consortium:Get")
    def get(self, context: Context, _: Empty) -> ConsortiumView:
        consortium = context.consortium()
        hospitals = context.all("hospital", (), Hospital)
        rated = [(Rated.HOSPITAL, msp_id) for msp_id in consortium.hospitals]
        reputations = tuple(reputation.of(context, rated))
        return ConsortiumView(consortium=consortium, hospitals=hospitals, reputations=reputations)

    @transaction("consortium:GetBallot")
    def get_ballot(self, context: Context, args: SubjectArgs) -> Ballot:
        return _ballot(context, args)

    def _charter(self, context: Context, ballot: Ballot) -> None:
        consortium = context.consortium()
        if consortium.status is ConsortiumStatus.ACTIVE:
            raise MedFabricError(Code.ALREADY, "the charter is accepted already")
        if not ballot.decided:
            raise MedFabricError(
                Code.BAD_STATE, "a founder refused the charter; agree on another channel"
            )
        states.check(states.CONSORTIUM, consortium.status, ConsortiumStatus.ACTIVE)
        active = consortium.model_copy(update={"status": ConsortiumStatus.ACTIVE})
        context.put(keys.consortium(), active)
        for msp_id in consortium.hospitals:
            self._admit(context, msp_id)
        context.emit("consortium.founded")

    def _hospital(self, context: Context, msp_id: str, ballot: Ballot) -> None:
        hospital = context.get(keys.hospital(msp_id), Hospital)
        if hospital.status is not HospitalStatus.PROPOSED:
            raise MedFabricError(Code.ALREADY, f"{msp_id} is {hospital.status} already")
        if not ballot.decided:
            states.check(states.HOSPITAL, hospital.status, HospitalStatus.REJECTED)
            rejected = {"status": HospitalStatus.REJECTED, "decided_at": context.now}
            context.put(keys.hospital(msp_id), hospital.model_copy(update=rejected))
            context.emit("hospital.rejected", msp_id=msp_id)
            return
        consortium = context.consortium()
        members = tuple(sorted({*consortium.hospitals, msp_id}))
        context.put(keys.consortium(), consortium.model_copy(update={"hospitals": members}))
        self._admit(context, msp_id)
        context.emit("hospital.admitted", msp_id=msp_id)

    def _admit(self, context: Context, msp_id: str) -> None:
        hospital = context.get(keys.hospital(msp_id), Hospital)
        states.check(states.HOSPITAL, hospital.status, HospitalStatus.ADMITTED)
        admitted = {"status": HospitalStatus.ADMITTED, "decided_at": context.now}
        context.put(keys.hospital(msp_id), hospital.model_copy(update=admitted))


def _ballot(context: Context, args: SubjectArgs) -> Ballot:
    if args.subject is Subject.COMPLAINT:
        return complaints.ballot(context, context.get(keys.complaint(args.subject_id), Complaint))
    _, voters = _subject(context, args.subject, args.subject_id)
    needed = len(voters) if args.subject is Subject.CHARTER else voting.majority(voters)
    return voting.ballot(context, args.subject, args.subject_id, voters, needed)


def _subject(context: Context, subject: Subject, subject_id: str) -> tuple[str, tuple[str, ...]]:
    """What a vote on the subject binds to, and who may vote."""
    consortium = context.consortium()
    if subject is Subject.CHARTER:
        if subject_id != consortium.name:
            raise MedFabricError(Code.NOT_FOUND, f"the charter is named {consortium.name}")
        return consortium.charter_sha256, consortium.hospitals
    if consortium.status is not ConsortiumStatus.ACTIVE:
        raise MedFabricError(Code.NOT_FOUNDED, "vote on the charter first")
    if subject is Subject.HOSPITAL:
        hospital = context.get(keys.hospital(subject_id), Hospital)
        proposal = ProposeHospitalArgs(msp_id=hospital.msp_id, name=hospital.name)
        return canonical.sha256(proposal), consortium.hospitals
    if subject is Subject.COMPLAINT:
        complaint = context.get(keys.complaint(subject_id), Complaint)
        return complaint.terms_sha256, complaints.voters(context, complaint)
    plan = context.get(keys.plan(subject_id), Plan)
    return plan.terms_sha256, consortium.hospitals
