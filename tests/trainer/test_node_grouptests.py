"""A node's part in group tests: what it does when, what it refuses, what it finds in the sums."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.key_holders import SENDER, KeyHolders, key_holders
from support.small_plan import HOSPITALS, REF, small_terms

from chaincode.schema import grouptests
from chaincode.schema.base import ContentRef, Role
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.grouptests import (
    Group,
    GroupAttestation,
    GroupShare,
    GroupTest,
    GroupTestStatus,
    GroupTestView,
    ScoreGroupsArgs,
)
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import (
    Plan,
    PlanStatus,
)
from chaincode.schema.rounds import (
    Contribution,
    DecryptionShare,
    RoundStatus,
    RoundView,
    WholeRound,
)
from trainer.node.courses import Courses
from trainer.node.duties import Duty, Me, Snapshot, Task, duties
from trainer.node.grouptests import GroupTests, _Sums
from trainer.node.home import Home
from trainer.randomness import Secrets

ME = Me(HOSPITALS[1], "node1", frozenset({Role.VALIDATOR}))
AGGREGATE = "cd" * 32
SECRETS = [hashlib.sha256(h.encode()).hexdigest() for h in HOSPITALS]
SEED = grouptests.seed_sha256("plan", 1, AGGREGATE, SECRETS)
GROUPS = grouptests.draw(SEED, HOSPITALS, 2, 2)


def _now(status: GroupTestStatus, round_status: RoundStatus, **changes: Any) -> Snapshot:
    terms = small_terms(40, group_tests=2, least_group=2, norm=changes.pop("norm", None))
    plan = Plan(
        plan_id="plan",
        terms=terms,
        terms_sha256=terms.sha256,
        status=PlanStatus.ACTIVE,
        proposed_by=HOSPITALS[0],
        proposed_at=1,
        changed_at=1,
        model_sha256=REF.sha256,
        rounds_opened=1,
        reason="",
    )
    round_ = WholeRound(
        plan_id="plan",
        number=1,
        status=round_status,
        base_sha256=REF.sha256,
        opened_at=1,
        changed_at=1,
        deadline=1000,
        contributions=tuple(
            Contribution(msp_id=h, node_id="node1", update=REF, samples=1, weight=1)
            for h in HOSPITALS
        ),
        total_weight=4,
        booked=int(round_status is RoundStatus.PUBLISHED),
        aggregate_sha256=AGGREGATE,
    )
    shares = tuple(
        DecryptionShare(
            plan_id="plan",
            round=1,
            msp_id=h,
            node_id="node1",
            aggregate_sha256=AGGREGATE,
            attempt=1,
            share=REF,
            posted_at=1,
            draw=secret,
        )
        for h, secret in zip(HOSPITALS, SECRETS, strict=True)
    )
    view = RoundView(
        round=round_, updates=(), attestations=(), shares=shares, evaluations=(), objections=()
    )
    groups = changes.pop("groups", GROUPS)
    test = GroupTest(
        plan_id="plan",
        round=1,
        status=status,
        seed_sha256=SEED,
        groups=tuple(Group(members=members) for members in groups),
        key_holders=HOSPITALS,
        opened_at=1,
        changed_at=1,
        deadline=1000,
        sums_sha256=changes.pop("sums_sha256", None),
    )
    return Snapshot(plan, None, view, HOSPITALS, test=GroupTestView(test=test, **changes))


def _tasks(now: Snapshot, me: Me = ME) -> list[Task]:
    return [duty.task for duty in duties(me, now)]


@pytest.mark.parametrize(
    ("status", "first"),
    [
        (GroupTestStatus.DRAWN, Task.ATTEST_GROUPS),
        (GroupTestStatus.SUMMED, Task.SHARE_GROUPS),
        (GroupTestStatus.DECRYPTED, Task.SCORE_GROUPS),
    ],
)
def test_each_stage_has_its_duty_and_no_round_opens_meanwhile(
    status: GroupTestStatus, first: Task
) -> None:
    within = _tasks(_now(status, RoundStatus.DECRYPTED))
    between = _tasks(_now(status, RoundStatus.PUBLISHED))

    assert within == [first, Task.ADVANCE_TEST, Task.EVALUATE, Task.ADVANCE_ROUND]
    assert between == [first, Task.ADVANCE_TEST]


def test_a_test_that_is_over_keeps_nobody() -> None:
    assert _tasks(_now(GroupTestStatus.SCORED, RoundStatus.PUBLISHED)) == [Task.OPEN_ROUND]


def test_agreed_sums_move_on_at_once() -> None:
    agreeing = tuple(
        GroupAttestation(
            plan_id="plan",
            round=1,
            msp_id=h,
            node_id="node1",
            sums_sha256="ef" * 32,
            posted_at=1,
        )
        for h in HOSPITALS[:3]
    )

    found = duties(ME, _now(GroupTestStatus.DRAWN, RoundStatus.PUBLISHED, attestations=agreeing))

    assert [d.not_before for d in found if d.task is Task.ADVANCE_TEST] == [0]


class _Ledger:
    def __init__(self) -> None:
        self.submitted: list[Any] = []

    def submit(self, _name: str, args: Any, _result: Any) -> None:
        self.submitted.append(args)


class _Keys:
    def scheme(self, _: Snapshot) -> Any:
        return key_holders().scheme

    def share_key(self, _: Snapshot) -> None:
        raise AssertionError("the key is not touched")


class _Rounds:
    def base_model(self, _: Snapshot) -> bytes:
        return b"base"

    def forget(self, _: Snapshot) -> None:
        return None


class _Exchange:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fetch_file(self, ref: ContentRef) -> Path:
        return self._folder / ref.sha256

    def forget(self, _: Any) -> None:
        return None


class _Learner:
    """The better, the nearer a candidate is to one."""

    def apply(self, _: bytes, mean: np.ndarray) -> bytes:
        return f"{mean.mean():.3f}".encode()

    def evaluate(self, model: bytes) -> tuple[int, int]:
        return (50, 100) if model == b"base" else (round(50 + 40 * float(model)), 100)


def _tests(folder: Path, ledger: _Ledger) -> GroupTests:
    home = Home(folder / "home")
    return GroupTests(
        ledger,  # type: ignore[arg-type]
        home,
        _Exchange(folder),  # type: ignore[arg-type]
        _Keys(),  # type: ignore[arg-type]
        Courses(home, Secrets()),
        _Rounds(),  # type: ignore[arg-type]
        lambda _: _Learner(),  # type: ignore[arg-type, return-value]
    )


@pytest.mark.parametrize(
    "groups",
    [
        GROUPS[::-1],
        (GROUPS[0], (*GROUPS[1][:1], GROUPS[0][0])),
        (HOSPITALS[:1], HOSPITALS[1:]),
        (HOSPITALS[:2], HOSPITALS[2:3], HOSPITALS[3:]),
    ],
)
def test_groups_that_were_not_drawn_are_never_summed(
    tmp_path: Path, groups: tuple[tuple[str, ...], ...]
) -> None:
    ledger = _Ledger()
    now = _now(GroupTestStatus.DRAWN, RoundStatus.DECRYPTED, groups=groups)

    with pytest.raises(MedFabricError, match=Code.AGGREGATE_REFUSED):
        _tests(tmp_path, ledger).attest(Duty(Task.ATTEST_GROUPS, "plan", 1), now)

    assert ledger.submitted == []


def _decrypted(
    folder: Path, holders: KeyHolders, values: list[np.ndarray], norm: NormTerms | None = None
) -> Snapshot:
    """A test whose two groups' sums, of these values, are decrypted."""
    home, contents, posted = Home(folder / "home"), [], []
    shares: list[list[ContentRef]] = [[] for _ in HOSPITALS]
    for place in range(2):
        updates = [holders.encrypt(value) for value in values[2 * place : 2 * place + 2]]
        aggregate = holders.add(updates, (1, 1))
        contents.append(home.keep_content(aggregate))
        for point in range(1, 5):
            share = holders.share(point, aggregate, (1, 2, 3, 4))
            digest = hashlib.sha256(share).hexdigest()
            (folder / digest).write_bytes(share)
            shares[point - 1].append(ContentRef(cid="x", sha256=digest, size_bytes=len(share)))
    for hospital, own in zip(HOSPITALS, shares, strict=True):
        posted.append(
            GroupShare(
                plan_id="plan",
                round=1,
                msp_id=hospital,
                node_id="node1",
                sums_sha256="ef" * 32,
                shares=tuple(own),
                posted_at=1,
            )
        )
    home.keep("plan", "group-sums-1", _Sums(sums_sha256="ef" * 32, contents=tuple(contents)))
    home.close()
    return _now(GroupTestStatus.DECRYPTED, RoundStatus.PUBLISHED, shares=tuple(posted), norm=norm)


def _score(folder: Path, now: Snapshot) -> ScoreGroupsArgs:
    ledger = _Ledger()
    _tests(folder, ledger).score(Duty(Task.SCORE_GROUPS, "plan", 1), now)
    (args,) = ledger.submitted
    assert isinstance(args, ScoreGroupsArgs)
    return args


def test_every_groups_mean_is_scored_on_own_records(tmp_path: Path) -> None:
    one, zero = np.ones(40), np.zeros(40)

    args = _score(tmp_path, _decrypted(tmp_path, key_holders(), [one, one, -one, zero]))

    assert (args.correct, args.base_correct, args.total) == ((90, 30), 50, 100)


def test_a_group_whose_mean_is_longer_than_the_plan_lets_it_be_is_as_bad_as_can_be(
    tmp_path: Path,
) -> None:
    one, five = np.ones(40), np.full(40, 5.0)
    # The root of forty is 6.3, and thrice as much for the other group.
    norm = NormTerms(drift_micro=7_000_000, noise_micro=1)

    args = _score(tmp_path, _decrypted(tmp_path, key_holders(), [one, one, one, five], norm))

    assert args.correct == (90, None)


def test_a_group_with_an_update_beyond_the_clip_is_out_of_range(tmp_path: Path) -> None:
    holders = key_holders()
    clip = EncryptionTerms().clip_micro / 1e6
    honest = np.ones(40)

    class Cheat(KeyHolders):
        def encrypt(self, values: np.ndarray, sender: bytes = SENDER) -> bytes:
            # Thrice the largest update that there may be: in units of a third of a level.
            masks, terms = self.scheme._masks, self.scheme._masks._terms
            if values[0] >= clip:
                masks._terms = terms.model_copy(update={"levels": 3 * terms.levels})
            try:
                return KeyHolders.encrypt(self, values, sender)
            finally:
                masks._terms = terms

    cheating = Cheat(**{name: getattr(holders, name) for name in holders.__dataclass_fields__})
    now = _decrypted(tmp_path, cheating, [honest, honest, clip * honest, honest])

    assert _score(tmp_path, now).correct == (90, None)
