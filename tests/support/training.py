"""A demonstration's training, held by a test: started, watched, interfered with."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaincode.schema import clipping
from chaincode.schema.encryption import choose
from chaincode.schema.errors import MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import RoundStatus, RoundView
from client import blocks
from client.audit import proof
from client.audit.proof import Ledger
from client.connection import Connection
from client.identity import Identity
from demo import run as demo
from demo.run import PLAN_ID, Options, Run
from network.processes import Spec
from network.topology import Kind
from support.forked import processes_forked
from trainer import presets


@contextmanager
def training(
    folder: Path,
    kind: Kind,
    rounds: int,
    stage_seconds: int,
    *,
    start: bool = True,
    hospitals: int = 4,
    application: str = "breast-cancer",
    aggregation: str = "ckks",
) -> Iterator[Run]:
    """A run with an agreed plan; with ``start``, its agents are at work."""
    options = Options(
        folder,
        kind,
        hospitals,
        rounds=rounds,
        stage_seconds=stage_seconds,
        application=application,
        aggregation=aggregation,
    )
    with processes_forked(), demo.prepared(options, lambda _: None) as run:
        if start:
            run.agents.start()
        yield run


def everyone_decrypts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demonstration's plan need every hospital's share."""
    _encrypting(monkeypatch)


def tied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demonstration's plan ask for proofs that updates open under their keys."""
    _encrypting(monkeypatch, threshold=3, tied=True)


def two_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demonstration's plan go on with two updates."""
    _participating(monkeypatch, quorum=2)


def all_attest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the demonstration's plan go on when every hospital has attested the sum: who decrypts is
    then the first hospitals, not the quickest."""
    _participating(monkeypatch, agreement=4)


def soon_over(monkeypatch: pytest.MonkeyPatch, update_seconds: int = 12) -> None:
    """Have the demonstration's plan not wait long for a node that is gone."""
    _participating(monkeypatch, update_seconds=update_seconds)


def _encrypting(monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> None:
    def changed(terms: PlanTerms) -> PlanTerms:
        clip = terms.encryption.clip_micro
        encryption = choose(terms.workload, clip_micro=clip, error_nano=10_000, **wanted)
        norm = clipping.norm_terms(terms.training, terms.privacy, encryption)
        acceptance = terms.acceptance.model_copy(update={"norm": norm})
        return terms.model_copy(update={"encryption": encryption, "acceptance": acceptance})

    _planning(monkeypatch, changed)


def _participating(monkeypatch: pytest.MonkeyPatch, **changes: int) -> None:
    def changed(terms: PlanTerms) -> PlanTerms:
        participation = terms.participation.model_copy(update=changes)
        return terms.model_copy(update={"participation": participation})

    _planning(monkeypatch, changed)


def _planning(monkeypatch: pytest.MonkeyPatch, changed: Callable[[PlanTerms], PlanTerms]) -> None:
    agreed = presets.plan
    monkeypatch.setattr(presets, "plan", lambda *args, **named: changed(agreed(*args, **named)))


def strange_agent(name: str) -> Path:
    """A program that a node may run in place of its agent."""
    return Path(__file__).parent / f"{name}_agent.py"


def start_strange(run: Run, strange: dict[str, Path]) -> None:
    """All agents; of these hospitals other ones, in their place and stopped with the others."""
    for hospital in run.hospitals:
        if hospital.slug not in strange:
            run.agents.restart(hospital.slug)
            continue
        command = [sys.executable, str(strange[hospital.slug])]
        home = run.agents.home(hospital.slug)
        run.network.processes.start(Spec(f"{hospital.slug}.agent", command, {}, home))


def until(
    run: Run,
    number: int,
    seen: Callable[[RoundView], bool],
    seconds: float = 120.0,
    meanwhile: Callable[[], None] = lambda: None,
) -> RoundView:
    """The round's view as soon as it is so; fails after ``seconds``.

    A peer that does not answer for now is asked again.
    """
    deadline = time.monotonic() + seconds
    why = "it is not so"
    while time.monotonic() < deadline:
        meanwhile()
        try:
            if demo.plan(run).rounds_opened >= number:
                view = run.ledger.rounds.get(plan_id=PLAN_ID, number=number)
                if seen(view):
                    return view
                why = f"it is {view.round.status}"
        except MedFabricError as error:
            why = str(error)
        run.waking.wait(0.5)
    raise AssertionError(f"round {number} did not get there in {seconds:.0f} s: {why}")


def proven(run: Run, folder: Path) -> Ledger:
    """The ledger as an auditor proves it from the blocks, which are put into this folder."""
    layout, first = run.network.layout, run.hospitals[0]
    connection = Connection.load(layout.connection(first.slug))
    height = blocks.fetch(connection, Identity.load(first.user("auditor")), folder)
    verdict, ledger = proof.prove(folder, layout.genesis.read_bytes(), height)
    assert verdict.proven
    return ledger


def ended(view: RoundView) -> bool:
    """Whether the round is over."""
    return view.round.status in (RoundStatus.PUBLISHED, RoundStatus.FAILED)


def begun(view: RoundView) -> bool:
    """Whether an update is in."""
    return len(view.updates) >= 1
