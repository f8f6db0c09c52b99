"""Motions: proposed by one hospital, decided by the vote of those that have one."""

from __future__ import annotations

from chaincode.contracts import voting
from chaincode.contracts.framework import Context
from chaincode.schema import keys, states
from chaincode.schema.consortium import Ballot, Subject
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.motions import Motion, MotionStatus, MotionTerms
from chaincode.schema.voting import VotingRule, VotingRules


def propose(
    context: Context,
    subject: Subject,
    subject_id: str,
    reason: str,
    *,
    name: str | None = None,
    rules: VotingRules | None = None,
) -> Motion:
    """Put a motion to the vote.

    Raises:
        MedFabricError: ``EXISTS`` while the one before on this subject is open.
    """
    before = context.find(keys.motion(subject, subject_id), Motion)
    if before is not None and before.status is MotionStatus.OPEN:
        raise MedFabricError(
            Code.EXISTS, f"a motion on {subject} {subject_id} is open; vote on it, or advance it"
        )
    terms = MotionTerms(
        subject=subject,
        subject_id=subject_id,
        number=before.terms.number + 1 if before else 1,
        proposed_by=context.msp_id,
        proposed_at=context.now,
        reason=reason,
        name=name,
        rules=rules,
    )
    motion = Motion(
        terms=terms,
        terms_sha256=terms.sha256,
        status=MotionStatus.OPEN,
        expires_at=context.now + _rule(context, subject).open_seconds,
    )
    if before is not None:
        context.put(keys.past_motion(subject, subject_id, before.terms.number), before)
    context.put(keys.motion(subject, subject_id), motion)
    return motion


def get(context: Context, subject: Subject, subject_id: str) -> Motion:
    """The newest motion on a subject.

    Raises:
        MedFabricError: ``NOT_FOUND``.
    """
    return context.get(keys.motion(subject, subject_id), Motion)


def open_(context: Context, subject: Subject, subject_id: str) -> Motion:
    """The motion on a subject, still to be decided.

    Raises:
        MedFabricError: ``NOT_FOUND`` or ``ALREADY``.
    """
    motion = get(context, subject, subject_id)
    if motion.status is not MotionStatus.OPEN:
        raise MedFabricError(
            Code.ALREADY, f"the motion on {subject} {subject_id} is {motion.status} already"
        )
    return motion


def question(context: Context, motion: Motion, accused: str | None) -> voting.Question:
    """A motion as a question to the hospitals; the one that it is about has no vote."""
    terms = motion.terms
    return voting.question(
        terms.subject,
        terms.subject_id,
        motion.terms_sha256,
        context.consortium().hospitals,
        _rule(context, terms.subject),
        motion.expires_at,
        accused=accused,
    )


def decide(context: Context, motion: Motion, ballot: Ballot) -> bool:
    """Write what the votes decided; whether the motion is carried.

    Raises:
        MedFabricError: ``NOT_YET``.
    """
    carried = voting.decided(ballot)
    lost = MotionStatus.LAPSED if ballot.lapsed else MotionStatus.DEFEATED
    close(context, motion, MotionStatus.CARRIED if carried else lost)
    return carried


def close(context: Context, motion: Motion, to: MotionStatus) -> None:
    """Write the motion as decided."""
    states.check(states.MOTION, motion.status, to)
    decided = motion.model_copy(update={"status": to, "decided_at": context.now})
    context.put(keys.motion(motion.terms.subject, motion.terms.subject_id), decided)


def _rule(context: Context, subject: Subject) -> VotingRule:
    rules = voting.rules(context)
    return {
        Subject.HOSPITAL: rules.admission,
        Subject.EXPULSION: rules.expulsion,
        Subject.RULES: rules.rules,
        Subject.RECALL: rules.recall,
        Subject.LIFTING: rules.complaint,
    }[subject]
