"""What a plan that hides hospitals would tell of one, and what that buys, before it is proposed.

All losses are the ledger's own (:mod:`chaincode.schema.hospitals`), charged as it charges them:
every decrypted sum by itself, rounded upwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from chaincode.schema import accounting
from chaincode.schema.hospitals import HospitalSpending
from client.budget import EPSILONS, MOST_ROUNDS, least, nothing

MOST_HOSPITALS = 1024


@dataclass(frozen=True)
class Plan:
    """What the loss follows from. ``quorum``: updates of a round, one a hospital, of which those of
    ``colluding`` hide nobody; ``parameters``: of the model; ``norm_levels``: largest L2 norm of an
    update, and ``noise_levels``: deviation of each hospital's noise in every value, both in levels
    of the encryption's clip; ``delta_nano`` in 1e-9."""

    quorum: int
    colluding: int
    parameters: int
    rounds: int
    norm_levels: int
    noise_levels: int
    delta_nano: int

    @property
    def noise(self) -> float:
        """Deviation of each hospital's noise over the norm."""
        return self.noise_levels / self.norm_levels

    def epsilon_micro(self, rounds: int | None = None) -> int:
        """Told of a hospital after so many rounds, in 1e-6; after all where none are named.

        Raises:
            ValueError: a number has no meaning, as of
                :func:`chaincode.schema.accounting.summed_rdp_pico`.
        """
        spending = HospitalSpending(
            plan_id="planned",
            msp_id="Hospital1MSP",
            norm_levels=self.norm_levels,
            noise_levels=self.noise_levels,
            summands=self.quorum - self.colluding,
            values=self.parameters,
            sums=self.rounds if rounds is None else rounds,
            epsilon_micro=0,
        )
        return accounting.epsilon_micro(spending.rdp_pico(), self.delta_nano)

    def by_round(self, points: int = 40) -> list[tuple[int, float]]:
        """(round, epsilon) from the first round to the last, at most so many points."""
        numbers = sorted({1 + (self.rounds - 1) * i // (points - 1) for i in range(points)})
        return [(number, self.epsilon_micro(number) / 1e6) for number in numbers]


def with_noise(plan: Plan, epsilon_micro: int) -> Plan:
    """The plan with the least noise that keeps it within epsilon.

    Raises:
        ValueError: none does.
    """
    found = accounting.calibrate_summed(
        plan.norm_levels,
        plan.quorum - plan.colluding,
        plan.parameters,
        plan.rounds,
        epsilon_micro,
        plan.delta_nano,
    )
    return replace(plan, noise_levels=found)


def with_rounds(plan: Plan, epsilon_micro: int) -> Plan:
    """The plan with the most rounds, up to 10000, that epsilon allows at its noise.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where not even one is.
    """
    beyond = least(lambda n: plan.epsilon_micro(n) > epsilon_micro, 1, MOST_ROUNDS)
    if beyond == 1:
        raise nothing("this noise does not keep a single round within epsilon")
    return replace(plan, rounds=MOST_ROUNDS if beyond is None else beyond - 1)


def with_quorum(plan: Plan, epsilon_micro: int) -> Plan:
    """The plan with the least quorum, up to 1024, whose noises together keep it within epsilon.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where none does.
    """
    found = least(
        lambda n: replace(plan, quorum=n).epsilon_micro() <= epsilon_micro,
        plan.colluding + 1,
        MOST_HOSPITALS,
    )
    if found is None:
        raise nothing("no quorum up to 1024 keeps this noise within epsilon")
    return replace(plan, quorum=found)


def drift(plan: Plan) -> float:
    """Expected utility: how far all rounds can move the model, over how far the noise moves it.

    In R rounds the mean of K updates moves the model by at most R norms; the noise, of z norms in
    each of d parameters at each of K hospitals, by about z sqrt(R d / K). The quotient,
    sqrt(R K / d) / z, is the larger the better; below 1 the noise drowns whatever is learned.
    """
    return math.sqrt(plan.rounds * plan.quorum / plan.parameters) / plan.noise


def trade(plan: Plan, epsilons: Sequence[float] = EPSILONS) -> Iterator[tuple[float, Plan]]:
    """The plan at the noise that each epsilon needs; those that no noise keeps are left out."""
    for epsilon in epsilons:
        try:
            yield epsilon, with_noise(plan, round(epsilon * 1e6))
        except ValueError:
            continue
