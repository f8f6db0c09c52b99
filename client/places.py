"""Taking a place in a plan that admits nodes by rule."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.places import JoinPlanArgs, Place, PlacePage, PlacesArgs
from chaincode.schema.plans import PlanTerms
from client.consortium import Consortium

MOST_SLOTS = 64


def taken(consortium: Consortium, plan_id: str) -> tuple[Place, ...]:
    """Places of the caller's hospital in a plan that were ever taken, by number."""
    args = PlacesArgs(plan_id=plan_id, msp_id=consortium.identity.msp_id, page_size=MOST_SLOTS)
    return consortium.evaluate("plan:Places", args, PlacePage).places


def join(consortium: Consortium, terms: PlanTerms, dataset_id: str) -> Place:
    """Join a plan as the caller's node, in a free place of its hospital.

    Raises:
        MedFabricError: ``PLACE_TAKEN`` where none is free, or another node was faster: try again;
            or refused, because the plan's rule does not admit this node with this dataset.
    """
    slot = free_slot(terms, taken(consortium, terms.plan_id), consortium.identity.name)
    args = JoinPlanArgs(plan_id=terms.plan_id, dataset_id=dataset_id, slot=slot)
    return consortium.submit("plan:Join", args, Place)


def free_slot(terms: PlanTerms, places: Sequence[Place], node_id: str) -> int:
    """A free place, spread by the node's name: nodes that join at once seldom want the same.

    Raises:
        MedFabricError: ``NOT_ELIGIBLE`` where the plan admits none, ``PLACE_TAKEN`` where all are
            taken.
    """
    rule = terms.participation.dynamic
    if rule is None:
        raise MedFabricError(
            Code.NOT_ELIGIBLE, f"{terms.plan_id} admits no nodes but those that it names"
        )
    occupied = {place.slot for place in places if place.left_at is None}
    free = [slot for slot in range(rule.slots) if slot not in occupied]
    if not free:
        raise MedFabricError(
            Code.PLACE_TAKEN, f"all {rule.slots} places of this hospital are taken; wait for one"
        )
    start = int.from_bytes(hashlib.sha256(node_id.encode()).digest()[:8], "big")
    return free[start % len(free)]
