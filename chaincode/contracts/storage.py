"""Holdings of content, challenges to them, answers, and what other holders make of the answers."""

from __future__ import annotations

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, states
from chaincode.schema.base import Empty, PageArgs
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.storage import (
    AnswerArgs,
    Challenge,
    ChallengeArgs,
    ChallengePage,
    ChallengeRefArgs,
    ChallengeStatus,
    ChallengeView,
    Check,
    HoldArgs,
    HolderPageArgs,
    Holding,
    HoldingPage,
    PendingChallenge,
    PendingPage,
)

_PENDING = (ChallengeStatus.OPEN, ChallengeStatus.ANSWERED)


class StorageContract:
    """No content comes to the ledger, so other holders judge an answer: each from its own copy,
    after the answer stands, so that it cannot be copied from them."""

    @transaction("storage:Hold")
    def hold(self, context: Context, args: HoldArgs) -> Holding:
        if args.until <= context.now:
            raise MedFabricError(Code.BAD_ARGUMENT, "the holding would be over already; extend it")
        key = keys.holding(args.content.sha256, context.msp_id)
        before = context.find(key, Holding)
        if before is not None and (before.content != args.content or args.until < before.until):
            raise MedFabricError(
                Code.BAD_STATE,
                f"{context.msp_id} holds it as {before.content.cid} until {before.until}; "
                "a holding is extended, not changed",
            )
        holding = Holding(
            msp_id=context.msp_id,
            node_id=context.node_id,
            content=args.content,
            until=args.until,
            declared_at=context.now,
        )
        context.put_owned(key, holding, context.msp_id)
        context.emit("storage.held", msp_id=context.msp_id, subject=args.content.sha256)
        return holding

    @transaction("storage:Challenge")
    def challenge(self, context: Context, args: ChallengeArgs) -> Challenge:
        holding = context.get(keys.holding(args.sha256, args.holder), Holding)
        if args.holder == context.msp_id:
            raise MedFabricError(Code.BAD_ARGUMENT, "nobody challenges itself; name another holder")
        if context.now > holding.until:
            raise MedFabricError(Code.BAD_STATE, f"{args.holder} held it until {holding.until}")
        challenge = Challenge(
            challenge=context.tx_id,
            holder=args.holder,
            content=holding.content,
            asked_by=context.msp_id,
            asked_at=context.now,
            deadline=context.now + args.answer_seconds,
            status=ChallengeStatus.OPEN,
        )
        context.put(keys.challenge(context.tx_id), challenge)
        context.put(keys.pending_challenge(context.tx_id), Empty())
        context.emit("storage.challenged", msp_id=args.holder, subject=context.tx_id)
        return challenge

    @transaction("storage:Answer")
    def answer(self, context: Context, args: AnswerArgs) -> Challenge:
        challenge = _get(context, args.challenge)
        if challenge.holder != context.msp_id:
            raise MedFabricError(
                Code.NOT_OWNER, f"{challenge.holder} was challenged; it answers for its own copy"
            )
        in_time = context.now <= challenge.deadline
        to = ChallengeStatus.ANSWERED if in_time else ChallengeStatus.LATE
        answer = {"answer_sha256": args.answer_sha256, "answered_at": context.now}
        return _move(context, challenge, to, **answer)

    @transaction("storage:Check")
    def check(self, context: Context, args: AnswerArgs) -> Check:
        challenge = _get(context, args.challenge)
        if challenge.holder == context.msp_id:
            raise MedFabricError(Code.BAD_ARGUMENT, "nobody checks its own answer; others do")
        if challenge.answer_sha256 is None:
            raise MedFabricError(
                Code.NOT_YET, "there is no answer yet, and a check before it would give it away"
            )
        check = Check(
            challenge=args.challenge,
            msp_id=context.msp_id,
            node_id=context.node_id,
            answer_sha256=args.answer_sha256,
            checked_at=context.now,
        )
        key = keys.check(args.challenge, context.msp_id)
        return context.post(key, check, "storage.checked", subject=args.challenge)

    @transaction("storage:Conclude")
    def conclude(self, context: Context, args: ChallengeRefArgs) -> Challenge:
        challenge = _get(context, args.challenge)
        if states.is_final(states.CHALLENGE, challenge.status):
            raise MedFabricError(Code.ALREADY, f"the challenge is {challenge.status} already")
        checks = _checks(context, challenge)
        to = _conclusion(context, challenge, checks)
        if to is None and challenge.answer_sha256 is None:
            raise MedFabricError(Code.NOT_YET, f"{challenge.holder} may still answer; wait")
        if to is None:
            right = sum(check.answer_sha256 == challenge.answer_sha256 for check in checks)
            raise MedFabricError(
                Code.NOT_YET,
                f"{right} checks agree with the answer, {len(checks) - right} do not; "
                "wait for more",
            )
        return _move(context, challenge, to)

    @transaction("storage:Get")
    def get(self, context: Context, args: ChallengeRefArgs) -> ChallengeView:
        challenge = _get(context, args.challenge)
        return ChallengeView(challenge=challenge, checks=_checks(context, challenge))

    @transaction("storage:Holders")
    def holders(self, context: Context, args: HolderPageArgs) -> HoldingPage:
        holdings, bookmark = context.page(
            "holding", (args.sha256,), Holding, args.page_size, args.bookmark
        )
        return HoldingPage(holdings=holdings, bookmark=bookmark)

    @transaction("storage:Challenges")
    def challenges(self, context: Context, args: PageArgs) -> ChallengePage:
        challenges, bookmark = context.page(
            "challenge", (), Challenge, args.page_size, args.bookmark
        )
        return ChallengePage(challenges=challenges, bookmark=bookmark)

    @transaction("storage:Pending")
    def pending(self, context: Context, args: PageArgs) -> PendingPage:
        entries, bookmark = context.page_entries(
            "pending-challenge", (), args.page_size, args.bookmark
        )
        wanted = [keys.challenge(name) for (name,), _ in entries]
        pending = tuple(_pending(context, c) for c in context.existing(wanted, Challenge))
        return PendingPage(pending=pending, bookmark=bookmark)


def _get(context: Context, challenge: str) -> Challenge:
    return context.get(keys.challenge(challenge), Challenge)


def _conclusion(
    context: Context, challenge: Challenge, checks: tuple[Check, ...]
) -> ChallengeStatus | None:
    """What a pending challenge comes to, or None while it is too early to tell.

    More than half of the other hospitals decide on an answer; or, once they had as long to check
    as the holder had to answer, more than half of those who checked.
    """
    if challenge.answer_sha256 is None:
        return ChallengeStatus.MISSED if context.now > challenge.deadline else None
    right = sum(check.answer_sha256 == challenge.answer_sha256 for check in checks)
    wrong = len(checks) - right
    others = len(context.consortium().hospitals) - 1
    over = context.now > challenge.deadline + (challenge.deadline - challenge.asked_at)
    if right == wrong or (2 * max(right, wrong) <= others and not over):
        return None
    return ChallengeStatus.PROVEN if right > wrong else ChallengeStatus.REFUTED


def _checks(context: Context, challenge: Challenge) -> tuple[Check, ...]:
    hospitals = context.consortium().hospitals
    return context.existing([keys.check(challenge.challenge, h) for h in hospitals], Check)


def _pending(context: Context, challenge: Challenge) -> PendingChallenge:
    checks = _checks(context, challenge)
    return PendingChallenge(
        challenge=challenge,
        checks=checks,
        holders=_holders(context, challenge),
        conclusion=_conclusion(context, challenge, checks),
    )


def _holders(context: Context, challenge: Challenge) -> tuple[str, ...]:
    wanted = [keys.holding(challenge.content.sha256, h) for h in context.consortium().hospitals]
    return tuple(holding.msp_id for holding in context.existing(wanted, Holding))


def _move(
    context: Context, challenge: Challenge, to: ChallengeStatus, **changes: object
) -> Challenge:
    states.check(states.CHALLENGE, challenge.status, to)
    moved = challenge.model_copy(update={"status": to, **changes})
    context.put(keys.challenge(challenge.challenge), moved)
    if to not in _PENDING:
        context.delete(keys.pending_challenge(challenge.challenge))
    context.emit(
        f"storage.{to.value.lower()}", msp_id=challenge.holder, subject=challenge.challenge
    )
    return moved
