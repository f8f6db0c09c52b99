"""What a node has to do next, as a pure function of the committed ledger state.

Nothing here reads a clock, a file or the network: the same snapshot gives the same duties, so an
agent that was killed at any moment finds its place again by reading the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chaincode.schema import states
from chaincode.schema.base import Role
from chaincode.schema.ceremonies import CeremonyStatus, CeremonyView
from chaincode.schema.dropping import verdicts
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import GroupTest, GroupTestStatus, GroupTestView
from chaincode.schema.masking import Masked, MaskKeys
from chaincode.schema.places import Place
from chaincode.schema.plans import Participant, Plan, PlanStatus
from chaincode.schema.rounds import Decline, RoundStatus, RoundView, Update
from chaincode.schema.waiting import evaluated_at, unevaluated

CONCERNING = (PlanStatus.APPROVED, PlanStatus.ACTIVE, PlanStatus.PAUSED)
"""States in which a plan gives its nodes anything to do."""


class Task(StrEnum):
    """One kind of duty; each is one transaction at the end."""

    COMMIT_KEY = "commit-key"
    REVEAL_KEY = "reveal-key"
    CONFIRM_KEY = "confirm-key"
    JUDGE_KEY = "judge-key"
    ADVANCE_CEREMONY = "advance-ceremony"
    OPEN_ROUND = "open-round"
    SUBMIT_UPDATE = "submit-update"
    ATTEST = "attest"
    SUBMIT_SHARE = "submit-share"
    POST_MASK_KEYS = "post-mask-keys"
    UNMASK = "unmask"
    EVALUATE = "evaluate"
    PROVE_SHARE = "prove-share"
    JUDGE_SHARES = "judge-shares"
    ADVANCE_ROUND = "advance-round"
    ATTEST_GROUPS = "attest-groups"
    SHARE_GROUPS = "share-groups"
    SCORE_GROUPS = "score-groups"
    ADVANCE_TEST = "advance-test"
    ADVANCE_PLAN = "advance-plan"
    JOIN_PLAN = "join-plan"
    RENEW_POLICIES = "renew-policies"
    ANSWER_CHALLENGE = "answer-challenge"
    CHECK_ANSWER = "check-answer"
    CONCLUDE_CHALLENGE = "conclude-challenge"
    DEPOSIT_RECORDS = "deposit-records"
    SUM_RECORDS = "sum-records"
    ATTEST_SUM = "attest-sum"
    SHARE_SUM = "share-sum"
    FIND_SUMS = "find-sums"
    ADVANCE_STUDY = "advance-study"


_IN_CEREMONY = {
    CeremonyStatus.COMMIT: Task.COMMIT_KEY,
    CeremonyStatus.REVEAL: Task.REVEAL_KEY,
    CeremonyStatus.CONFIRM: Task.CONFIRM_KEY,
    CeremonyStatus.JUDGE: Task.JUDGE_KEY,
}


_OF_HOSPITALS = {
    RoundStatus.DECRYPTED: Task.EVALUATE,
    RoundStatus.DISPUTED: Task.PROVE_SHARE,
    RoundStatus.JUDGING: Task.JUDGE_SHARES,
}


@dataclass(frozen=True)
class Me:
    """Whose duties are asked for. ``joins``: whether the node joins plans that admit it."""

    msp_id: str
    node_id: str
    roles: frozenset[Role]
    joins: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A plan and where it stands, as committed. ``round`` is the newest, None before the first; of
    many nodes it has those that are read (see :mod:`trainer.node.reading`).

    ``members`` are the consortium's hospitals; ``places`` those of this node's hospital in the
    plan, as they were ever taken. ``test`` is the round's group test, where the plan has any.
    """

    plan: Plan
    ceremony: CeremonyView | None
    round: RoundView | None
    members: tuple[str, ...]
    places: tuple[Place, ...] = ()
    test: GroupTestView | None = None

    @property
    def view(self) -> RoundView:
        """The newest round.

        Raises:
            MedFabricError: ``BAD_STATE`` before the first.
        """
        if self.round is None:
            raise MedFabricError(Code.BAD_STATE, "the plan has no round yet; read the state again")
        return self.round

    @property
    def gone(self) -> tuple[str, ...]:
        """Key holders that have left the consortium."""
        return tuple(h for h in self.plan.terms.hospitals if h not in self.members)

    @property
    def lost(self) -> tuple[str, ...]:
        """Key holders that have left the consortium, where the key cannot do without them."""
        return self.plan.terms.lost(self.gone)


@dataclass(frozen=True)
class Duty:
    """On a plan, or on another ``subject``. ``turn`` is this hospital's place in the queue for a
    transaction that any one may submit: 0 acts at once, others only if the state stays as it is.
    ``not_before`` is a point in time, in seconds of the epoch, before which the ledger would refuse
    it (0: none). ``page``: of the round's nodes, where the round takes them page by page.
    ``dropped``: after how many updates that the round has dropped; what failed before is then due
    anew."""

    task: Task
    plan_id: str = ""
    round: int = 0
    turn: int = 0
    not_before: int = 0
    subject: str = ""
    page: int = 0
    dropped: int = 0

    def __str__(self) -> str:
        on = self.subject or f"{self.plan_id} round {self.round}"
        return f"{self.task} {on}"


def duties(me: Me, now: Snapshot) -> list[Duty]:
    """This node's open duties on one plan, the one to do first in front."""
    plan = now.plan
    if plan.status not in CONCERNING:
        return []
    found = list(_joining(me, now))
    if plan.status is PlanStatus.APPROVED:
        if now.ceremony and Role.VALIDATOR in me.roles:
            found += _ceremony(me, now, now.ceremony)
        return found
    if me.msp_id not in plan.terms.hospitals:
        return []
    if now.round is None or _ended(now.round):
        return found + list(_between_rounds(me, now))
    return found + list(_round(me, now, now.round))


def _joining(me: Me, now: Snapshot) -> Iterator[Duty]:
    rule = now.plan.terms.participation.dynamic
    if rule is None or not me.joins or me.msp_id not in rule.hospitals:
        return
    taken = sum(place.left_at is None for place in now.places)
    named = now.plan.terms.participation.participants
    # A node that has left does not come back by itself.
    known = any(place.node_id == me.node_id for place in now.places) or any(
        (p.msp_id, p.node_id) == (me.msp_id, me.node_id) for p in named
    )
    if Role.TRAINER in me.roles and not known and taken < rule.slots:
        yield Duty(Task.JOIN_PLAN, now.plan.terms.plan_id)


def _ceremony(me: Me, now: Snapshot, view: CeremonyView) -> Iterator[Duty]:
    plan, ceremony = now.plan, view.ceremony
    if ceremony.status not in _IN_CEREMONY:
        return
    missing = view.missing
    if me.msp_id in missing:
        yield Duty(_IN_CEREMONY[ceremony.status], plan.terms.plan_id)
    if me.msp_id not in ceremony.hospitals:
        return
    accused = ceremony.status is CeremonyStatus.CONFIRM and bool(view.accusations)
    gone = not set(ceremony.parties) <= set(now.members)
    complete = not missing or accused or gone
    yield _advance(me, plan, Task.ADVANCE_CEREMONY, 0, complete, ceremony.deadline)


def _between_rounds(me: Me, now: Snapshot) -> Iterator[Duty]:
    plan = now.plan
    if Role.VALIDATOR not in me.roles or plan.rounds_opened == plan.terms.training.rounds:
        return
    if tested := list(_group_test(me, now)):
        yield from tested
        return
    plan_id, number = plan.terms.plan_id, plan.rounds_opened + 1
    turn = _turn(me, plan, number)
    if now.lost:
        yield Duty(Task.ADVANCE_PLAN, plan_id, turn=turn)
    elif plan.status is PlanStatus.ACTIVE:
        opens = _opens(plan, now.round)
        yield Duty(Task.OPEN_ROUND, plan_id, number, turn=turn, not_before=opens)


def _opens(plan: Plan, before: RoundView | None) -> int:
    """From when on the next round may open. After one that failed because nodes could not train,
    not before its deadline: what they lack takes people, and a plan's rounds are numbered."""
    schedule = plan.terms.schedule
    opens = schedule.first_round_at
    if before is None:
        return opens
    if schedule.interval_seconds:
        opens = max(opens, before.round.opened_at + schedule.interval_seconds)
    if before.round.failure == Code.QUORUM_MISSED and before.declines:
        opens = max(opens, before.round.deadline)
    return opens


def _round(me: Me, now: Snapshot, view: RoundView) -> Iterator[Duty]:
    plan = now.plan
    yield from _group_test(me, now)
    yield from _contribute(me, plan, view)
    if Role.VALIDATOR in me.roles:
        # With a key holder gone a round ends at once, unless it can still be decrypted.
        complete = _stage_complete(now, view) or bool(now.lost)
        number, page = view.round.number, _page(view)
        ends = _waits_until(now, view)
        yield _advance(me, plan, Task.ADVANCE_ROUND, number, complete, ends, page)


def pending(now: Snapshot) -> GroupTest | None:
    """The round's group test, if there is one that is not over."""
    test = now.test.test if now.test else None
    return None if test is None or states.is_final(states.GROUP_TEST, test.status) else test


def _group_test(me: Me, now: Snapshot) -> Iterator[Duty]:
    test = pending(now)
    if test is None or now.test is None or Role.VALIDATOR not in me.roles:
        return
    hospitals = now.plan.terms.hospitals
    wanted: dict[GroupTestStatus, tuple[Task, tuple[str, ...], Sequence[object]]] = {
        GroupTestStatus.DRAWN: (Task.ATTEST_GROUPS, hospitals, now.test.attestations),
        GroupTestStatus.SUMMED: (Task.SHARE_GROUPS, test.key_holders, now.test.shares),
        GroupTestStatus.DECRYPTED: (Task.SCORE_GROUPS, hospitals, now.test.scores),
    }
    task, who, posted = wanted[test.status]
    if me.msp_id in who and _owes(me, posted):
        yield Duty(task, test.plan_id, test.round)
    complete = len(posted) == len(who) or bool(set(test.key_holders) & set(now.gone))
    if test.status is GroupTestStatus.DRAWN:
        sums = Counter(attestation.sums_sha256 for attestation in now.test.attestations)
        complete |= max(sums.values(), default=0) >= now.plan.terms.attestations_needed
    yield _advance(me, now.plan, Task.ADVANCE_TEST, test.round, complete, test.deadline)


def _contribute(me: Me, plan: Plan, view: RoundView) -> Iterator[Duty]:
    plan_id, number, status = plan.terms.plan_id, view.round.number, view.round.status
    if status is RoundStatus.KEYING:
        if Role.TRAINER in me.roles and _takes_part(me, view) and _is_missing(me, view.mask_keys):
            yield Duty(Task.POST_MASK_KEYS, plan_id, number)
        return
    if status is RoundStatus.OPEN:
        if Role.TRAINER in me.roles and _owes_update(me, view):
            yield Duty(Task.SUBMIT_UPDATE, plan_id, number)
        return
    if Role.VALIDATOR not in me.roles:
        return
    # An attestation that comes after the agreement still goes on record.
    attesting = status in (RoundStatus.SEALED, RoundStatus.AGGREGATED)
    if attesting and _owes(me, view.attestations):
        yield Duty(Task.ATTEST, plan_id, number, dropped=len(view.round.dropped))
    if me.msp_id not in view.owing(plan.terms.hospitals) or me.msp_id in view.given:
        return
    if status is RoundStatus.AGGREGATED:
        yield Duty(Task.UNMASK if view.masking else Task.SUBMIT_SHARE, plan_id, number)
    elif status in _OF_HOSPITALS:
        yield Duty(_OF_HOSPITALS[status], plan_id, number)


def _owes_update(me: Me, view: RoundView) -> bool:
    # Under masks those take part that posted keys in time.
    able = view.masking is None or not _is_missing(me, view.masking.nodes)
    return able and _takes_part(me, view) and (me.msp_id, me.node_id) not in _settled(view)


def _takes_part(me: Me, view: RoundView) -> bool:
    return not _is_missing(me, view.round.participants)


def _is_missing(me: Me, posted: Sequence[Participant | MaskKeys | Masked]) -> bool:
    return all((p.msp_id, p.node_id) != (me.msp_id, me.node_id) for p in posted)


def _settled(view: RoundView) -> set[tuple[str, str]]:
    """Nodes that have given their update, or said why they give none."""
    posts: list[Update | Decline] = [*view.updates, *view.declines]
    return {(post.msp_id, post.node_id) for post in posts}


def _owes(me: Me, posted: Sequence[object]) -> bool:
    return all(getattr(post, "msp_id", None) != me.msp_id for post in posted)


def _ended(view: RoundView) -> bool:
    round_ = view.round
    return states.is_final(states.ROUND, round_.status) and round_.booked == round_.pages


def _page(view: RoundView) -> int:
    """The page of the round's nodes that is next in its stage."""
    match view.round.status:
        case RoundStatus.ENLISTING:
            return view.round.enlisted
        case RoundStatus.OPEN:
            return view.round.sealed
        case RoundStatus.PUBLISHED | RoundStatus.FAILED:
            return view.round.booked
    return 0


def _stage_complete(now: Snapshot, view: RoundView) -> bool:
    """Whether the contract's condition for leaving the stage before its deadline holds."""
    needed = now.plan.terms.attestations_needed
    hospitals = len(now.plan.terms.hospitals)
    match view.round.status:
        case RoundStatus.KEYING:
            keyed = {(k.msp_id, k.node_id) for k in view.mask_keys}
            owed = {(p.msp_id, p.node_id) for p in view.round.participants} - keyed
            owed -= _settled(view)
            return all(msp_id in now.gone for msp_id, _ in owed)
        case RoundStatus.OPEN:
            able = view.masking.nodes if view.masking else view.on_page(_page(view))
            owed = {(p.msp_id, p.node_id) for p in able} - _settled(view)
            return all(msp_id in now.gone for msp_id, _ in owed)
        case RoundStatus.SEALED:
            hashes = Counter(a.aggregate_sha256 for a in view.attestations)
            agreed = max(hashes.values(), default=0) >= needed
            return agreed or len(view.attestations) == hospitals or _to_drop(now, view)
        case RoundStatus.AGGREGATED if view.masking is not None:
            needed = now.plan.terms.encryption.threshold or hospitals
            shares = [[bool(share) for share in u.shares] for u in view.unmaskings]
            enough = all(sum(column) >= needed for column in zip(*shares, strict=True))
            return bool(shares) and (enough or len(shares) == hospitals)
        case RoundStatus.AGGREGATED:
            holders = view.round.key_holders
            return len(view.shares) == len(holders) or bool(set(holders) & set(now.gone))
        case RoundStatus.DISPUTED:
            return len(view.given) == len(view.round.key_holders)
        case RoundStatus.JUDGING:
            return len(view.given) == hospitals
        case RoundStatus.ENLISTING | RoundStatus.PUBLISHED | RoundStatus.FAILED:
            return True
    return False


def _waits_until(now: Snapshot, view: RoundView) -> int:
    """The last second in which the stage waits for what is missing."""
    if view.round.status is not RoundStatus.DECRYPTED:
        return view.round.deadline
    terms = now.plan.terms
    awaited = unevaluated(terms.hospitals, view.evaluations, now.gone)
    heard = {a.msp_id for a in view.attestations} | {share.msp_id for share in view.shares}
    said = view.evaluations
    return evaluated_at(view.round, terms.participation, awaited, said, heard) - 1


def _to_drop(now: Snapshot, view: RoundView) -> bool:
    """Whether most hospitals object firmly to an update that is still in the sum."""
    summed = {contribution.update.sha256 for contribution in view.round.contributions}
    found = verdicts(view.objections, now.plan.terms.participation)
    return any(verdict.update_sha256 in summed for verdict in found)


def _advance(
    me: Me, plan: Plan, task: Task, number: int, complete: bool, deadline: int, page: int = 0
) -> Duty:
    turn = _turn(me, plan, number + page)
    # The contract compares strictly: at the deadline's own second the stage is still open.
    not_before = 0 if complete else deadline + 1
    return Duty(task, plan.terms.plan_id, number, turn=turn, not_before=not_before, page=page)


def _turn(me: Me, plan: Plan, number: int) -> int:
    hospitals = plan.terms.hospitals
    return (hospitals.index(me.msp_id) - number) % len(hospitals)
