"""Group tests: drawn as a round is decrypted, summed, decrypted and scored, booked as quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from chaincode.contracts import cohort as cohorts
from chaincode.contracts import plan as plans
from chaincode.contracts import reputation, staging
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import grouptests, keys, states
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import (
    AttestGroupsArgs,
    Group,
    GroupAttestation,
    GroupScore,
    GroupShare,
    GroupTest,
    GroupTestArgs,
    GroupTestStatus,
    GroupTestView,
    Quality,
    Regression,
    ScoreGroupsArgs,
    ShareGroupsArgs,
)
from chaincode.schema.plans import Plan
from chaincode.schema.rounds import DecryptionShare, Round


class GroupTestContract:
    """Posts each have their own key; :meth:`advance` draws the conclusion, as with rounds."""

    @transaction("grouptest:Attest")
    def attest(self, context: Context, args: AttestGroupsArgs) -> GroupAttestation:
        _in_stage(context, args.plan_id, args.round, GroupTestStatus.DRAWN)
        attestation = GroupAttestation(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            sums_sha256=args.sums_sha256,
            posted_at=context.now,
        )
        key = keys.group_attestation(args.plan_id, args.round, context.msp_id)
        return context.post(
            key, attestation, "grouptest.attested", plan_id=args.plan_id, round=args.round
        )

    @transaction("grouptest:SubmitShares")
    def submit_shares(self, context: Context, args: ShareGroupsArgs) -> GroupShare:
        test = _in_stage(context, args.plan_id, args.round, GroupTestStatus.SUMMED)
        if args.sums_sha256 != test.sums_sha256:
            raise MedFabricError(
                Code.WRONG_AGGREGATE, "the shares are for other sums than the accepted ones"
            )
        if context.msp_id not in test.key_holders or len(args.shares) != len(test.groups):
            raise MedFabricError(
                Code.BAD_STATE,
                f"{len(test.groups)} shares each of {', '.join(test.key_holders)} are wanted",
            )
        share = GroupShare(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            sums_sha256=args.sums_sha256,
            shares=args.shares,
            posted_at=context.now,
        )
        key = keys.group_share(args.plan_id, args.round, context.msp_id)
        return context.post(key, share, "grouptest.share", plan_id=args.plan_id, round=args.round)

    @transaction("grouptest:Score")
    def score(self, context: Context, args: ScoreGroupsArgs) -> GroupScore:
        test = _in_stage(context, args.plan_id, args.round, GroupTestStatus.DECRYPTED)
        if len(args.correct) != len(test.groups):
            raise MedFabricError(Code.BAD_ARGUMENT, f"score all {len(test.groups)} groups")
        if max(args.base_correct, *(c or 0 for c in args.correct)) > args.total:
            raise MedFabricError(Code.BAD_ARGUMENT, "more correct than there are in total")
        score = GroupScore(
            plan_id=args.plan_id,
            round=args.round,
            msp_id=context.msp_id,
            node_id=context.node_id,
            correct=args.correct,
            base_correct=args.base_correct,
            total=args.total,
            posted_at=context.now,
        )
        key = keys.group_score(args.plan_id, args.round, context.msp_id)
        return context.post(key, score, "grouptest.scored", plan_id=args.plan_id, round=args.round)

    @transaction("grouptest:Advance")
    def advance(self, context: Context, args: GroupTestArgs) -> GroupTest:
        plan, test = _running(context, args.plan_id, args.round)
        if states.is_final(states.GROUP_TEST, test.status):
            raise MedFabricError(Code.ALREADY, f"the group test is {test.status} already")
        by_stage: dict[GroupTestStatus, Callable[[Context, Plan, GroupTest], GroupTest]] = {
            GroupTestStatus.DRAWN: _sum,
            GroupTestStatus.SUMMED: _decrypt,
            GroupTestStatus.DECRYPTED: _judge,
        }
        return by_stage[test.status](context, plan, test)

    @transaction("grouptest:Get")
    def get(self, context: Context, args: GroupTestArgs) -> GroupTestView:
        test = context.find(keys.group_test(args.plan_id, args.round), GroupTest)
        if test is None:
            return GroupTestView(test=None)
        below = keys.group_test(args.plan_id, args.round)[1]
        return GroupTestView(
            test=test,
            attestations=context.all("group-attestation", below, GroupAttestation),
            shares=context.all("group-share", below, GroupShare),
            scores=context.all("group-score", below, GroupScore),
        )


def draw(context: Context, plan: Plan, round_: Round, shares: Iterable[DecryptionShare]) -> None:
    """Draw a decrypted round's groups, where the plan allows tests and there are enough hospitals.

    After a plan's last round nothing of it is left to weigh: it has no test.
    """
    tests = plan.terms.acceptance.group_tests
    secrets = [share.draw for share in shares if share.draw is not None]
    last = round_.number == plan.terms.training.rounds
    if not tests or last or not secrets or round_.aggregate_sha256 is None:
        return
    # A further attempt at the decryption draws no other groups.
    if context.find(keys.group_test(round_.plan_id, round_.number), GroupTest) is not None:
        return
    seed = grouptests.seed_sha256(round_.plan_id, round_.number, round_.aggregate_sha256, secrets)
    sealed = cohorts.sealed(context, round_, 0)
    hospitals = sealed.hospitals_without(round_.dropped) if sealed else ()
    drawn = grouptests.draw(seed, hospitals, tests, plan.terms.acceptance.least_group)
    if not drawn:
        return
    test = GroupTest(
        plan_id=round_.plan_id,
        round=round_.number,
        status=GroupTestStatus.DRAWN,
        seed_sha256=seed,
        groups=tuple(Group(members=members) for members in drawn),
        key_holders=round_.key_holders,
        opened_at=context.now,
        changed_at=context.now,
        deadline=context.now + plan.terms.participation.stage_seconds,
    )
    context.put(keys.group_test(round_.plan_id, round_.number), test)


def settle(context: Context, plan: Plan, last: Round | None) -> None:
    """Refuse to go on while the last round's test is not over: it says who weighs how much.

    Raises:
        MedFabricError: ``NOT_YET``.
    """
    if last is None or not plan.terms.acceptance.group_tests:
        return
    test = context.find(keys.group_test(last.plan_id, last.number), GroupTest)
    if test is not None and not states.is_final(states.GROUP_TEST, test.status):
        raise MedFabricError(
            Code.NOT_YET, f"the group test of round {last.number} is still {test.status}"
        )


# The stages.


def _sum(context: Context, plan: Plan, test: GroupTest) -> GroupTest:
    wanted = [keys.group_attestation(test.plan_id, test.round, h) for h in plan.terms.hospitals]
    posted = context.existing(wanted, GroupAttestation)
    needed = plan.terms.attestations_needed
    tally = Counter(attestation.sums_sha256 for attestation in posted)
    digest, votes = max(tally.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    if votes >= needed:
        return _move(context, plan, test, GroupTestStatus.SUMMED, sums_sha256=digest)
    absent = plans.absent(plan.terms.hospitals, posted)
    if votes + len(absent) >= needed:
        _wait(context, plan, test, absent)
    why = f"{votes} of {needed} attest the same sums"
    return _fail(context, plan, test, Code.NO_AGREEMENT, why, absent)


def _decrypt(context: Context, plan: Plan, test: GroupTest) -> GroupTest:
    wanted = [keys.group_share(test.plan_id, test.round, h) for h in test.key_holders]
    absent = plans.absent(test.key_holders, context.existing(wanted, GroupShare))
    if not absent:
        return _move(context, plan, test, GroupTestStatus.DECRYPTED)
    if not set(absent) & set(plans.gone_holders(context, plan.terms)):
        _wait(context, plan, test, absent)
    why = f"no decryption shares of {', '.join(absent)}"
    return _fail(context, plan, test, Code.KEY_HOLDER_MISSING, why, absent)


def _judge(context: Context, plan: Plan, test: GroupTest) -> GroupTest:
    wanted = [keys.group_score(test.plan_id, test.round, h) for h in plan.terms.hospitals]
    posted = context.existing(wanted, GroupScore)
    if absent := plans.absent(plan.terms.hospitals, posted):
        _wait(context, plan, test, absent)
    judging = [score for score in posted if score.total]
    if 2 * len(judging) <= len(plan.terms.hospitals):
        why = f"{len(judging)} of {len(plan.terms.hospitals)} hospitals scored on records"
        return _fail(context, plan, test, Code.NOT_EVALUATED, why, absent)
    round_ = context.get(keys.round_(test.plan_id, test.round), Round)
    qualities = _qualities(context, plan, test, round_, judging)
    changes = {"qualities": qualities, "absent": absent}
    scored = _move(context, plan, test, GroupTestStatus.SCORED, **changes)
    sealed = cohorts.sealed(context, round_, 0)
    reputation.book_test(context, scored, sealed.present(round_.dropped) if sealed else ())
    return scored


def _qualities(
    context: Context, plan: Plan, test: GroupTest, round_: Round, scores: list[GroupScore]
) -> tuple[Quality, ...]:
    key = keys.group_regression(test.plan_id)
    known = context.find(key, Regression)
    before = {} if known is None else known.contributions_micro
    weights = _weights(context, plan, round_)
    groups = [[(msp_id, weights[msp_id]) for msp_id in group.members] for group in test.groups]
    effects = grouptests.effects_micro(len(groups), scores)
    after = grouptests.regressed(before, groups, effects)
    regression = Regression(
        plan_id=test.plan_id,
        round=test.round,
        contributions_micro={msp_id: after[msp_id] for msp_id in sorted(after)},
    )
    context.put(key, regression)
    drop = plan.terms.acceptance.max_drop_micro
    harmful = grouptests.harmful(groups, effects, after, drop)
    return tuple(
        Quality(msp_id=msp_id, contribution_micro=after[msp_id], harmful=msp_id in harmful)
        for msp_id in sorted(weights)
    )


def _weights(context: Context, plan: Plan, round_: Round) -> dict[str, int]:
    """What the hospitals' nodes weigh together. A plan with tests has one page of nodes."""
    found: dict[str, int] = {}
    for contribution in cohorts.whole(context, plan, round_).contributions:
        found[contribution.msp_id] = found.get(contribution.msp_id, 0) + contribution.weight
    return found


def _running(context: Context, plan_id: str, number: int) -> tuple[Plan, GroupTest]:
    plan = plans.running(context, plan_id)
    plans.participating(context, plan.terms)
    return plan, context.get(keys.group_test(plan_id, number), GroupTest)


def _in_stage(context: Context, plan_id: str, number: int, stage: GroupTestStatus) -> GroupTest:
    _, test = _running(context, plan_id, number)
    what = f"the group test of round {number}"
    staging.check_stage(what, test, stage)
    staging.check_time(context, what, test)
    return test


def _wait(context: Context, plan: Plan, test: GroupTest, whom: tuple[str, ...]) -> None:
    gone = plans.gone_holders(context, plan.terms)
    staging.wait(context, test, [msp_id for msp_id in whom if msp_id not in gone])


def _move(
    context: Context, plan: Plan, test: GroupTest, to: GroupTestStatus, **changes: object
) -> GroupTest:
    states.check(states.GROUP_TEST, test.status, to)
    deadline = context.now + plan.terms.participation.stage_seconds
    fixed = {"status": to, "changed_at": context.now, "deadline": deadline}
    moved = test.model_copy(update={**fixed, **changes})
    context.put(keys.group_test(test.plan_id, test.round), moved)
    name = f"grouptest.{to.value.lower()}"
    context.emit(name, plan_id=test.plan_id, round=test.round)
    return moved


def _fail(
    context: Context, plan: Plan, test: GroupTest, code: Code, why: str, absent: tuple[str, ...]
) -> GroupTest:
    """Who let the deadline pass has missed a duty."""
    reputation.missed_duty(context, absent)
    changes = {"failure": code.value, "reason": why[:512], "absent": absent}
    return _move(context, plan, test, GroupTestStatus.FAILED, **changes)
