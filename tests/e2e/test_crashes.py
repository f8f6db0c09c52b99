"""Agents killed at every step: each goes on where it was, and releases the same bytes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.networks import KINDS
from support.training import ended, everyone_decrypts, training, until

from chaincode.schema.rounds import RoundStatus
from demo import run as demo
from demo.run import Run
from network.processes import Spec
from network.topology import Kind

_AGENT = Path(__file__).parents[1] / "support" / "crashing_agent.py"
POINTS = {
    "hospital1": (
        *("before ceremony:Commit", "after ceremony:Commit"),
        *("kept update-1", "before round:SubmitUpdate", "after round:SubmitUpdate"),
    ),
    "hospital2": (
        *("before ceremony:Reveal", "after ceremony:Reveal"),
        "checkpoint",
        *("before round:Attest", "after round:Attest"),
    ),
    "hospital3": (
        *("before ceremony:Confirm", "after ceremony:Confirm"),
        *(
            "kept decrypted-1",
            "kept share-1-1",
            "before round:SubmitShare",
            "after round:SubmitShare",
        ),
    ),
    "hospital4": ("before round:Evaluate", "after round:Evaluate"),
}
SHARED = tuple(
    f"{when} {name}"
    for name in ("ceremony:Advance", "round:Open", "round:Advance")
    for when in ("before", "after")
)
"""Of transactions that any hospital may submit: whose turn it is passes them."""


@pytest.mark.timeout(500)
@pytest.mark.parametrize("kind", KINDS)
def test_agents_killed_at_every_step_lose_nothing(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone_decrypts(monkeypatch)
    with training(tmp_path / "run", kind, rounds=2, stage_seconds=120, start=False) as run:
        views = [
            until(run, number, ended, seconds=240, meanwhile=lambda: _revive(run))
            for number in (1, 2)
        ]
        accounts = run.ledger.datasets.privacy().accounts
        steps = demo.plan(run).terms.training.steps

    for view in views:
        assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
        assert len(view.round.contributions) == 4
        assert view.round.missing == ()
        released = {u.msp_id: u.update.sha256 for u in view.updates}
        assert released == _kept(run, f"update-{view.round.number}")
        assert {s.msp_id: s.share.sha256 for s in view.shares} == _kept(
            run, f"share-{view.round.number}-1"
        )
    # The round that was cut off went on after its second step, and was charged once.
    assert _resumed(run, "hospital2") == [2, 0]
    for account in accounts:
        assert [(spent.updates, spent.steps_each) for spent in account.plans] == [(2, steps)]
    leftover = [path.name for path in run.agents.home("hospital2").rglob("training-*")]
    assert leftover == []
    passed = {slug: set(_lines(run, slug, "crashes.txt")) for slug in POINTS}
    for slug, points in POINTS.items():
        assert set(points) <= passed[slug]
    assert set(SHARED) <= set().union(*passed.values())


def _revive(run: Run) -> None:
    """Start every agent that does not run."""
    for slug, points in POINTS.items():
        wanted = ",".join((*points, *SHARED))
        command = [sys.executable, str(_AGENT), wanted]
        run.network.processes.start(Spec(f"{slug}.agent", command, {}, run.agents.home(slug)))


def _kept(run: Run, name: str) -> dict[str, str]:
    """Hash of the content that each hospital recorded under this name; it did so once."""
    found = {}
    for hospital in run.hospitals:
        lines = [line.split(" ", 1) for line in _lines(run, hospital.slug, "kept.txt")]
        (record,) = [json.loads(record) for kept, record in lines if kept == name]
        found[hospital.msp_id] = record["content_sha256"]
    return found


def _resumed(run: Run, slug: str) -> list[object]:
    """Of each round's update, how many steps had been done before the last start."""
    journal = run.agents.journal(slug)
    return [entry["resumed_steps"] for entry in journal if "resumed_steps" in entry]


def _lines(run: Run, slug: str, name: str) -> list[str]:
    return (run.agents.home(slug) / name).read_text().splitlines()
