"""Masked trainings with a node that dies for good: its masks come off the sum all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.networks import KINDS
from support.training import ended, training, until

from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import RoundStatus
from demo.run import Run
from network.processes import Spec
from network.topology import Kind
from trainer import presets

_AGENT = Path(__file__).parents[1] / "support" / "crashing_agent.py"
_PLAN = presets.plan
GONE = "Hospital4MSP"


def _soon_over(*args: object, **named: object) -> PlanTerms:
    """The demonstration's plan, masked, that does not wait long for a node that is gone."""
    terms = _PLAN(*args, **named)  # type: ignore[arg-type]
    short = terms.participation.model_copy(update={"update_seconds": 25})
    return terms.model_copy(update={"participation": short})


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "plan", _soon_over)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_dies_after_sealing_stays_in_the_sum_and_before_leaves_no_mask_behind(
    kind: Kind, tmp_path: Path
) -> None:
    with training(
        tmp_path / "run", kind, 2, stage_seconds=8, start=False, aggregation="secret-sharing"
    ) as run:
        for hospital in run.hospitals:
            last = hospital.msp_id == GONE
            _start(run, hospital.slug, "before round:Attest" if last else "nowhere")
        after = until(run, 1, ended, seconds=200)
        _start(run, "hospital4", "before round:SubmitUpdate")
        before = until(run, 2, ended, seconds=200)
        crashes = (run.agents.home("hospital4") / "crashes.txt").read_text()

    assert crashes.splitlines() == ["before round:Attest", "before round:SubmitUpdate"]
    for view in (after, before):
        assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
        assert len(view.unmaskings) == 3
        assert view.masking is not None
        assert GONE in {n.msp_id for n in view.masking.nodes}
    assert GONE in {c.msp_id for c in after.round.contributions}
    assert after.round.missing == ()
    assert [n.msp_id for n in before.round.missing] == [GONE]


def _start(run: Run, slug: str, point: str) -> None:
    command = [sys.executable, str(_AGENT), point]
    run.network.processes.start(Spec(f"{slug}.agent", command, {}, run.agents.home(slug)))
