"""How often a plan's group tests blame the honest, by how many groups they draw."""

from __future__ import annotations

import random

from chaincode.schema import grouptests

HOSPITALS = [f"hospital{number}" for number in range(9)]
ATTACKER = HOSPITALS[0]
ROUNDS, SEEDS, MAX_DROP_MICRO = 6, 60, 50_000


def _blamed(groups: int) -> tuple[float, float]:
    """Shares of an honest hospital's and of the attacker's rounds in which it is blamed.

    One of nine costs a sum 0.3 of accuracy by its weight; all differ by 0.02 by chance.
    """
    honest = attacker = 0
    for seed in range(SEEDS):
        chance, known = random.Random(seed), dict[str, int]()
        for number in range(ROUNDS):
            drawn = grouptests.draw(f"{seed} {number}", HOSPITALS, groups, 3)
            effects = [
                round(chance.gauss(-300_000 * (ATTACKER in members), 20_000 * 3**0.5) / 3)
                + round(chance.gauss(0, 20_000))
                for members in drawn
            ]
            weighed = [[(name, 1) for name in members] for members in drawn]
            known = grouptests.regressed(known, weighed, effects)
            least = grouptests.harmful_below(effects, MAX_DROP_MICRO)
            attacker += known[ATTACKER] < least
            honest += sum(known[name] < least for name in HOSPITALS[1:])
    rounds = SEEDS * ROUNDS
    return honest / (rounds * (len(HOSPITALS) - 1)), attacker / rounds


def test_three_groups_blame_the_honest_less_than_half_as_often_as_two():
    (honest_of_two, of_two), (honest_of_three, of_three) = _blamed(2), _blamed(3)

    assert honest_of_three < honest_of_two / 2
    assert min(of_two, of_three) > 0.75
