"""A training whose sums carry the discrete noise that hides whole hospitals."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.networks import KINDS
from support.training import ended, training, until

from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import RoundStatus
from demo.run import PLAN_ID
from network.topology import Kind
from trainer import presets

_PLAN = presets.plan


def _hiding(*args: object, **named: object) -> PlanTerms:
    """The demonstration's plan with hospitals hidden, so weakly that its model is still good."""
    terms = _PLAN(*args, **named)  # type: ignore[arg-type]
    return presets.hiding_hospitals(terms, norm_micro=4_000_000, epsilon_micro=400_000_000)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_a_round_is_published_and_its_hospitals_accounts_say_what_it_told(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _hiding)
    with training(tmp_path / "run", kind, 1, stage_seconds=240) as run:
        view = until(run, 1, ended, seconds=280)
        told = run.ledger.plans.get(plan_id=PLAN_ID)
        accounts = run.ledger.hospitals.privacy().accounts

    assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
    assert len({c.weight for c in view.round.contributions}) == 1
    terms = told.plan.terms
    assert told.hospitals == tuple(terms.told(hospital, 1) for hospital in terms.hospitals)
    assert [account.plans for account in accounts] == [(spent,) for spent in told.hospitals]
