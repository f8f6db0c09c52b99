"""Group tests: sums over random groups of hospitals, decrypted and scored, to find who does harm.

A round's updates are encrypted; what is decrypted is their sum. Where a plan allows it, the sums
over a few disjoint groups are decrypted too, each group's candidate is evaluated by every hospital
on its own records, and what a group did is regressed to its members, round by round. In whole
numbers throughout.

What that tells beside the whole: the groups' sums, and nothing finer. A member of a group that
knows the updates of all its others, by collusion, learns the last one; ``least_group`` says how
many that takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema import canonical
from chaincode.schema.base import (
    ContentRef,
    Count,
    Id,
    Language,
    MspId,
    Reason,
    RoundNumber,
    Seconds,
    Sha256,
)

_DOMAIN = b"medfabric draw v1\x00"
ONE = 10**6
MOST_UPDATES = 64
"""Of a round with a group test: one page of its nodes."""
CLEAR_OF_SPREAD = 3
"""A member does harm where it is so many times the groups' spread below the others."""

MOST = 64 * ONE
Signed = Annotated[int, Field(ge=-MOST, le=MOST)]
"""Gain in accuracy of a sum of one member's updates alone, in millionths, as a group's gain and the
member's weight in it suggest: it may be more than all. Negative for a loss."""


class GroupTestStatus(StrEnum):
    DRAWN = "DRAWN"
    SUMMED = "SUMMED"
    DECRYPTED = "DECRYPTED"
    SCORED = "SCORED"
    FAILED = "FAILED"


class Group(Language):
    """Hospitals whose nodes' updates are summed."""

    members: tuple[MspId, ...]


class Quality(Language):
    """What a hospital's updates do to a model's accuracy, beside the others', as regressed over
    the plan's tests so far."""

    msp_id: MspId
    contribution_micro: Signed
    harmful: bool


class GroupTest(Language):
    """The test of one round: ``groups`` hold everybody who contributed. ``key_holders`` are the
    round's. ``absent``: hospitals that a stage ended without."""

    plan_id: Id
    round: RoundNumber
    status: GroupTestStatus
    seed_sha256: Sha256
    groups: tuple[Group, ...]
    key_holders: tuple[MspId, ...]
    opened_at: Seconds
    changed_at: Seconds
    deadline: Seconds
    sums_sha256: Sha256 | None = None
    absent: tuple[MspId, ...] = ()
    qualities: tuple[Quality, ...] = ()
    failure: str | None = None
    reason: Reason = ""


class GroupAttestation(Language):
    """The groups' sums as this hospital computed them."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    sums_sha256: Sha256
    posted_at: Seconds


class GroupShare(Language):
    """Decryption shares of the groups' sums, in the groups' order."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    sums_sha256: Sha256
    shares: tuple[ContentRef, ...]
    posted_at: Seconds


Correct = Annotated[int, Field(ge=0, le=2**40)] | None
"""Correct predictions of a group's candidate; None where the group's sum exceeds its range or the
norm that the plan allows."""


class GroupScore(Language):
    """Every group's candidate on this hospital's validation records, in the groups' order."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    correct: tuple[Correct, ...]
    base_correct: Count
    total: Count
    posted_at: Seconds


class Regression(Language):
    """What the plan's tests so far say of each hospital; sorted by it."""

    plan_id: Id
    round: RoundNumber
    contributions_micro: Annotated[dict[MspId, Signed], Field(max_length=64)]


# Arguments


class GroupTestArgs(Language):
    plan_id: Id
    round: RoundNumber


class AttestGroupsArgs(Language):
    plan_id: Id
    round: RoundNumber
    sums_sha256: Sha256


class ShareGroupsArgs(Language):
    plan_id: Id
    round: RoundNumber
    sums_sha256: Sha256
    shares: Annotated[tuple[ContentRef, ...], Field(min_length=1, max_length=63)]


class ScoreGroupsArgs(Language):
    plan_id: Id
    round: RoundNumber
    correct: Annotated[tuple[Correct, ...], Field(min_length=2, max_length=64)]
    base_correct: Count
    total: Count


# Results


class GroupTestView(Language):
    """``test`` is None where the round has none."""

    test: GroupTest | None
    attestations: tuple[GroupAttestation, ...] = ()
    shares: tuple[GroupShare, ...] = ()
    scores: tuple[GroupScore, ...] = ()


# The draw


def commitment(secret: str) -> str:
    """What a hospital attests before it shows its part of the draw, a hex string."""
    return hashlib.sha256(_DOMAIN + bytes.fromhex(secret)).hexdigest()


def seed_sha256(plan_id: str, number: int, aggregate_sha256: str, secrets: Sequence[str]) -> str:
    """What the groups are drawn by: nobody could choose it who did not know all the others'
    secrets, and they were committed to before any was shown."""
    draw = {"plan": plan_id, "round": number, "aggregate": aggregate_sha256}
    return canonical.sha256({**draw, "secrets": list(secrets)})


def draw(
    seed: str, hospitals: Sequence[str], tests: int, least: int
) -> tuple[tuple[str, ...], ...]:
    """Disjoint random groups of all hospitals, as equal in size as can be.

    Args:
        tests: groups whose sums may be decrypted.
        least: hospitals of the smallest group.

    Returns:
        Nothing where that leaves fewer than two groups.
    """
    number = min(tests, len(hospitals) // least)
    if number < 2:
        return ()
    order = sorted(hospitals, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    return tuple(tuple(sorted(order[place::number])) for place in range(number))


# What a test says


def effects_micro(groups: int, scores: Sequence[GroupScore]) -> list[int]:
    """What every group's candidate gains over the base model: the median of the hospitals.

    Fewer than half of them cannot move it beyond what an honest one found. A group whose sum
    exceeds its range or norm is as bad as can be: one of its members broke the rules of encryption.
    """
    judging = [score for score in scores if score.total]
    return [_median([_gain(score, place) for score in judging]) for place in range(groups)]


def regressed(
    before: Mapping[str, int],
    groups: Sequence[Sequence[tuple[str, int]]],
    effects: Sequence[int],
) -> dict[str, int]:
    """Members' contributions after one more test.

    Each group says that its members' contributions, by their weights, are its effect less that of
    the usual group. What the contributions so far do not explain is added to each of its members'
    alike, for nothing tells them apart yet: a step of Kaczmarz's method (1937) towards the least
    squares, in the norm that counts a member by its weight.

    Args:
        before: contributions so far, in millionths; who is not in it has none.
        groups: of each the members with their weights.
    """
    after = dict(before)
    usual = sorted(effects)[len(effects) // 2]
    for members, effect in zip(groups, effects, strict=True):
        whole = sum(weight for _, weight in members)
        explained = sum(weight * before.get(name, 0) for name, weight in members) // whole
        rest = effect - usual - explained
        for name, _ in members:
            after[name] = max(-MOST, min(MOST, before.get(name, 0) + rest))
    return after


def harmful(
    groups: Sequence[Sequence[tuple[str, int]]],
    effects: Sequence[int],
    contributions: Mapping[str, int],
    max_drop_micro: int,
) -> frozenset[str]:
    """Whom a test blames: of a group that lost more than the limit beside the best one, the member
    of the least contribution, where that is below the limit and no other member's is as low.

    Who was merely drawn with an attacker contributes as little at first: then nobody is blamed, and
    the next draws tell them apart. The limit is what the plan lets a candidate lose; more where
    groups differ more than that by chance.

    Args:
        groups: of each the members with their weights.
        effects: the groups', in millionths.
        contributions: with this test's, in millionths.
    """
    limit = -max(max_drop_micro, CLEAR_OF_SPREAD * _spread(effects))
    found = set()
    for members, effect in zip(groups, effects, strict=True):
        (least, name), *others = sorted((contributions[name], name) for name, _ in members)
        alone = not others or others[0][0] > least
        if effect - max(effects) < limit and least < limit and alone:
            found.add(name)
    return frozenset(found)


def _spread(effects: Sequence[int]) -> int:
    usual = sorted(effects)[len(effects) // 2]
    return _median([abs(effect - usual) for effect in effects])


def _gain(score: GroupScore, place: int) -> int:
    correct = score.correct[place]
    return -ONE if correct is None else (correct - score.base_correct) * ONE // score.total


def _median(values: Sequence[int]) -> int:
    """The lower one of an even number."""
    return sorted(values)[(len(values) - 1) // 2]
