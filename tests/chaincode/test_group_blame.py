"""How often a plan's group tests blame the honest, by how many groups they draw."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from chaincode.schema import grouptests

HOSPITALS = [f"hospital{number}" for number in range(9)]
SEEDS, MAX_DROP_MICRO = 60, 50_000


def _blamed(groups: int, attackers: int, rounds: int = 12) -> tuple[float, float]:
    """Shares of an honest hospital's and of an attacker's rounds in which it is blamed.

    An attacker costs a sum 0.3 of accuracy by its weight; groups differ by 0.02 by chance, and
    hospitals weigh one to four.
    """
    bad, honest, hits = HOSPITALS[:attackers], 0, 0
    for seed in range(SEEDS):
        chance, known = random.Random(seed), dict[str, int]()
        weights = {name: chance.choice((60, 100, 150, 240)) for name in HOSPITALS}
        for number in range(rounds):
            drawn = grouptests.draw(f"{seed} {number}", HOSPITALS, groups, 3)
            weighed = [[(name, weights[name]) for name in members] for members in drawn]
            effects = [
                -300_000 * _of(members, bad) // _of(members, HOSPITALS)
                + round(chance.gauss(0, 20_000))
                for members in weighed
            ]
            known = grouptests.regressed(known, weighed, effects)
            found = grouptests.harmful(weighed, effects, known, MAX_DROP_MICRO)
            hits += len(found & {*bad})
            honest += len(found - {*bad})
    return honest / (SEEDS * rounds * (9 - attackers)), hits / (SEEDS * rounds * max(1, attackers))


@pytest.mark.parametrize(("groups", "found"), [(2, 0.35), (3, 0.5)])
def test_one_attacker_is_blamed_and_hardly_ever_who_was_drawn_with_it(
    groups: int, found: float
) -> None:
    honest, attacker = _blamed(groups, 1)

    assert honest < 0.01
    assert attacker > found


@pytest.mark.parametrize("groups", [2, 3])
def test_where_nobody_attacks_chance_blames_hardly_anybody(groups: int) -> None:
    assert _blamed(groups, 0)[0] < 0.01


def _of(members: Sequence[tuple[str, int]], whom: Sequence[str]) -> int:
    return sum(weight for name, weight in members if name in whom)
