"""Votes of hospitals: one each, tallied by the subject's own rule."""

from __future__ import annotations

from chaincode.contracts.framework import Context
from chaincode.schema import keys
from chaincode.schema.consortium import Ballot, Subject, Vote, VoteArgs
from chaincode.schema.errors import Code, MedFabricError


def cast(context: Context, args: VoteArgs, voters: tuple[str, ...]) -> Vote:
    """Record the caller's hospital's vote.

    Raises:
        MedFabricError: ``NOT_A_VOTER`` or ``SECOND_VOTE``.
    """
    if context.msp_id not in voters:
        raise MedFabricError(
            Code.NOT_A_VOTER, f"{context.msp_id} has no vote on this {args.subject}"
        )
    key = keys.vote(args.subject, args.subject_id, context.msp_id)
    if context.find(key, Vote) is not None:
        raise MedFabricError(
            Code.SECOND_VOTE,
            f"{context.msp_id} has voted on this {args.subject} already; a vote stands",
        )
    vote = Vote(
        subject=args.subject,
        subject_id=args.subject_id,
        subject_sha256=args.subject_sha256,
        msp_id=context.msp_id,
        approve=args.approve,
        reason=args.reason,
        cast_at=context.now,
        cast_by=context.node_id,
    )
    context.put(key, vote)
    return vote


def ballot(
    context: Context, subject: Subject, subject_id: str, voters: tuple[str, ...], needed: int
) -> Ballot:
    """The votes so far, and what they decide when ``needed`` approvals carry the subject."""
    votes = context.existing([keys.vote(subject, subject_id, v) for v in voters], Vote)
    approvals = sum(vote.approve for vote in votes)
    refusals = len(votes) - approvals
    decided: bool | None = None
    if approvals >= needed:
        decided = True
    elif len(voters) - refusals < needed:
        decided = False
    return Ballot(subject=subject, subject_id=subject_id, votes=votes, decided=decided)


def majority(voters: tuple[str, ...]) -> int:
    """More than half."""
    return len(voters) // 2 + 1
