"""Of a round of many pages a node reads those that its duties are about."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from support.leaving import leaving
from support.scenario import HOSPITALS, Scenario, at, commit_args, reveal_args, terms

from chaincode.contracts import cohort
from chaincode.schema import keys
from chaincode.schema.base import Language, Role
from chaincode.schema.ceremonies import CeremonyView
from chaincode.schema.plans import Plan, PlanArgs
from chaincode.schema.rounds import RoundPageArgs, RoundView
from client.consortium import Plans
from trainer.node.duties import Duty, Me, Snapshot, Task, duties
from trainer.node.reading import PlanReader, RoundReader

PLAN = terms().plan_id
ONE, TWO, THREE, FOUR = HOSPITALS
TRAINER, VALIDATOR = frozenset({Role.TRAINER}), frozenset({Role.VALIDATOR})
PLACE = {"plan_id": PLAN, "number": 1}


class Ledger:
    """The ledger as one node reads it; ``read`` are the pages that were asked for."""

    def __init__(self, scenario: Scenario, msp_id: str, roles: frozenset[Role]) -> None:
        self.scenario, self.msp_id = scenario, msp_id
        self.read: list[int] = []
        self.asked: Counter[str] = Counter()
        self.plans = Plans(self)  # type: ignore[arg-type]
        self.me = Me(msp_id, "node1", roles)
        self.reader = RoundReader(self, self.me)  # type: ignore[arg-type]

    def evaluate(self, name: str, args: Language, result: Any, **_: Any) -> Any:
        self.asked[name] += 1
        if isinstance(args, RoundPageArgs):
            self.read.append(args.page)
        got = self.scenario.do(self.msp_id, name, args.model_dump())
        return result.model_validate_json(json.dumps(got))

    def pages(self) -> tuple[list[int], RoundView]:
        """What a pass reads, and the round that it sees."""
        self.read.clear()
        view = self.reader.newest(self.plan())
        assert view is not None
        return list(self.read), view

    def tasks(self) -> list[Duty]:
        view = self.pages()[1]
        return duties(self.me, Snapshot(self.plan(), None, view, HOSPITALS))

    def plan(self) -> Plan:
        got = self.scenario.do(ONE, "plan:Get", {"plan_id": PLAN})["plan"]
        return Plan.model_validate_json(json.dumps(got))


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> Scenario:
    """An open round with the four nodes on a page each."""
    monkeypatch.setattr(cohort, "PAGE", 1)
    made = at("active")
    made.open(terms())
    for page in (1, 2, 3):
        advance(made, page)
    return made


def advance(scenario: Scenario, page: int = 0) -> None:
    scenario.do(ONE, "round:Advance", {**PLACE, "page": page})


def test_a_trainer_looks_for_its_page_once_and_reads_it_from_then_on(scenario: Scenario) -> None:
    three = Ledger(scenario, THREE, TRAINER)

    three.pages()
    read, view = three.pages()

    assert read == [0, 2]
    assert [p.msp_id for p in view.round.participants] == [ONE, THREE]
    assert [duty.task for duty in three.tasks()] == [Task.SUBMIT_UPDATE]
    scenario.submit(terms(), who=(THREE,))
    assert three.tasks() == []


def test_a_validator_watches_the_page_that_is_sealed_next(scenario: Scenario) -> None:
    two = Ledger(scenario, TWO, VALIDATOR)
    scenario.submit(terms(), who=(ONE,))
    first, then = two.pages()[0], two.tasks()[-1]
    advance(scenario)

    second, waiting = two.pages()[0], two.tasks()[-1]

    assert (first, second) == ([0], [0, 1])
    assert (then.page, then.not_before) == (0, 0)
    assert (waiting.page, waiting.not_before > 0) == (1, True)


def test_a_validator_reads_all_that_is_sealed_once_and_a_trainer_none_of_it(
    scenario: Scenario,
) -> None:
    two, three = Ledger(scenario, TWO, VALIDATOR), Ledger(scenario, THREE, TRAINER)
    scenario.submit(terms())
    for page in range(4):
        advance(scenario, page)

    first, again = two.pages(), two.pages()

    assert (first[0], again[0], three.pages()[0]) == ([0, 1, 2, 3], [0], [0])
    assert first[1].round.model_dump(mode="json") == scenario.round_state(terms())
    assert again[1].round == first[1].round


def test_a_plans_terms_are_read_once_and_where_it_stands_at_every_pass(scenario: Scenario) -> None:
    two = Ledger(scenario, TWO, VALIDATOR)
    reader = PlanReader(two, two.me)  # type: ignore[arg-type]
    before = reader.concerning()
    scenario.do(ONE, "plan:Pause", {"plan_id": PLAN, "reason": "a break"})

    after = reader.concerning()

    assert [plan.status for plan in (*before, *after)] == ["ACTIVE", "PAUSED"]
    assert after[0].terms == before[0].terms == terms()
    assert two.asked == {"plan:List": 2, "plan:Get": 1}


def test_plans_of_others_give_a_node_nothing_to_do(scenario: Scenario) -> None:
    stranger = Me("Hospital9MSP", "node1", VALIDATOR)
    reader = PlanReader(Ledger(scenario, TWO, VALIDATOR), stranger)  # type: ignore[arg-type]

    assert reader.concerning() == []


# a key that is handed on


def _owed(ledger: Ledger, members: tuple[str, ...] = HOSPITALS) -> list[tuple[Task, int]]:
    """What a node owes to the plan "next", and from when on; it must be among those it reads."""
    plans = PlanReader(ledger, ledger.me).concerning()  # type: ignore[arg-type]
    plan = next(plan for plan in plans if plan.plan_id == "next")
    view = ledger.evaluate("ceremony:Get", PlanArgs(plan_id="next"), CeremonyView)
    found = duties(ledger.me, Snapshot(plan, view, None, members))
    return [(duty.task, duty.not_before) for duty in found]


def test_who_leaves_has_duties_until_it_has_dealt() -> None:
    scenario, plan = leaving()
    three, trainer = Ledger(scenario, THREE, VALIDATOR), Ledger(scenario, THREE, TRAINER)

    first = _owed(three)
    scenario.prepare_handing(plan)
    second, others = _owed(three), _owed(trainer)
    scenario.do(THREE, "ceremony:Reveal", reveal_args(plan, THREE))
    third = _owed(three)

    assert (first, second, third) == ([(Task.COMMIT_KEY, 0)], [(Task.REVEAL_KEY, 0)], [])
    assert others == []


def test_who_stays_waits_for_who_leaves_unless_it_has_left() -> None:
    scenario, plan = leaving()
    for hospital in plan.hospitals:
        scenario.do(hospital, "ceremony:Commit", commit_args(plan, hospital, len(HOSPITALS)))
    one = Ledger(scenario, ONE, VALIDATOR)
    deadline = scenario.asset(keys.ceremony("next"))["deadline"]

    assert _owed(one) == [(Task.ADVANCE_CEREMONY, deadline + 1)]
    assert _owed(one, (ONE, TWO, FOUR)) == [(Task.ADVANCE_CEREMONY, 0)]


def test_who_left_reads_that_the_key_has_gone_on_once_it_has_for_good() -> None:
    scenario, plan = leaving()
    three = Ledger(scenario, THREE, VALIDATOR)
    reader = PlanReader(three, three.me)  # type: ignore[arg-type]
    reader.concerning()
    under_way = reader.handed_on
    scenario.hand_on(plan)

    concerning = reader.concerning()

    assert (under_way, reader.handed_on) == ((), (PLAN,))
    assert concerning == []


def test_a_key_whose_handing_on_failed_has_not_gone_on() -> None:
    scenario, plan = leaving()
    scenario.wait()
    scenario.advance_ceremony(plan)
    three = Ledger(scenario, THREE, VALIDATOR)
    reader = PlanReader(three, three.me)  # type: ignore[arg-type]

    reader.concerning()

    assert reader.handed_on == ()
