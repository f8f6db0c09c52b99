"""Federated strategies that the contracts know: their settings and bounds.

A plan may name another one, from a package that its hospitals' nodes have installed; the contract
then leaves its settings to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Strategy(StrEnum):
    """Federated averaging and federated SGD, one step a round (both McMahan et al. 2017,
    "Communication-Efficient Learning of Deep Networks from Decentralized Data"); averaging with a
    proximal term (Li et al. 2020, "Federated Optimization in Heterogeneous Networks"); averaging
    with momentum or Adam on the mean update (Reddi et al. 2021, "Adaptive Federated
    Optimization")."""

    FEDAVG = "fedavg"
    FEDSGD = "fedsgd"
    FEDPROX = "fedprox"
    FEDAVGM = "fedavgm"
    FEDADAM = "fedadam"


_RATE = (1, 10**9)
_PART = (0, 10**6 - 1)
SETTINGS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    Strategy.FEDAVG: {},
    Strategy.FEDSGD: {},
    Strategy.FEDPROX: {"mu": (1, 10**9)},
    Strategy.FEDAVGM: {"server_rate": _RATE, "momentum": _PART},
    Strategy.FEDADAM: {"server_rate": _RATE, "beta1": _PART, "beta2": _PART, "tau": (1, 10**9)},
}
"""Least and most of every setting, all in 1e-6; a plan names each of its strategy's, no other."""


def problem(strategy: str, settings: Mapping[str, int]) -> str | None:
    """What is wrong with a strategy's settings, or None."""
    bounds = SETTINGS.get(strategy)
    if bounds is None:
        return None
    if settings.keys() != bounds.keys():
        needed = f"needs the settings {', '.join(sorted(bounds))}, each in millionths and no other"
        there = ", ".join(sorted(settings)) or "none"
        wanted = needed if bounds else "takes no settings"
        return f"the strategy {strategy} {wanted}; the plan has {there}"
    for name, value in sorted(settings.items()):
        least, most = bounds[name]
        if not least <= value <= most:
            return f"{name} of {strategy} is from {least} to {most} millionths, not {value}"
    return None
