"""Plans for applications, made by rule."""

from __future__ import annotations

from functools import lru_cache

import pytest
from support.masking import masked_terms
from support.scenario import HOSPITALS, at, terms

from chaincode.schema.plans import PlanTerms
from trainer import presets


@lru_cache(maxsize=2)
def _plain(aggregation: str) -> PlanTerms:
    return masked_terms("plan-1") if aggregation == "secret-sharing" else terms("plan-1")


@pytest.mark.parametrize("aggregation", ["ckks", "secret-sharing"])
@pytest.mark.parametrize(("norm", "epsilon"), [(300_000, 1.0), (2_500_000, 8.0)])
def test_a_plan_that_hides_hospitals_is_accepted_and_spends_what_it_may(
    aggregation: str, norm: int, epsilon: float
) -> None:
    plan = presets.hiding_hospitals(_plain(aggregation), norm, round(epsilon * 1e6))

    at("enrolled").do(HOSPITALS[0], "plan:Propose", plan)

    hidden = plan.privacy.hospital
    assert hidden is not None
    unit = plan.encryption.clip_micro / plan.encryption.levels
    assert norm * 0.999 < hidden.norm_levels * unit <= norm
    spent = plan.told(plan.hospitals[0], 2).epsilon_micro / 1e6
    assert epsilon * 0.999 < spent <= epsilon
