"""How simulated nodes behave: honest ones with their faults, and kinds of attack.

All of it is simulated. Rates and harms are drawn for each node from ranges that were chosen, not
measured: no record of real attacks on such consortia is public.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np


class Kind(StrEnum):
    """What a node is. All but HONEST are attacks, named by what the attacker does."""

    HONEST = "honest"
    FREE_RIDER = "free rider"
    """Sends an update it did not train, mostly at once."""
    LABEL_FLIPPER = "label flipper"
    """Trains on swapped labels."""
    SCALER = "scaler"
    """Sends an update as large as the clip allows, away from the others'."""
    BACKDOOR = "backdoor"
    """Teaches a trigger; accuracy on ordinary records hardly moves."""
    RANDOM_UPDATES = "random updates"
    """Sends noise, at once."""
    GARBLER = "garbler"
    """Names updates whose content nobody can use."""
    ABSENTEE = "absentee"
    """Enrols and then mostly stays away, so that rounds wait and miss their quorum."""
    FORGER = "forger"
    """Attests another aggregate than the sum, alone."""
    COLLUDERS = "colluders"
    """Several hospitals attest the same wrong aggregate, and vote alike."""
    SHARE_WITHHOLDER = "share withholder"
    """Lets rounds die at decryption, where every share is needed."""
    SHARE_SPOILER = "share spoiler"
    """Posts decryption shares that decrypt nothing; half of them of a form that shows it."""
    VOTE_SPOILER = "vote spoiler"
    """Votes against what it sees."""
    ON_OFF = "on-off forger"
    """Forges for some rounds, then earns its reputation back, and again."""


OF_VALIDATORS = frozenset(
    {
        Kind.FORGER,
        Kind.COLLUDERS,
        Kind.SHARE_WITHHOLDER,
        Kind.SHARE_SPOILER,
        Kind.VOTE_SPOILER,
        Kind.ON_OFF,
    }
)
"""Attacks that only a hospital's validator can carry out."""
ATTACKS = tuple(kind for kind in Kind if kind is not Kind.HONEST)


@dataclass(frozen=True)
class Profile:
    """One node's habits. Probabilities are per round, harms in accuracy if it were alone."""

    kind: Kind
    available: float
    """That an update comes in time."""
    seconds: float
    """Median time to train."""
    on_duty: float
    """That a validator's post comes in time."""
    harm: float = 0.0
    """Accuracy that its updates cost; negative would be gain."""
    attack: float = 0.0
    """That it attacks in a round."""
    hasty: float = 0.0
    """That an attacking update comes at once."""
    period: int = 0
    """Rounds of attack, then as many without; 0 is always."""
    forge: float = 0.0
    withhold: float = 0.0
    spoil: float = 0.0
    lie: float = 0.0
    garble: float = 0.0

    def attacks(self, rng: np.random.Generator, number: int) -> bool:
        """Whether it attacks in this round of a plan."""
        on = not self.period or (number // self.period) % 2 == 1
        return on and rng.random() < self.attack


Draw = np.random.Generator


def honest(rng: Draw) -> Profile:
    """An honest node: a machine from a GPU server to a small board, one in five on a poor line,
    one in thirty on poor data, any with a rare fault of software."""
    flaky, poor = rng.random() < 0.2, rng.random() < 1 / 30
    return Profile(
        kind=Kind.HONEST,
        available=rng.uniform(0.65, 0.92) if flaky else rng.uniform(0.94, 1.0),
        seconds=float(np.exp(rng.normal(4.5, 1.0))),
        on_duty=rng.uniform(0.93, 0.99) if flaky else rng.uniform(0.985, 1.0),
        harm=rng.uniform(0.0, 0.15) if poor else 0.0,
        attack=rng.uniform(0.0, 0.004),
        forge=1.0,
        garble=0.5,
    )


_CHANGES: Mapping[Kind, Callable[[Draw], dict[str, Any]]] = {
    Kind.FREE_RIDER: lambda r: {"hasty": r.uniform(0.3, 1.0), "attack": r.uniform(0.6, 1.0)},
    Kind.LABEL_FLIPPER: lambda r: {"harm": r.uniform(0.2, 0.8), "attack": r.uniform(0.4, 1.0)},
    Kind.SCALER: lambda r: {"harm": r.uniform(0.6, 2.0), "attack": r.uniform(0.1, 0.7)},
    Kind.BACKDOOR: lambda r: {"harm": r.uniform(0.0, 0.02), "attack": r.uniform(0.3, 1.0)},
    Kind.RANDOM_UPDATES: lambda r: {
        "harm": r.uniform(0.4, 1.2),
        "attack": r.uniform(0.3, 1.0),
        "hasty": r.uniform(0.3, 1.0),
    },
    Kind.GARBLER: lambda r: {"garble": 1.0, "attack": r.uniform(0.1, 0.6)},
    Kind.ABSENTEE: lambda r: {"available": r.uniform(0.1, 0.55)},
    Kind.FORGER: lambda r: {"forge": 1.0, "attack": r.uniform(0.08, 0.6)},
    Kind.COLLUDERS: lambda r: {"forge": 1.0, "lie": 0.5, "attack": r.uniform(0.08, 0.6)},
    Kind.SHARE_WITHHOLDER: lambda r: {"withhold": 1.0, "attack": r.uniform(0.1, 0.6)},
    Kind.SHARE_SPOILER: lambda r: {"spoil": 1.0, "attack": r.uniform(0.1, 0.6)},
    Kind.VOTE_SPOILER: lambda r: {"lie": 1.0, "attack": r.uniform(0.3, 1.0)},
    Kind.ON_OFF: lambda r: {
        "forge": 1.0,
        "attack": r.uniform(0.2, 0.8),
        "period": int(r.integers(3, 10)),
    },
}


def malicious(rng: Draw, kind: Kind) -> Profile:
    """An attacker of a kind: an honest node's habits, changed where it attacks."""
    habits = replace(honest(rng), kind=kind, harm=0.0, forge=0.0, garble=0.0, attack=0.0)
    return replace(habits, **_CHANGES[kind](rng))
