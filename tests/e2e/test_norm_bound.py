"""An update that was scaled is refused by the length of the mean alone, and its group is found."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
from support.networks import KINDS
from support.training import ended, training, until

from chaincode.schema import clipping
from chaincode.schema.errors import Code
from chaincode.schema.grouptests import GroupTestStatus
from chaincode.schema.plans import AcceptanceTerms
from chaincode.schema.rounds import RoundStatus
from demo.run import PLAN_ID
from network.processes import Spec
from network.topology import Kind
from trainer import presets

_SCALING = Path(__file__).parents[1] / "support" / "scaling_agent.py"
# Accuracy may fall as far as it will: the norm alone decides.
TESTED = AcceptanceTerms(max_drop_micro=10**6, group_tests=2, least_group=2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_scaled_by_minus_ten_is_refused_and_its_group_named(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", partial(presets.plan, acceptance=TESTED))
    # A wide clip, as plans may have: values of that size are within it.
    monkeypatch.setattr(clipping, "clip_micro", lambda *_: 8_000_000)

    with training(tmp_path, kind, rounds=2, stage_seconds=60, start=False) as run:
        attacker = run.hospitals[3]
        home = run.agents.home(attacker.slug)
        command = [sys.executable, str(_SCALING)]
        run.network.processes.start(Spec(f"{attacker.slug}.agent", command, {}, home))
        for hospital in run.hospitals[:3]:
            run.agents.restart(hospital.slug)
        view = until(run, 1, ended)
        until(run, 2, lambda view: view.round.status is RoundStatus.OPEN)
        test = run.ledger.group_tests.get(plan_id=PLAN_ID, round=1)
        base = run.ledger.rounds.get(plan_id=PLAN_ID, number=2).round.base_sha256

    assert (view.round.status, view.round.failure) == (
        RoundStatus.FAILED,
        Code.CANDIDATE_REJECTED,
    ), view.round.reason
    assert "longer than the plan's norm bound" in view.round.reason
    assert all(one.beyond_norm and one.accept is False for one in view.evaluations)
    assert base == view.round.base_sha256
    assert test.test is not None
    assert test.test.status is GroupTestStatus.SCORED
    accused = [attacker.msp_id in group.members for group in test.test.groups]
    for score in test.scores:
        assert [correct is None for correct in score.correct] == accused
