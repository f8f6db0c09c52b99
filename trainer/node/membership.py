"""A node's part in who takes part: joining plans, ending those that lost their key."""

from __future__ import annotations

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanArgs, PlanState
from client import places
from client.consortium import Consortium
from trainer.node.duties import Duty, Snapshot


class Membership:
    """Carries out the duties around a plan's rounds.

    Args:
        dataset_id: with which the node joins plans that admit it.
    """

    def __init__(self, consortium: Consortium, dataset_id: str | None) -> None:
        self._consortium = consortium
        self._dataset_id = dataset_id

    def join_plan(self, _: Duty, now: Snapshot) -> dict[str, int | str]:
        """Take a free place of this hospital in the plan."""
        if self._dataset_id is None:
            raise MedFabricError(Code.NODE_CONFIG, "this node has no data to join a plan with")
        place = places.join(self._consortium, now.plan.terms, self._dataset_id)
        return {"slot": place.slot}

    def advance_plan(self, duty: Duty, _: Snapshot) -> None:
        """End a plan whose key lost a holder."""
        self._consortium.submit("plan:Advance", PlanArgs(plan_id=duty.plan_id), PlanState)
