"""The agent: duties in order, retries, and what a node refuses to do whatever its peer says."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from support.small_plan import HOSPITALS, REF, small_terms

from chaincode.schema.base import ContentRef, Role
from chaincode.schema.ceremonies import Ceremony, CeremonyStatus, CeremonyView
from chaincode.schema.consortium import Consortium, ConsortiumStatus
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.places import Place
from chaincode.schema.plans import (
    DynamicTerms,
    Plan,
    PlanPage,
    PlanState,
    PlanStatus,
    PlanView,
    ScheduleTerms,
)
from chaincode.schema.rounds import (
    Attestation,
    Cohort,
    Contribution,
    Decline,
    DeclineArgs,
    Dropped,
    Evaluation,
    Model,
    ModelArgs,
    ModelStatus,
    Objection,
    Round,
    RoundPage,
    RoundStatus,
    RoundView,
    WholeRound,
)
from client.consortium import Plans
from client.places import free_slot
from trainer.node.agent import Agent
from trainer.node.config import load
from trainer.node.courses import Courses
from trainer.node.duties import Duty, Me, Snapshot, Task, duties
from trainer.node.home import Home
from trainer.node.rounds import Rounds, _Decrypted
from trainer.progress import Course
from trainer.randomness import Secrets
from trainer.training import Trained

ME = Me("Hospital2MSP", "node1", frozenset({Role.TRAINER, Role.VALIDATOR}))
STAGE_SECONDS = small_terms().participation.stage_seconds


def _plan(status: PlanStatus = PlanStatus.ACTIVE, rounds_opened: int = 1) -> Plan:
    terms = small_terms()
    return Plan(
        plan_id=terms.plan_id,
        terms=terms,
        terms_sha256=terms.sha256,
        status=status,
        proposed_by=HOSPITALS[0],
        proposed_at=1,
        changed_at=1,
        model_sha256=REF.sha256,
        rounds_opened=rounds_opened,
        reason="",
    )


def _view(status: RoundStatus, **changes: Any) -> RoundView:
    round_ = WholeRound(
        plan_id="plan",
        number=1,
        status=status,
        booked=int(status in (RoundStatus.PUBLISHED, RoundStatus.FAILED)),
        base_sha256=REF.sha256,
        opened_at=1,
        changed_at=1,
        deadline=1000,
        participants=small_terms().participation.participants,
        contributions=changes.pop("contributions", ()),
        dropped=changes.pop("dropped", ()),
        aggregate_sha256=changes.pop("aggregate_sha256", None),
        absent=changes.pop("absent", ()),
    )
    lists: dict[str, Any] = dict.fromkeys(
        ("updates", "attestations", "shares", "evaluations", "objections"), ()
    )
    page = {"plan_id": "plan", "number": 1, "page": 0, "excluded": ()}
    cohort = Cohort(participants=round_.participants, **page)
    return RoundView(round=round_, cohorts=(cohort,), **{**lists, **changes})


def _first_page(status: RoundStatus, **changes: Any) -> RoundPage:
    view = _view(status)
    fields = {name: getattr(view.round, name) for name in Round.model_fields}
    page = {"page": 0, "enlisted": 1, "sealed": 0, "weight_bits": 10, "alike": False}
    page |= {"cohort": view.cohorts[0], "contributions": None, "updates": (), "declines": ()}
    return RoundPage(round=Round(**fields), **{**page, **changes})


def _attested(msp_id: str) -> Attestation:
    return Attestation(
        plan_id="plan",
        round=1,
        msp_id=msp_id,
        node_id="node1",
        aggregate_sha256="cd" * 32,
        aggregate=REF,
        dropped=0,
        posted_at=1,
    )


def _evaluated(msp_id: str, sha256: str = REF.sha256) -> Evaluation:
    return Evaluation(
        plan_id="plan",
        round=1,
        attempt=1,
        msp_id=msp_id,
        node_id="node1",
        candidate=REF.model_copy(update={"sha256": sha256}),
        failure=None,
        correct=1,
        base_correct=1,
        total=1,
        accept=True,
        posted_at=1,
    )


def _now(view: RoundView | None, **changes: Any) -> Snapshot:
    plan = changes.pop("plan", None) or _plan()
    return Snapshot(plan, None, view, **{"members": HOSPITALS, **changes})


def _tasks(now: Snapshot, me: Me = ME) -> list[Task]:
    return [duty.task for duty in duties(me, now)]


@pytest.mark.parametrize(
    ("status", "first"),
    [
        (RoundStatus.OPEN, Task.SUBMIT_UPDATE),
        (RoundStatus.SEALED, Task.ATTEST),
        (RoundStatus.DECRYPTED, Task.EVALUATE),
        (RoundStatus.PUBLISHED, Task.OPEN_ROUND),
        (RoundStatus.FAILED, Task.OPEN_ROUND),
    ],
)
def test_each_stage_has_its_duty(status: RoundStatus, first: Task) -> None:
    assert _tasks(_now(_view(status)))[0] is first


def test_a_trainer_that_is_no_validator_only_trains() -> None:
    trainer = Me("Hospital2MSP", "node1", frozenset({Role.TRAINER}))

    assert _tasks(_now(_view(RoundStatus.OPEN)), trainer) == [Task.SUBMIT_UPDATE]
    assert _tasks(_now(_view(RoundStatus.SEALED)), trainer) == []


def test_a_hospital_outside_the_plan_has_no_duty() -> None:
    stranger = Me("Hospital9MSP", "node1", frozenset({Role.TRAINER, Role.VALIDATOR}))

    assert _tasks(_now(_view(RoundStatus.OPEN)), stranger) == []


def test_moving_on_is_due_at_once_when_the_stage_is_complete_else_after_its_deadline() -> None:
    agreeing = tuple(_attested(h) for h in HOSPITALS[:3])

    waiting = duties(ME, _now(_view(RoundStatus.SEALED)))
    complete = duties(ME, _now(_view(RoundStatus.SEALED, attestations=agreeing)))

    assert [d.not_before for d in waiting if d.task is Task.ADVANCE_ROUND] == [1001]
    assert [d.not_before for d in complete if d.task is Task.ADVANCE_ROUND] == [0]


@pytest.mark.parametrize(
    ("absent", "gone", "heard", "last", "due"),
    [
        ((), (), HOSPITALS, REF.sha256, 1001),
        ((), (), HOSPITALS[:3], REF.sha256, 1 + STAGE_SECONDS // 4),
        ((), (), HOSPITALS[:3], "ef" * 32, 1001),
        (HOSPITALS[3:], (), HOSPITALS, REF.sha256, 0),
        (HOSPITALS[3:], (), HOSPITALS, "ef" * 32, 1001),
        ((), HOSPITALS[3:], HOSPITALS, "ef" * 32, 0),
    ],
)
def test_a_hospital_that_is_away_is_waited_for_only_where_agreement_needs_it(
    absent: tuple[str, ...], gone: tuple[str, ...], heard: tuple[str, ...], last: str, due: int
) -> None:
    said = (*map(_evaluated, HOSPITALS[:2]), _evaluated(HOSPITALS[2], last))
    attested = tuple(map(_attested, heard))
    view = _view(RoundStatus.DECRYPTED, evaluations=said, absent=absent, attestations=attested)
    members = tuple(h for h in HOSPITALS if h not in gone)

    found = duties(ME, _now(view, members=members))

    assert [d.not_before for d in found if d.task is Task.ADVANCE_ROUND] == [due]


def test_what_is_left_after_an_update_was_dropped_is_summed_and_attested_at_once(
    tmp_path: Path,
) -> None:
    lost = Dropped(
        msp_id=HOSPITALS[3],
        node_id="node1",
        update_sha256="ef" * 32,
        code="MF-6011",
        objectors=HOSPITALS[:3],
    )
    ledger = _Ledger()
    rounds = _rounds(ledger, tmp_path)
    found = []
    for dropped, number in (((), 4), ((lost,), 3)):
        summed = tuple(_contribution(h) for h in HOSPITALS[:number])
        view = _view(RoundStatus.SEALED, contributions=summed, dropped=dropped)
        duty = next(d for d in duties(ME, _now(view)) if d.task is Task.ATTEST)
        rounds.attest(duty, _now(view))
        found.append(duty)

    # Another duty: what failed before does not have it wait.
    assert found[0] != found[1]
    assert [args.dropped for _, args in ledger.submitted] == [0, 1]
    assert len({args.aggregate_sha256 for _, args in ledger.submitted}) == 2


@pytest.mark.parametrize(
    ("codes", "again", "due"),
    [
        (("MF-6011",) * 3, False, 0),
        (("MF-7020", "MF-6001", "MF-7021"), True, 0),
        (("MF-7021",) * 4, False, 1001),
        (("MF-6011",) * 2, True, 1001),
    ],
)
def test_a_round_goes_on_without_an_update_as_soon_as_the_ledger_lets_it(
    codes: tuple[str, ...], again: bool, due: int
) -> None:
    objections = tuple(
        Objection(
            plan_id="plan",
            round=1,
            msp_id=hospital,
            node_id="node1",
            subject_sha256=REF.sha256,
            code=code,
            posted_at=500,
            again=again,
        )
        for hospital, code in zip(HOSPITALS, codes, strict=False)
    )
    summed = tuple(_contribution(h) for h in HOSPITALS)

    found = duties(ME, _now(_view(RoundStatus.SEALED, contributions=summed, objections=objections)))
    other = duties(ME, _now(_view(RoundStatus.SEALED, objections=objections)))

    assert [d.not_before for d in found if d.task is Task.ADVANCE_ROUND] == [due]
    # What is no longer summed is objected to in vain.
    assert [d.not_before for d in other if d.task is Task.ADVANCE_ROUND] == [1001]


def test_hospitals_take_turns_in_moving_on() -> None:
    turns = set()
    for hospital in HOSPITALS:
        me = Me(hospital, "node1", frozenset({Role.VALIDATOR}))
        found = duties(me, _now(_view(RoundStatus.PUBLISHED)))
        turns |= {duty.turn for duty in found if duty.task is Task.OPEN_ROUND}

    assert turns == {0, 1, 2, 3}


def _consortium() -> Consortium:
    return Consortium(
        name="Trial",
        status=ConsortiumStatus.ACTIVE,
        charter_sha256="ab" * 32,
        hospitals=HOSPITALS,
        membership=1,
        founded_at=1,
    )


def _dynamic(**rule: Any) -> Plan:
    plan = _plan()
    terms = DynamicTerms(hospitals=HOSPITALS, slots=2, least_samples=10, **rule)
    who = plan.terms.participation.model_copy(update={"dynamic": terms})
    changed = plan.terms.model_copy(update={"participation": who})
    return plan.model_copy(update={"terms": changed, "terms_sha256": changed.sha256})


EDGE = Me("Hospital2MSP", "edge", frozenset({Role.TRAINER}), joins=True)


def _place(node_id: str, slot: int = 0, left_at: int | None = None) -> Place:
    return Place(
        plan_id="plan",
        msp_id="Hospital2MSP",
        slot=slot,
        node_id=node_id,
        dataset_id=f"{node_id}-data",
        joined_at=1,
        left_at=left_at,
    )


def test_a_node_that_joins_plans_takes_a_place_where_one_is_free() -> None:
    full = (_place("one", 0), _place("two", 1))
    half = (_place("one", 0), _place("two", 1, left_at=5))
    view = _view(RoundStatus.PUBLISHED)

    assert _tasks(_now(view, plan=_dynamic()), EDGE) == [Task.JOIN_PLAN]
    assert _tasks(_now(view, plan=_dynamic(), places=half), EDGE) == [Task.JOIN_PLAN]
    assert _tasks(_now(view, plan=_dynamic(), places=full), EDGE) == []
    assert _tasks(_now(view), EDGE) == []


@pytest.mark.parametrize("left_at", [None, 5])
def test_a_node_joins_once_and_not_again_after_it_has_left(left_at: int | None) -> None:
    now = _now(_view(RoundStatus.PUBLISHED), plan=_dynamic(), places=(_place("edge", 0, left_at),))

    assert _tasks(now, EDGE) == []


def test_a_node_named_by_the_plan_or_told_to_join_none_does_not_join() -> None:
    now = _now(_view(RoundStatus.PUBLISHED), plan=_dynamic())
    named = Me("Hospital2MSP", "node1", frozenset({Role.TRAINER}), joins=True)

    assert _tasks(now, named) == []
    assert _tasks(now, Me("Hospital2MSP", "edge", frozenset({Role.TRAINER}))) == []


def test_a_node_that_the_open_round_does_not_count_on_submits_nothing() -> None:
    now = _now(_view(RoundStatus.OPEN), plan=_dynamic(), places=(_place("edge"),))

    assert _tasks(now, EDGE) == []


def test_a_paused_plan_ends_its_round_and_opens_no_other() -> None:
    paused = _plan(PlanStatus.PAUSED)

    assert _tasks(_now(_view(RoundStatus.SEALED), plan=paused))[0] is Task.ATTEST
    assert _tasks(_now(_view(RoundStatus.PUBLISHED), plan=paused)) == []


def test_the_next_round_is_due_when_the_schedule_says() -> None:
    schedule = ScheduleTerms(first_round_at=500, interval_seconds=1000)
    terms = small_terms().model_copy(update={"schedule": schedule})
    plan = _plan().model_copy(update={"terms": terms})

    first = duties(ME, _now(None, plan=plan.model_copy(update={"rounds_opened": 0})))
    second = duties(ME, _now(_view(RoundStatus.PUBLISHED), plan=plan))

    assert [(d.task, d.not_before) for d in first] == [(Task.OPEN_ROUND, 500)]
    assert [(d.task, d.not_before) for d in second] == [(Task.OPEN_ROUND, 1001)]


def test_a_round_that_failed_for_nodes_that_could_not_train_is_followed_at_its_deadline() -> None:
    view = _view(RoundStatus.FAILED)
    failed = view.round.model_copy(update={"failure": Code.QUORUM_MISSED, "deadline": 700})
    declined = Decline(
        plan_id="plan",
        round=1,
        msp_id=ME.msp_id,
        node_id=ME.node_id,
        dataset_id="data",
        code=Code.ARCHITECTURE_UNKNOWN,
        steps=0,
        batch_size=0,
        noise_multiplier_micro=0,
        posted_at=1,
    )
    could_not = view.model_copy(update={"round": failed, "declines": (declined,)})
    nobody = view.model_copy(update={"round": failed})

    assert [d.not_before for d in duties(ME, _now(could_not))] == [700]
    assert [d.not_before for d in duties(ME, _now(nobody))] == [0]


def test_a_plan_that_lost_a_key_holder_is_ended_at_once() -> None:
    left = HOSPITALS[:3]
    between = duties(ME, _now(_view(RoundStatus.PUBLISHED), members=left))
    within = duties(ME, _now(_view(RoundStatus.SEALED), members=left))
    before = duties(ME, _now(None, plan=_plan(rounds_opened=0), members=left))

    assert [d.task for d in between] == [d.task for d in before] == [Task.ADVANCE_PLAN]
    assert [d.not_before for d in within if d.task is Task.ADVANCE_ROUND] == [0]


def test_free_places_are_spread_and_never_one_that_is_taken() -> None:
    terms = _dynamic().terms
    chosen = {free_slot(terms, (), f"node{n}") for n in range(20)}

    assert chosen == {0, 1}
    assert {free_slot(terms, (_place("one", 0),), f"node{n}") for n in range(20)} == {1}
    assert free_slot(terms, (_place("one", 0), _place("two", 1, left_at=3)), "edge") == 1
    with pytest.raises(MedFabricError, match="MF-4010"):
        free_slot(terms, (_place("one", 0), _place("two", 1)), "edge")
    with pytest.raises(MedFabricError, match="MF-4009"):
        free_slot(small_terms(), (), "edge")


class _Peer:
    """A peer's answers, as the agent asks for them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.plans = Plans(self)  # type: ignore[arg-type]

    def events(self) -> Iterator[None]:
        return iter(())

    def evaluate(self, name: str, _args: Any, _result: Any, **_: Any) -> Any:
        if name == "plan:List":
            return PlanPage(plans=(PlanState.of(self.plan),), bookmark="")
        if name == "plan:Get":
            return PlanView(plan=self.plan, votes=())
        if name == "consortium:Members":
            return _consortium()
        assert name == "ceremony:Get"
        ceremony = Ceremony(
            plan_id="plan",
            status=CeremonyStatus.COMMIT,
            hospitals=HOSPITALS,
            dealers=HOSPITALS,
            deadline=10**12,
        )
        return CeremonyView(ceremony=ceremony, commitments=(), shares=(), confirmations=())


def _agent(plan: Plan, home: Home, work: Any) -> Agent:
    return Agent(ME, _Peer(plan), home, work, lambda _: None, lambda *_: None)  # type: ignore[arg-type]


def test_plan_that_is_not_the_one_voted_on_is_not_worked_for(tmp_path: Path) -> None:
    tampered = _plan(PlanStatus.APPROVED, 0).model_copy(update={"terms_sha256": "00" * 32})
    worked: list[Duty] = []
    agent = _agent(tampered, Home(tmp_path), lambda duty, _: worked.append(duty))

    with pytest.raises(MedFabricError, match="MF-9105"):
        agent.run(once=True)

    assert worked == []


def test_failing_duty_is_tried_again_and_written_down_when_done(tmp_path: Path) -> None:
    failures = [MedFabricError(Code.UNREACHABLE, "no answer")]
    home = Home(tmp_path)

    def work(duty: Duty, _: Snapshot) -> None:
        if failures:
            raise failures.pop()
        agent.stop()

    agent = _agent(_plan(PlanStatus.APPROVED, 0), home, work)
    agent.run()

    journal = (tmp_path / "journal.jsonl").read_text()
    assert failures == []
    assert '"task": "commit-key"' in journal


def test_once_does_what_is_due_and_says_what_could_not_be_done(tmp_path: Path) -> None:
    done: list[Task] = []

    def work(duty: Duty, _: Snapshot) -> None:
        done.append(duty.task)
        raise MedFabricError(Code.CONTENT_MISSING, "not there")

    agent = _agent(_plan(PlanStatus.APPROVED, 0), Home(tmp_path), work)

    with pytest.raises(MedFabricError, match="MF-7020"):
        agent.run(once=True)

    assert done == [Task.COMMIT_KEY]


class _Keys:
    """A scheme by which any content is an update, and the sum is always the same."""

    def scheme(self, _: Snapshot) -> _Keys:
        return self

    sha256 = "ab" * 32

    def collective_key(self, _: Snapshot) -> _Keys:
        return self

    def update_form(self, *_: object) -> _Keys:
        return self

    def read(self, _: object) -> Iterator[None]:
        return iter(())

    def encrypt(self, *_: object) -> list[bytes]:
        return [b"ciphertext"]

    def weighted_sum(self, *_: object) -> list[bytes]:
        return [b"own sum"]

    def share_key(self, _: Snapshot) -> None:
        raise AssertionError("the key is not touched for a foreign aggregate")


class _Exchange:
    def __init__(self, folder: Path) -> None:
        self._file = folder / "update"
        self._file.write_bytes(b"update")

    def fetch_file(self, _: ContentRef) -> Path:
        return self._file

    def fetch(self, _: ContentRef) -> bytes:
        return b"base model"

    def release_kept(self, sha256: str) -> ContentRef:
        return REF.model_copy(update={"sha256": sha256})

    def forget(self, _: Iterable[ContentRef]) -> None:
        pass


def _contribution(hospital: str) -> Contribution:
    return Contribution(msp_id=hospital, node_id="node1", update=REF, samples=1, weight=1)


class _Recalled:
    """A ledger on which the base model was recalled."""

    def __init__(self) -> None:
        self.declined: list[str] = []

    def submit(self, _name: str, args: DeclineArgs, _result: Any) -> None:
        self.declined.append(args.code)

    def evaluate(self, name: str, args: ModelArgs, _result: Any) -> Model:
        assert (name, args.sha256) == ("model:Get", REF.sha256)
        return Model(
            model=REF,
            plan_id="plan",
            round=0,
            architecture_sha256="ab" * 32,
            parents=(),
            aggregate_sha256=None,
            correct=0,
            total=0,
            published_at=1,
            status=ModelStatus.RECALLED,
            reason="bad labels",
        )


class _Learner:
    """Gives a fixed update."""

    dataset_id = "data1"
    records_sha256 = "ab" * 32
    training = small_terms().training
    privacy = small_terms().privacy

    def __init__(self, delta: list[float]) -> None:
        self._delta = np.array(delta)
        self.trained = 0

    def train(self, _: bytes, course: Course) -> Trained:
        self.trained += 1
        return Trained(self._delta, 10, 3, 0.1)


def _rounds(ledger: Any, folder: Path, learner: Any = None) -> Rounds:
    home = Home(folder)
    return Rounds(
        ("OneMSP", "node1"),
        ledger,
        home,
        _Exchange(folder),  # type: ignore[arg-type]
        _Keys(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        Courses(home, Secrets()),
        lambda _: learner,
    )


class _Ledger:
    """A ledger on which the base model stands, and that takes what is submitted."""

    def __init__(self, refuses: dict[str, MedFabricError] | None = None) -> None:
        self.submitted: list[tuple[str, Any]] = []
        self._refuses = refuses or {}

    def evaluate(self, name: str, _args: ModelArgs, _result: Any) -> Model:
        assert name == "model:Get"
        return (
            _Recalled()
            .evaluate(name, _args, _result)
            .model_copy(update={"status": ModelStatus.CURRENT})
        )

    def submit(self, name: str, args: Any, _result: Any) -> None:
        if name in self._refuses:
            raise self._refuses[name]
        self.submitted.append((name, args))


@pytest.mark.parametrize(
    ("delta", "why"),
    [
        ([0.1, float("nan"), 0, 0], "not finite"),
        ([0.1, float("inf"), 0, 0], "not finite"),
        ([0.1, -8.5, 0, 0], "1 of its 4 values are beyond"),
    ],
)
def test_update_that_exploded_stays_with_the_node_and_is_not_trained_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, delta: list[float], why: str
) -> None:
    ledger, learner = _Ledger(), _Learner(delta)
    rounds = _rounds(ledger, tmp_path, learner)
    duty, now = Duty(Task.SUBMIT_UPDATE, "plan", 1), _now(_view(RoundStatus.OPEN))

    facts = rounds.submit_update(duty, now)
    # As after a crash before the ledger's answer came.
    rounds.submit_update(duty, now)

    assert facts == {"declined": "MF-9013"}
    assert "MF-9013" in caplog.text
    assert why in caplog.text
    assert not (tmp_path / "outbox").exists()
    declined = DeclineArgs(plan_id="plan", round=1, code="MF-9013", trained=True)
    assert ledger.submitted == [("round:Decline", declined)] * 2
    assert learner.trained == 1


@pytest.mark.parametrize("code", [Code.DEADLINE_PASSED, Code.BAD_STATE])
def test_update_that_comes_too_late_is_named(tmp_path: Path, code: Code) -> None:
    ledger = _Ledger(refuses={"round:SubmitUpdate": MedFabricError(code, "the round went on")})
    rounds = _rounds(ledger, tmp_path, _Learner([0.1, 0, 0, 0]))

    rounds.submit_update(Duty(Task.SUBMIT_UPDATE, "plan", 1), _now(_view(RoundStatus.OPEN)))

    late = DeclineArgs(plan_id="plan", round=1, code="MF-5003", trained=False)
    assert ledger.submitted == [("round:Decline", late)]


class _Judging(_Learner):
    """Gives three correct predictions of four."""

    def __init__(self) -> None:
        super().__init__([0.0])
        self.judging = threading.Event()

    def apply(self, _base: bytes, _mean: Any) -> bytes:
        return b"candidate"

    def evaluate(self, _: bytes) -> tuple[int, int]:
        self.judging.set()
        return 3, 4


def test_a_candidate_is_stored_while_it_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, learner = _Ledger(), _Judging()
    rounds = _rounds(ledger, tmp_path, learner)
    monkeypatch.setattr(rounds, "_mean", lambda _: (np.zeros(4), None))

    def release(content: bytes) -> ContentRef:
        assert content == b"candidate"
        assert learner.judging.wait(20)
        return REF

    monkeypatch.setattr(rounds._exchange, "release", release, raising=False)
    rounds.evaluate(Duty(Task.EVALUATE, "plan", 1), _now(_view(RoundStatus.DECRYPTED)))

    ((name, args),) = ledger.submitted
    assert name == "round:Evaluate"
    assert (args.candidate, args.correct, args.total) == (REF, 3, 4)


def test_a_candidate_that_cannot_be_stored_is_not_voted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = _Ledger()
    rounds = _rounds(ledger, tmp_path, _Judging())
    monkeypatch.setattr(rounds, "_mean", lambda _: (np.zeros(4), None))

    def full(_: bytes) -> ContentRef:
        raise MedFabricError(Code.STORE_FULL, "no room")

    monkeypatch.setattr(rounds._exchange, "release", full, raising=False)
    with pytest.raises(MedFabricError, match=Code.STORE_FULL):
        rounds.evaluate(Duty(Task.EVALUATE, "plan", 1), _now(_view(RoundStatus.DECRYPTED)))

    assert ledger.submitted == []


class _OpenRound(_Peer):
    """A ledger with an open round, which shows what was declined."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.declines: list[Decline] = []

    def evaluate(self, name: str, args: Any, result: Any, **_: Any) -> Any:
        if name == "round:Get":
            return _first_page(RoundStatus.OPEN, declines=tuple(self.declines))
        return super().evaluate(name, args, result)

    def submit(self, name: str, args: DeclineArgs, _result: Any) -> None:
        assert name == "round:Decline"
        assert not args.trained
        self.declines.append(_declined(args.code))


@pytest.mark.parametrize(
    "code",
    [Code.ARCHITECTURE_CONFIG, Code.CLASS_EMPTY, Code.DATA_CHANGED, Code.TRAINING_REFUSED],
)
def test_an_agent_that_cannot_train_for_a_round_declines_it_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: Code
) -> None:
    def refuse(_: Any) -> None:
        raise MedFabricError(code, "no layer output; there are 0, 2")

    ledger = _OpenRound(_plan())
    rounds = _rounds(ledger, tmp_path)
    rounds._learner = refuse  # type: ignore[assignment]
    trainer = Me(ME.msp_id, ME.node_id, frozenset({Role.TRAINER}))
    home, connection = rounds._home, cast("Any", ledger)
    agent = Agent(trainer, connection, home, rounds.submit_update, lambda _: None, lambda *_: None)

    agent.run(once=True)
    agent.run(once=True)

    assert [decline.code for decline in ledger.declines] == [code]
    assert caplog.text.count(f"{code}: no layer output") == 1
    assert caplog.text.count("WARNING") == 1
    assert f'"declined": "{code}"' in (tmp_path / "journal.jsonl").read_text()


@pytest.mark.parametrize(
    "code", [Code.BUDGET_EXCEEDED, Code.CONSENT_MISSING, Code.NO_BUDGET, Code.PLAN_BUDGET_EXCEEDED]
)
def test_an_update_that_the_ledger_refuses_for_good_is_declined_by_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: Code
) -> None:
    ledger = _Ledger(refuses={"round:SubmitUpdate": MedFabricError(code, "the budget is spent")})
    rounds = _rounds(ledger, tmp_path, _Learner([0.1, 0, 0, 0]))

    rounds.submit_update(Duty(Task.SUBMIT_UPDATE, "plan", 1), _now(_view(RoundStatus.OPEN)))

    declined = DeclineArgs(plan_id="plan", round=1, code=code, trained=False)
    assert ledger.submitted == [("round:Decline", declined)]
    assert f"{code}: the budget is spent" in caplog.text


def test_a_failure_that_stays_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.node.agent._FIRST_RETRY", 0.001)
    told = ["no answer", "no answer", "no answer", "not there", "not there"]
    failures = [MedFabricError(Code.UNREACHABLE, why) for why in told]

    def work(duty: Duty, _: Snapshot) -> None:
        if failures:
            raise failures.pop(0)
        agent.stop()

    agent = _agent(_plan(PlanStatus.APPROVED, 0), Home(tmp_path), work)
    agent.run()

    assert (caplog.text.count("no answer"), caplog.text.count("not there")) == (1, 1)


def test_a_ledger_that_stays_unreadable_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.node.agent._FIRST_RETRY", 0.001)
    agent = _agent(_plan(PlanStatus.APPROVED, 0), Home(tmp_path), lambda *_: agent.stop())
    refusals = [MedFabricError(Code.NOT_ADMITTED, why) for why in ("left", "left", "back")]
    read = agent._pass

    def refused_at_first() -> float | None:
        if refusals:
            raise refusals.pop(0)
        return read()

    monkeypatch.setattr(agent, "_pass", refused_at_first)
    agent.run()

    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [one.partition("MF-1004: ")[2] for one in told] == ["left", "back"]


def _declined(code: str) -> Decline:
    return Decline(
        plan_id="plan",
        round=1,
        msp_id=ME.msp_id,
        node_id=ME.node_id,
        dataset_id="data1",
        code=code,
        steps=3,
        batch_size=4,
        noise_multiplier_micro=4_000_000,
        posted_at=1,
    )


def test_a_node_that_declined_owes_nothing_and_the_round_moves_on() -> None:
    mine = _declined("MF-9013")
    all_declined = tuple(mine.model_copy(update={"msp_id": h}) for h in HOSPITALS)

    waiting = duties(ME, _now(_view(RoundStatus.OPEN, declines=(mine,))))
    over = duties(ME, _now(_view(RoundStatus.OPEN, declines=all_declined)))

    assert [(d.task, d.not_before) for d in waiting] == [(Task.ADVANCE_ROUND, 1001)]
    assert [(d.task, d.not_before) for d in over] == [(Task.ADVANCE_ROUND, 0)]


def test_few_values_beyond_the_range_are_cut_as_the_plan_says(tmp_path: Path) -> None:
    ledger = _Ledger()
    rounds = _rounds(ledger, tmp_path, _Learner([9.0] + [0.0] * 1999))

    rounds.submit_update(Duty(Task.SUBMIT_UPDATE, "plan", 1), _now(_view(RoundStatus.OPEN)))

    assert [name for name, _ in ledger.submitted] == ["round:SubmitUpdate"]


def test_a_narrow_range_cuts_honest_noise_and_refuses_none_of_it(tmp_path: Path) -> None:
    ledger = _Ledger()
    narrow = EncryptionTerms(clip_micro=100_000)
    terms = small_terms().model_copy(update={"encryption": narrow})
    plan = _plan().model_copy(update={"terms": terms, "terms_sha256": terms.sha256})
    noise = np.random.default_rng(1).normal(0, 0.1, 2000)
    rounds = _rounds(ledger, tmp_path, _Learner(list(noise)))

    now = _now(_view(RoundStatus.OPEN), plan=plan)
    rounds.submit_update(Duty(Task.SUBMIT_UPDATE, "plan", 1), now)

    assert [name for name, _ in ledger.submitted] == ["round:SubmitUpdate"]


def test_no_node_trains_on_from_a_recalled_model(tmp_path: Path) -> None:
    ledger, learner = _Recalled(), _Learner([0.1, 0, 0, 0])
    rounds = _rounds(ledger, tmp_path, learner)
    duty, now = Duty(Task.SUBMIT_UPDATE, "plan", 1), _now(_view(RoundStatus.OPEN))

    assert rounds.submit_update(duty, now) == {"declined": "MF-5014"}
    with pytest.raises(MedFabricError, match=r"MF-5014.*bad labels"):
        rounds.evaluate(duty, now)

    assert learner.trained == 0
    assert ledger.declined == ["MF-5014"]


@pytest.mark.parametrize(
    ("accepted", "hospitals", "why"),
    [
        ("ee" * 32, HOSPITALS, "not the sum"),
        (None, HOSPITALS[:1], "single hospital"),
    ],
)
def test_no_share_in_an_aggregate_that_is_not_the_own_sum_of_several(
    tmp_path: Path, accepted: str | None, hospitals: tuple[str, ...], why: str
) -> None:
    rounds = _rounds(None, tmp_path)
    summed = tuple(_contribution(h) for h in hospitals)
    own = rounds.aggregate(_now(_view(RoundStatus.SEALED, contributions=summed))).sha256
    view = _view(RoundStatus.AGGREGATED, aggregate_sha256=accepted or own, contributions=summed)
    duty = Duty(Task.SUBMIT_SHARE, "plan", 1)

    with pytest.raises(MedFabricError, match=f"MF-9106.*{why}"):
        rounds.submit_share(duty, _now(view))

    assert not list(tmp_path.rglob("share-1*.json"))


class _Faulty(_Exchange):
    """A store that gives some content and not other."""

    def __init__(self, folder: Path, faults: dict[str, Code]) -> None:
        super().__init__(folder)
        self._faults = faults
        self.objected: list[tuple[str, str]] = []

    def fetch_file(self, ref: ContentRef) -> Path:
        if code := self._faults.get(ref.sha256):
            raise MedFabricError(code, "it is not there")
        return self._file

    def object(self, _plan_id: str, _number: int, sha256: str, code: str) -> None:
        self.objected.append((sha256, code))


def _attesting(folder: Path, faults: dict[str, Code]) -> tuple[_Faulty, MedFabricError]:
    rounds = _rounds(None, folder)
    rounds._exchange = faulty = _Faulty(folder, faults)  # type: ignore[assignment]
    contributions = tuple(
        _contribution(h).model_copy(
            update={"update": REF.model_copy(update={"sha256": digit * 64})}
        )
        for h, digit in zip(HOSPITALS, "1234", strict=True)
    )
    view = _view(RoundStatus.SEALED, contributions=contributions)
    with pytest.raises(MedFabricError) as caught:
        rounds.aggregate(_now(view))
    return faulty, caught.value


def test_everything_that_cannot_be_used_is_objected_to_at_once(tmp_path: Path) -> None:
    faults = {"2" * 64: Code.CONTENT_TAMPERED, "4" * 64: Code.CONTENT_MISSING}

    faulty, error = _attesting(tmp_path, faults)

    assert error.code == Code.CONTENT_TAMPERED
    assert faulty.objected == [*faults.items()]


def test_a_store_that_is_out_of_reach_is_no_reason_to_object(tmp_path: Path) -> None:
    faulty, error = _attesting(tmp_path, {"2" * 64: Code.STORE_UNREACHABLE})

    assert error.code == Code.STORE_UNREACHABLE
    assert faulty.objected == []


@pytest.mark.parametrize(
    "content", ["", "{", "{}", '{"connection": "a", "identity": "b", "home": "c", "store": 1}']
)
def test_node_configuration_that_cannot_be_used_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "node.json"
    path.write_text(content)

    with pytest.raises(MedFabricError, match="MF-9104"):
        load(path)
    with pytest.raises(MedFabricError, match="MF-9104"):
        load(tmp_path / "absent.json")


@pytest.mark.parametrize("step", ["submit_share", "unmask"])
def test_no_share_in_a_second_aggregate_of_a_round(tmp_path: Path, step: str) -> None:
    home = Home(tmp_path)
    home.keep("plan", "decrypted-1", _Decrypted(aggregate_sha256="aa" * 32))
    home.close()
    rounds = _rounds(None, tmp_path)
    view = _view(RoundStatus.AGGREGATED, aggregate_sha256="cd" * 32)

    with pytest.raises(MedFabricError, match=r"MF-9106.*already shared"):
        getattr(rounds, step)(Duty(Task.SUBMIT_SHARE, "plan", 1), _now(view))


def test_a_duty_that_runs_out_of_memory_is_told_as_such_and_stays(tmp_path: Path) -> None:
    class Ledger:
        """Without plans."""

        def __init__(self) -> None:
            self.plans = Plans(self)  # type: ignore[arg-type]

        def events(self) -> Iterator[None]:
            return iter(())

        def evaluate(self, *_: Any, **__: Any) -> PlanPage:
            return PlanPage(plans=(), bookmark="")

    def exhausted() -> None:
        raise MemoryError

    duty = Duty(Task.SUM_RECORDS, subject="study-1")
    home = Home(tmp_path / "home")
    ledger: Any = Ledger()
    agent = Agent(
        ME,
        ledger,
        home,
        lambda *_: None,
        lambda _: None,
        lambda *_: None,
        lambda: [(duty, exhausted)],
    )

    with pytest.raises(MedFabricError, match=Code.MEMORY_EXHAUSTED):
        agent.run(once=True)
    home.close()
