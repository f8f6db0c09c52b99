"""What a plan would spend of its patients' privacy, and what that buys, before it is proposed.

All losses are the ledger's own (:mod:`chaincode.schema.accounting`), charged as it charges them:
every round's update by itself, rounded upwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from chaincode.schema import accounting
from chaincode.schema.errors import Code, MedFabricError

EPSILONS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
"""For which the noise and its utility are shown."""
MOST_ROUNDS = 10_000
_MOST_NOISE_MILLI = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What the loss follows from. ``samples``: training records of the smallest dataset;
    ``batch_size``: expected size of a Poisson batch; ``steps``: of one round;
    ``noise_micro``: the noise multiplier in 1e-6; ``delta_nano`` in 1e-9."""

    samples: int
    batch_size: int
    steps: int
    rounds: int
    noise_micro: int
    delta_nano: int

    @property
    def sampling_rate(self) -> float:
        """With which a record is in a batch."""
        return self.batch_size / self.samples

    def epsilon_micro(self, rounds: int | None = None) -> int:
        """Spent after so many rounds, in 1e-6; after all of them where none are named.

        Raises:
            ValueError: a number has no meaning, as of :func:`chaincode.schema.accounting.rdp_pico`.
        """
        each = accounting.rdp_pico(self.batch_size, self.samples, self.noise_micro, self.steps)
        number = self.rounds if rounds is None else rounds
        return accounting.epsilon_micro([number * loss for loss in each], self.delta_nano)

    def by_round(self, points: int = 40) -> list[tuple[int, float]]:
        """(round, epsilon) from the first round to the last, at most so many points."""
        numbers = sorted({1 + (self.rounds - 1) * i // (points - 1) for i in range(points)})
        return [(number, self.epsilon_micro(number) / 1e6) for number in numbers]


@lru_cache(maxsize=64)
def with_noise(plan: Plan, epsilon_micro: int) -> Plan:
    """The plan with the least noise multiplier, in steps of 0.001, that keeps it within epsilon.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where none up to 1000 does.
    """

    def within(milli: int) -> bool:
        return replace(plan, noise_micro=1000 * milli).epsilon_micro() <= epsilon_micro

    found = least(within, 100, _MOST_NOISE_MILLI)
    if found is None:
        raise nothing("no noise multiplier up to 1000 keeps this plan within its epsilon")
    return replace(plan, noise_micro=1000 * found)


def with_rounds(plan: Plan, epsilon_micro: int) -> Plan:
    """The plan with the most rounds, up to 10000, that epsilon allows at its noise.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where not even one is.
    """
    beyond = least(
        lambda n: replace(plan, rounds=n).epsilon_micro() > epsilon_micro, 1, MOST_ROUNDS
    )
    if beyond == 1:
        raise nothing("this noise does not keep a single round within epsilon")
    return replace(plan, rounds=MOST_ROUNDS if beyond is None else beyond - 1)


def with_batch(plan: Plan, epsilon_micro: int) -> Plan:
    """The plan with the largest batch that epsilon allows at its noise and rounds.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where not even a single record is.
    """
    beyond = least(
        lambda n: replace(plan, batch_size=n).epsilon_micro() > epsilon_micro, 1, plan.samples
    )
    if beyond == 1:
        raise nothing("at this noise a batch of one record is too large already")
    return replace(plan, batch_size=plan.samples if beyond is None else beyond - 1)


def drift(plan: Plan, hospitals: int, parameters: int) -> float:
    """Expected utility: how far training can move the model, over how far the noise moves it.

    In all T steps the clipped gradients of the hospitals' mean move the model by at most T clips;
    the noise, of deviation sigma / batch clips in each of d parameters at each of K hospitals, by
    about sigma sqrt(T d / K) / batch. The quotient, sqrt(T K / d) batch / sigma, is the larger
    the better; below 1 the noise drowns whatever is learned. The same quotient governs the excess
    risk of private convex optimisation (Bassily, Smith, Thakurta 2014, theorem 2.4).
    """
    steps = plan.steps * plan.rounds
    noise = plan.noise_micro / 1e6
    return math.sqrt(steps * hospitals / parameters) * plan.batch_size / noise


def trade(plan: Plan, epsilons: Sequence[float] = EPSILONS) -> Iterator[tuple[float, Plan]]:
    """The plan at the noise that each epsilon needs; those that no noise keeps are left out."""
    for epsilon in epsilons:
        try:
            yield epsilon, with_noise(plan, round(epsilon * 1e6))
        except MedFabricError:
            continue


def least(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number in [low, high] for which a monotone condition holds, or None."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def nothing(why: str) -> MedFabricError:
    """What is answered where nothing is left to choose."""
    return MedFabricError(Code.BAD_ARGUMENT, f"{why}; ask for less, or for a larger epsilon")
