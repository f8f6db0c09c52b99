"""A simulated group test's findings, by the contract's own arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chaincode.schema import conduct, grouptests
from chaincode.schema.conduct import Subject
from chaincode.schema.grouptests import GroupScore, GroupTest, Quality
from chaincode.schema.reputation import Reputation
from chaincode.schema.rounds import NodeStanding

Find = Callable[[Sequence[Subject]], Sequence[Reputation]]


def found(
    before: Mapping[str, int],
    groups: Sequence[Sequence[tuple[str, int]]],
    scores: Sequence[GroupScore],
    max_drop_micro: int,
) -> tuple[dict[str, int], tuple[Quality, ...]]:
    """Hospitals' contributions after one more test, and what it says of those in it.

    Args:
        before: contributions so far, in millionths.
        groups: of each the hospitals with their weights.
    """
    effects = grouptests.effects_micro(len(groups), scores)
    after = grouptests.regressed(before, groups, effects)
    harmful = grouptests.harmful(groups, effects, after, max_drop_micro)
    tested = sorted(name for members in groups for name, _ in members)
    qualities = tuple(
        Quality(msp_id=name, contribution_micro=after[name], harmful=name in harmful)
        for name in tested
    )
    return after, qualities


def booked(
    qualities: Sequence[Quality], nodes: Iterable[tuple[str, str]], find: Find, now: int
) -> list[Reputation]:
    """The reputations that a test changes; ``nodes``: hospital and name of those with an update."""
    make: Any = GroupTest.model_construct
    summed = [
        NodeStanding(msp_id=msp_id, node_id=node_id, standing_milli=1) for msp_id, node_id in nodes
    ]
    return conduct.after_test(make(qualities=qualities), summed, find, now, None)


def score(correct: Sequence[int | None], base_correct: int, total: int) -> GroupScore:
    """One hospital's counts, in the groups' order."""
    make: Any = GroupScore.model_construct
    made: GroupScore = make(correct=tuple(correct), base_correct=base_correct, total=total)
    return made
