"""Whom a plan waits for, over the real contracts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from support.leaving import LEAVES, leaving
from support.ledger_consortium import LedgerConsortium
from support.scenario import (
    HOSPITALS,
    PLAN,
    Scenario,
    at,
    evaluate_args,
    ref,
    reveal_args,
    terms,
)

from chaincode.schema.base import Event
from chaincode.schema.errors import Code, MedFabricError
from client import watching
from client.cli.output import show_each
from client.consortium import LedgerEvent
from client.watching import Standing, standing, watch

ONE, TWO, THREE, FOUR = HOSPITALS
NODES = tuple(f"{hospital}/node1" for hospital in HOSPITALS)


def seen(scenario: Scenario) -> Standing:
    return standing(LedgerConsortium(scenario, ONE, "admin"), PLAN)


@pytest.mark.parametrize(
    ("stage", "told", "what", "awaited"),
    [
        ("proposed", "vote", "votes", HOSPITALS),
        ("approved", "key ceremony COMMIT", "commitments", HOSPITALS),
        ("open", "OPEN", "updates", NODES),
        ("sealed", "SEALED", "attestations", HOSPITALS),
        ("aggregated", "AGGREGATED", "decryption shares", HOSPITALS),
        ("decrypted", "DECRYPTED", "evaluations", HOSPITALS),
    ],
)
def test_every_stage_says_what_it_asks_for_and_of_whom(
    stage: str, told: str, what: str, awaited: tuple[str, ...]
) -> None:
    found = seen(at(stage))

    assert (found.stage, found.what, found.given, found.awaited) == (told, what, 0, awaited)
    assert found.deadline
    assert not found.over


def test_a_dispute_says_whose_proof_and_whose_verdict_it_waits_for() -> None:
    scenario = at("decrypted")
    nothing = {"candidate": None, "failure": "MF-6008", "correct": 0, "base_correct": 0}
    for hospital in HOSPITALS:
        scenario.do(hospital, "round:Evaluate", evaluate_args(terms(), **nothing))
    scenario.advance(terms())
    for hospital in HOSPITALS:
        disputed = seen(scenario)
        proof = {"plan_id": PLAN, "round": 1, "proof": ref(f"proof of {hospital}")}
        scenario.do(hospital, "dispute:Prove", proof)
    scenario.advance(terms())
    scenario.do(TWO, "dispute:Judge", {"plan_id": PLAN, "round": 1, "culprits": [ONE]})

    judging = seen(scenario)

    assert str(disputed).startswith("round 1 DISPUTED; 3 of 4 proofs of decryption shares; waiting")
    assert disputed.awaited == (FOUR,)
    assert (judging.stage, judging.what) == ("JUDGING", "verdicts")
    assert (judging.given, judging.awaited) == (1, (ONE, THREE, FOUR))


def test_a_handed_on_key_is_waited_for_from_who_leaves() -> None:
    scenario, plan = leaving()
    scenario.prepare_handing(plan)
    scenario.do(ONE, "ceremony:Reveal", reveal_args(plan, ONE))

    found = standing(LedgerConsortium(scenario, ONE, "admin"), plan.plan_id)

    assert (found.stage, found.what) == ("key ceremony REVEAL", "key shares")
    assert (found.given, found.awaited) == (1, (TWO, FOUR, LEAVES))


def test_who_has_given_is_not_waited_for() -> None:
    scenario = at("sealed")
    scenario.attest(terms(), who=HOSPITALS[:2])

    found = seen(scenario)

    assert (found.given, found.awaited) == (2, (THREE, FOUR))
    assert str(found) == f"round 1 SEALED; 2 of 4 attestations; waiting for {THREE}, {FOUR}"


def test_a_published_round_tells_its_model_and_waits_for_nobody() -> None:
    scenario = at("published")
    found = seen(scenario)

    assert (found.stage, found.what, found.awaited, found.deadline) == ("PUBLISHED", "", (), None)
    assert "right on validation records" in found.note
    assert scenario.round_state(terms())["model_sha256"] in found.note


def test_a_plan_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MedFabricError) as raised:
        standing(LedgerConsortium(at("founded"), ONE, "admin"), "plan-9")

    assert raised.value.code == Code.NOT_FOUND


class Moving:
    """A gateway whose events move the ledger on as they are taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, states: list[Standing]) -> None:
        self.states, self.block, self.reads = states, 7, 0
        self.started: int | None = None
        self.plans: Any = None
        self.rounds: Any = None
        self.gateway = SimpleNamespace(height=lambda: self.block)
        monkeypatch.setattr(watching, "standing", self._standing)

    def events(self, *, start_block: int) -> Any:
        self.started = start_block
        return self

    def __enter__(self) -> Iterator[LedgerEvent]:
        return self._events()

    def __exit__(self, *_: object) -> None:
        pass

    def _events(self) -> Iterator[LedgerEvent]:
        yield self._event("another-plan")
        for _ in self.states[1:]:
            self.block += 2
            yield self._event(PLAN, behind=2)
            yield self._event(PLAN, behind=1)

    def _event(self, plan_id: str, behind: int = 0) -> LedgerEvent:
        return LedgerEvent("round.update", Event(plan_id=plan_id), self.block - behind, "tx")

    def _standing(self, *_: object) -> Standing:
        self.reads += 1
        return self.states[min(self.reads, len(self.states)) - 1]


def test_a_plan_that_is_paused_says_so_and_why() -> None:
    paused = at("published")
    paused.do(ONE, "plan:Pause", {"plan_id": PLAN, "reason": "a dataset is being checked"})

    found = seen(paused)

    assert "the plan is PAUSED: a dataset is being checked" in found.note
    assert not found.over


def test_each_change_is_told_once_until_the_plan_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Standing(PLAN, "ACTIVE", 1, "OPEN", "updates", 0, NODES)
    partly = Standing(PLAN, "ACTIVE", 1, "OPEN", "updates", 3, NODES[3:])
    over = Standing(PLAN, "COMPLETED", 1, "PUBLISHED")
    moving = Moving(monkeypatch, [opened, opened, partly, over, opened])

    told = list(watch(moving, PLAN))  # type: ignore[arg-type]

    assert told == [opened, partly, over]
    # From the first reading's own height on, and once for all events that a reading has shown.
    assert (moving.started, moving.reads) == (7, 4)


def test_a_round_that_another_has_followed_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    over = at("published")
    ended, opened = seen(over), Standing(PLAN, "ACTIVE", 2, "OPEN", "updates", 0, NODES)
    decrypted = Standing(PLAN, "ACTIVE", 1, "DECRYPTED", "evaluations", 3, (FOUR,))
    moving = Moving(monkeypatch, [decrypted, opened])
    facade = LedgerConsortium(over, ONE, "admin")
    moving.plans, moving.rounds = facade.plans, facade.rounds

    assert list(watch(moving, PLAN)) == [decrypted, ended, opened]  # type: ignore[arg-type]


def test_of_many_that_are_waited_for_a_line_names_a_few() -> None:
    many = Standing(PLAN, "ACTIVE", 1, "OPEN", "updates", 0, tuple(f"node{n}" for n in range(300)))

    assert str(many).endswith("node6, node7, 292 more")


def test_a_line_of_json_for_every_change() -> None:
    import click

    @click.command()
    def command() -> None:
        show_each(iter([Standing(PLAN, "PROPOSED", awaited=(ONE,))]), as_json=True)

    shown = json.loads(CliRunner().invoke(command).stdout)

    assert (shown["plan"], shown["awaited"]) == (PLAN, [ONE])
