"""The consortium: its charter, its hospitals, their votes."""

from __future__ import annotations

from chaincode.contracts import classifier as classifiers
from chaincode.contracts import complaint as complaints
from chaincode.contracts import model as models
from chaincode.contracts import motion as motions
from chaincode.contracts import plan as plans
from chaincode.contracts import policy as policies
from chaincode.contracts import reputation, voting
from chaincode.contracts import study as studies
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import canonical, keys, states
from chaincode.schema.base import Empty
from chaincode.schema.classifiers import Classifier
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
from chaincode.schema.forms import FORM
from chaincode.schema.motions import (
    LeaveArgs,
    Motion,
    MotionPage,
    MotionPageArgs,
    MotionStatus,
    ProposeExpulsionArgs,
    ProposeRulesArgs,
)
from chaincode.schema.reputation import Complaint, Rated
from chaincode.schema.studies import Study
from chaincode.schema.voting import Rulebook, VotingRules

LEAST, MOST = 2, 64
"""Hospitals of a consortium: below two there is nobody to share a key with."""
RULES = "rules"
"""The name of the rules as a subject of votes."""
_DECIDED_ELSEWHERE = (Subject.PLAN, Subject.COMPLAINT, Subject.CLASSIFIER, Subject.STUDY)


class ConsortiumContract:
    """Hospitals found a consortium unanimously; from then on they decide by their own rules."""

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
            hospitals=(),
            membership=0,
            founded_at=context.now,
            form=FORM,
        )
        consortium = policies.put_members(context, consortium, set(founders))
        _put_rules(context, 1, args.rules, charter)
        for founder in args.hospitals:
            context.put(
                keys.hospital(founder.msp_id), _proposed(context, founder.msp_id, founder.name)
            )
        own_vote = VoteArgs(
            subject=Subject.CHARTER, subject_id=args.name, subject_sha256=charter, approve=True
        )
        voting.cast(context, own_vote, _charter(consortium))
        context.emit("consortium.proposed", msp_id=context.msp_id)
        return consortium

    @transaction("consortium:ProposeHospital")
    def propose_hospital(self, context: Context, args: ProposeHospitalArgs) -> Motion:
        known = context.find(keys.hospital(args.msp_id), Hospital)
        if known is not None and known.status in (HospitalStatus.PROPOSED, HospitalStatus.ADMITTED):
            raise MedFabricError(Code.EXISTS, f"{args.msp_id} is {known.status} already")
        if known is not None:
            states.check(states.HOSPITAL, known.status, HospitalStatus.PROPOSED)
        motion = motions.propose(context, Subject.HOSPITAL, args.msp_id, "", name=args.name)
        context.put(keys.hospital(args.msp_id), _proposed(context, args.msp_id, args.name))
        context.emit("hospital.proposed", msp_id=args.msp_id)
        return motion

    @transaction("consortium:ProposeExpulsion")
    def propose_expulsion(self, context: Context, args: ProposeExpulsionArgs) -> Motion:
        _member(context, args.msp_id)
        motion = motions.propose(context, Subject.EXPULSION, args.msp_id, args.reason)
        context.emit("expulsion.proposed", msp_id=args.msp_id)
        return motion

    @transaction("consortium:ProposeRules")
    def propose_rules(self, context: Context, args: ProposeRulesArgs) -> Motion:
        motion = motions.propose(context, Subject.RULES, RULES, args.reason, rules=args.rules)
        context.emit("rules.proposed", msp_id=context.msp_id)
        return motion

    @transaction("consortium:Leave")
    def leave(self, context: Context, args: LeaveArgs) -> Hospital:
        hospital = _member(context, context.msp_id)
        expulsion = context.find(keys.motion(Subject.EXPULSION, context.msp_id), Motion)
        if expulsion is not None and expulsion.status is MotionStatus.OPEN:
            motions.close(context, expulsion, MotionStatus.LAPSED)
        return _part(context, hospital, HospitalStatus.LEFT, args.reason)

    @transaction("consortium:Vote")
    def vote(self, context: Context, args: VoteArgs) -> Vote:
        vote = voting.cast(context, args, _question(context, args.subject, args.subject_id))
        context.emit(f"{args.subject}.vote", msp_id=context.msp_id, subject=args.subject_id)
        return vote

    @transaction("consortium:Advance")
    def advance(self, context: Context, args: SubjectArgs) -> Ballot:
        if args.subject in _DECIDED_ELSEWHERE:
            raise MedFabricError(
                Code.BAD_ARGUMENT, f"a {args.subject} advances by {args.subject}:Advance"
            )
        ballot = voting.ballot(context, _question(context, args.subject, args.subject_id))
        if args.subject is Subject.CHARTER:
            self._found(context, voting.decided(ballot))
            return ballot
        motion = motions.open_(context, args.subject, args.subject_id)
        carried = motions.decide(context, motion, ballot)
        carry_out = {
            Subject.HOSPITAL: self._admission,
            Subject.EXPULSION: self._expulsion,
            Subject.RULES: self._rules,
            Subject.RECALL: models.voted,
            Subject.LIFTING: complaints.voted,
        }
        carry_out[args.subject](context, motion, carried)
        return ballot

    @transaction("consortium:Get")
    def get(self, context: Context, _: Empty) -> ConsortiumView:
        consortium = context.consortium()
        rated = [(Rated.HOSPITAL, msp_id) for msp_id in consortium.hospitals]
        return ConsortiumView(
            consortium=consortium,
            rulebook=context.get(keys.rulebook(), Rulebook),
            hospitals=context.all("hospital", (), Hospital),
            reputations=tuple(reputation.of(context, rated)),
        )

    @transaction("consortium:Members")
    def members(self, context: Context, _: Empty) -> Consortium:
        return context.consortium()

    @transaction("consortium:GetBallot")
    def get_ballot(self, context: Context, args: SubjectArgs) -> Ballot:
        return voting.ballot(context, _question(context, args.subject, args.subject_id))

    @transaction("consortium:GetMotion")
    def get_motion(self, context: Context, args: SubjectArgs) -> Motion:
        return motions.get(context, args.subject, args.subject_id)

    @transaction("consortium:ListMotions")
    def list_motions(self, context: Context, args: MotionPageArgs) -> MotionPage:
        below = () if args.subject is None else (args.subject.value,)
        kind = "past-motion" if args.past else "motion"
        found, bookmark = context.page(kind, below, Motion, args.page_size, args.bookmark)
        return MotionPage(motions=found, bookmark=bookmark)

    def _found(self, context: Context, accepted: bool) -> None:
        consortium = context.consortium()
        if consortium.status is ConsortiumStatus.ACTIVE:
            raise MedFabricError(Code.ALREADY, "the charter is accepted already")
        if not accepted:
            raise MedFabricError(
                Code.BAD_STATE, "a founder refused the charter; agree on another channel"
            )
        states.check(states.CONSORTIUM, consortium.status, ConsortiumStatus.ACTIVE)
        active = consortium.model_copy(update={"status": ConsortiumStatus.ACTIVE})
        context.put(keys.consortium(), active)
        for msp_id in consortium.hospitals:
            _admit(context, msp_id)
        context.emit("consortium.founded")

    def _admission(self, context: Context, motion: Motion, carried: bool) -> None:
        msp_id = motion.terms.subject_id
        if not carried:
            hospital = context.get(keys.hospital(msp_id), Hospital)
            _move(context, hospital, HospitalStatus.REJECTED, "refused by vote")
            context.emit("hospital.rejected", msp_id=msp_id)
            return
        members = {*context.consortium().hospitals, msp_id}
        if len(members) > MOST:
            raise MedFabricError(Code.BAD_STATE, f"a consortium has at most {MOST} hospitals")
        policies.put_members(context, context.consortium(), members)
        _admit(context, msp_id)
        context.emit("hospital.admitted", msp_id=msp_id)

    def _expulsion(self, context: Context, motion: Motion, carried: bool) -> None:
        msp_id = motion.terms.subject_id
        if carried:
            hospital = _member(context, msp_id)
            _part(context, hospital, HospitalStatus.EXPELLED, motion.terms.reason)
        else:
            context.emit("expulsion.refused", msp_id=msp_id)

    def _rules(self, context: Context, motion: Motion, carried: bool) -> None:
        if not carried or motion.terms.rules is None:
            context.emit("rules.refused")
            return
        before = context.get(keys.rulebook(), Rulebook)
        _put_rules(context, before.version + 1, motion.terms.rules, motion.terms_sha256)
        context.emit("rules.changed")


def _question(context: Context, subject: Subject, subject_id: str) -> voting.Question:
    """What a vote on the subject binds to, who may vote, and what carries it."""
    consortium = context.consortium()
    if subject is Subject.CHARTER:
        if subject_id != consortium.name:
            raise MedFabricError(Code.NOT_FOUND, f"the charter is named {consortium.name}")
        return _charter(consortium)
    if consortium.status is not ConsortiumStatus.ACTIVE:
        raise MedFabricError(Code.NOT_FOUNDED, "vote on the charter first")
    if subject is Subject.PLAN:
        return plans.question(context, plans.get(context, subject_id))
    if subject is Subject.COMPLAINT:
        return complaints.question(context, context.get(keys.complaint(subject_id), Complaint))
    if subject is Subject.CLASSIFIER:
        classifier = context.get(keys.classifier(subject_id), Classifier)
        return classifiers.question(context, classifier)
    if subject is Subject.STUDY:
        return studies.question(context, context.get(keys.study(subject_id), Study))
    motion = motions.get(context, subject, subject_id)
    return motions.question(context, motion, _accused(context, subject, subject_id))


def _accused(context: Context, subject: Subject, subject_id: str) -> str | None:
    """The hospital that a motion is about, if it is about one."""
    if subject is Subject.EXPULSION:
        return subject_id
    if subject is Subject.LIFTING:
        return context.get(keys.complaint(subject_id), Complaint).accused
    return None


def _charter(consortium: Consortium) -> voting.Question:
    return voting.unanimous(
        Subject.CHARTER, consortium.name, consortium.charter_sha256, consortium.hospitals
    )


def _proposed(context: Context, msp_id: str, name: str) -> Hospital:
    return Hospital(
        msp_id=msp_id,
        name=name,
        status=HospitalStatus.PROPOSED,
        proposed_by=context.msp_id,
        proposed_at=context.now,
    )


def _member(context: Context, msp_id: str) -> Hospital:
    hospital = context.get(keys.hospital(msp_id), Hospital)
    if hospital.status is not HospitalStatus.ADMITTED:
        raise MedFabricError(Code.BAD_STATE, f"{msp_id} is {hospital.status}, no member")
    return hospital


def _move(context: Context, hospital: Hospital, to: HospitalStatus, reason: str = "") -> Hospital:
    states.check(states.HOSPITAL, hospital.status, to)
    changes = {"status": to, "decided_at": context.now, "reason": reason}
    moved = hospital.model_copy(update=changes)
    context.put(keys.hospital(hospital.msp_id), moved)
    return moved


def _admit(context: Context, msp_id: str) -> None:
    _move(context, context.get(keys.hospital(msp_id), Hospital), HospitalStatus.ADMITTED)


def _part(context: Context, hospital: Hospital, to: HospitalStatus, reason: str) -> Hospital:
    """Part with a member. Its nodes need no change: nothing is taken from its certificates."""
    members = set(context.consortium().hospitals) - {hospital.msp_id}
    if len(members) < LEAST:
        raise MedFabricError(
            Code.TOO_FEW_HOSPITALS, f"a consortium has at least {LEAST} hospitals; admit others"
        )
    policies.check_departure(context, hospital.msp_id)
    policies.put_members(context, context.consortium(), members)
    moved = _move(context, hospital, to, reason)
    context.emit(f"hospital.{to.value.lower()}", msp_id=hospital.msp_id)
    return moved


def _put_rules(context: Context, version: int, rules: VotingRules, motion_sha256: str) -> None:
    rulebook = Rulebook(
        version=version, rules=rules, motion_sha256=motion_sha256, changed_at=context.now
    )
    context.put(keys.rulebook(), rulebook)
