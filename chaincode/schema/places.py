"""Places in a plan: how nodes that come and go take part in it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chaincode.schema.base import Id, Language, MspId, PageArgs, Seconds

Slot = Annotated[int, Field(ge=0, le=63)]


class Place(Language):
    """One of a hospital's numbered places in a plan and who has it, from the next round to open on.

    Numbered, so that a round finds its nodes by reading as many keys as the plan has places,
    however many nodes the hospitals have; a key each, so that nodes join without conflict. Free
    again once ``left_at`` is set; the round that was open then still counts on the node.
    """

    plan_id: Id
    msp_id: MspId
    slot: Slot
    node_id: Id
    dataset_id: Id
    joined_at: Seconds
    left_at: Seconds | None = None


# Arguments


class JoinPlanArgs(Language):
    """``slot`` is a free place of the caller's hospital; ``plan:Places`` lists those taken."""

    plan_id: Id
    dataset_id: Id
    slot: Slot


class LeavePlanArgs(Language):
    """``node_id`` is the caller's own, or for an admin any of the hospital's."""

    plan_id: Id
    node_id: Id


class PlacesArgs(PageArgs):
    """``msp_id``: places of one hospital only."""

    plan_id: Id
    msp_id: MspId | None = None


# Results


class PlacePage(Language):
    """Places that were ever taken, by hospital and number."""

    places: tuple[Place, ...]
    bookmark: str
