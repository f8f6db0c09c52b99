"""Groups of hospitals are tested in a running consortium, and an auditor books the same of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from support.networks import KINDS
from support.training import ended, proven, training, until

from chaincode.schema.grouptests import GroupTestStatus
from chaincode.schema.plans import AcceptanceTerms
from chaincode.schema.reputation import Evidence, Rated
from client.audit import reputations
from demo.run import PLAN_ID
from network.topology import Kind
from trainer import presets

TESTED = AcceptanceTerms(max_drop_micro=100_000, group_tests=2, least_group=2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_drawn_decrypted_scored_and_booked(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", partial(presets.plan, acceptance=TESTED))

    with training(tmp_path, kind, rounds=2, stage_seconds=60) as run:
        until(run, 2, ended)
        view = run.ledger.group_tests.get(plan_id=PLAN_ID, round=1)
        last = run.ledger.group_tests.get(plan_id=PLAN_ID, round=2)
        hospitals = [
            run.ledger.reputations.get(subject=Rated.HOSPITAL, subject_id=hospital.msp_id)
            for hospital in run.hospitals
        ]
        ledger = proven(run, tmp_path / "blocks")

    assert list(reputations.check(ledger)) == []
    assert view.test is not None
    assert view.test.status is GroupTestStatus.SCORED
    assert [len(group.members) for group in view.test.groups] == [2, 2]
    # Every hospital found the same of the same candidates, each on its own records.
    assert len(view.scores) == 4
    assert all(None not in score.correct for score in view.scores)
    for hospital in hospitals:
        found = hospital.tallies[Evidence.QUALITY]
        assert found.good + found.bad == 1
    assert last.test is None
