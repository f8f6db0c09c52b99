"""Votes of hospitals: one each on one hash, tallied by the rule for the subject."""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.contracts.framework import Context
from chaincode.schema import keys
from chaincode.schema.consortium import Ballot, Subject, Vote, VoteArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.voting import Rulebook, VotingRule, VotingRules

NEVER = 0
MILLION = 1_000_000


@dataclass(frozen=True)
class Question:
    """What is voted on, by whom, how many approvals among how many votes carry it, and until when.

    ``expires_at``: :data:`NEVER`, or a point in time.
    """

    subject: Subject
    subject_id: str
    subject_sha256: str
    voters: tuple[str, ...]
    needed: int
    quorum: int
    expires_at: int


def question(
    subject: Subject,
    subject_id: str,
    subject_sha256: str,
    hospitals: tuple[str, ...],
    rule: VotingRule,
    expires_at: int,
    accused: str | None = None,
) -> Question:
    """A question to all hospitals, decided by a rule.

    Args:
        accused: has no vote, and counts all the same: fewer than could decide anything else must
            not be enough to expel a hospital.
    """
    voters = tuple(h for h in hospitals if h != accused)
    number = len(hospitals)
    needed = number * rule.fraction_micro // MILLION + 1
    quorum = min(-(-number * rule.quorum_micro // MILLION), len(voters))
    return Question(
        subject, subject_id, subject_sha256, voters, needed, max(needed, quorum), expires_at
    )


def unanimous(
    subject: Subject, subject_id: str, subject_sha256: str, voters: tuple[str, ...]
) -> Question:
    """A question that everybody must approve, whenever that is."""
    number = len(voters)
    return Question(subject, subject_id, subject_sha256, voters, number, number, NEVER)


def rules(context: Context) -> VotingRules:
    """The rules in force."""
    return context.get(keys.rulebook(), Rulebook).rules


def cast(context: Context, args: VoteArgs, asked: Question) -> Vote:
    """Record the caller's hospital's vote.

    Raises:
        MedFabricError: ``TERMS_MISMATCH``, ``NOT_A_VOTER``, ``VOTE_OVER`` or ``SECOND_VOTE``.
    """
    if args.subject_sha256 != asked.subject_sha256:
        raise MedFabricError(
            Code.TERMS_MISMATCH,
            f"the vote is on other terms than this {args.subject} has; read them again",
        )
    if context.msp_id not in asked.voters:
        raise MedFabricError(
            Code.NOT_A_VOTER, f"{context.msp_id} has no vote on this {args.subject}"
        )
    if _over(context, asked):
        raise MedFabricError(
            Code.VOTE_OVER, f"the vote on this {args.subject} is over; propose it again"
        )
    key = keys.vote(args.subject, args.subject_id, args.subject_sha256, context.msp_id)
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


def ballot(context: Context, asked: Question) -> Ballot:
    """The votes so far, and what they decide.

    Votes of hospitals that have no vote any more do not count.
    """
    place = asked.subject, asked.subject_id, asked.subject_sha256
    votes = context.existing([keys.vote(*place, voter) for voter in asked.voters], Vote)
    approvals = sum(vote.approve for vote in votes)
    refusals = len(votes) - approvals
    carried = approvals >= asked.needed and len(votes) >= asked.quorum
    defeated = len(asked.voters) - refusals < asked.needed
    lapsed = not carried and not defeated and _over(context, asked)
    return Ballot(
        subject=asked.subject,
        subject_id=asked.subject_id,
        subject_sha256=asked.subject_sha256,
        votes=votes,
        needed=asked.needed,
        quorum=asked.quorum,
        expires_at=asked.expires_at,
        lapsed=lapsed,
        decided=True if carried else False if defeated or lapsed else None,
    )


def decided(ballot: Ballot) -> bool:
    """What the votes decide.

    Raises:
        MedFabricError: ``NOT_YET`` while they decide nothing.
    """
    if ballot.decided is None:
        said = sum(vote.approve for vote in ballot.votes)
        raise MedFabricError(
            Code.NOT_YET,
            f"the votes decide nothing yet: {said} of {len(ballot.votes)} approve, {ballot.needed} "
            f"approvals of {ballot.quorum} votes are needed; wait for more",
        )
    return ballot.decided


def _over(context: Context, asked: Question) -> bool:
    return asked.expires_at != NEVER and context.now > asked.expires_at
