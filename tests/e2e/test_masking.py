"""Masked trainings with a node that dies for good: its masks come off the sum all the same."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.networks import KINDS
from support.training import ended, soon_over, training, until

from chaincode.schema.rounds import RoundStatus
from demo.run import Run
from network.processes import Spec
from network.topology import Kind

_AGENT = Path(__file__).parents[1] / "support" / "crashing_agent.py"
GONE = "Hospital4MSP"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_node_that_dies_after_sealing_stays_in_the_sum_and_before_leaves_no_mask_behind(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon_over(monkeypatch)
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
