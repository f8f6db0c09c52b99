"""A node's part in who takes part: joining plans, ending those that lost their key."""

from __future__ import annotations

from collections.abc import Sequence

from chaincode.schema.plans import PlanArgs, PlanState
from client import places
from client.consortium import Consortium
from trainer.node.config import DataConfig
from trainer.node.datasets import of_application
from trainer.node.duties import Duty, Snapshot


class Membership:
    """Carries out the duties around a plan's rounds.

    Args:
        datasets: of which the node joins a plan with the first of the plan's application.
    """

    def __init__(self, consortium: Consortium, datasets: Sequence[DataConfig]) -> None:
        self._consortium = consortium
        self._datasets = datasets

    def join_plan(self, _: Duty, now: Snapshot) -> dict[str, int | str]:
        """Take a free place of this hospital in the plan."""
        terms = now.plan.terms
        data = of_application(self._datasets, terms.data.application, self._consortium)
        place = places.join(self._consortium, terms, data.dataset_id)
        return {"slot": place.slot}

    def advance_plan(self, duty: Duty, _: Snapshot) -> None:
        """End a plan whose key lost a holder."""
        self._consortium.submit("plan:Advance", PlanArgs(plan_id=duty.plan_id), PlanState)
