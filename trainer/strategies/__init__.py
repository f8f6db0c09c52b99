"""Federated strategies by name: one file each. Other packages add theirs under the entry-point
group :data:`GROUP`: a name and a :class:`~trainer.strategies.strategy.Strategy`."""

from __future__ import annotations

from importlib.metadata import entry_points

from chaincode.schema import strategies as known
from chaincode.schema.errors import Code, MedFabricError
from trainer.strategies import adam, averaging, momentum, proximal
from trainer.strategies.strategy import Strategy

__all__ = ["GROUP", "Strategy", "find"]

GROUP = "medfabric.strategies"
_OURS: dict[str, Strategy] = {
    known.Strategy.FEDAVG: averaging.FEDAVG,
    known.Strategy.FEDSGD: averaging.FEDSGD,
    known.Strategy.FEDPROX: proximal.FEDPROX,
    known.Strategy.FEDAVGM: momentum.FEDAVGM,
    known.Strategy.FEDADAM: adam.FEDADAM,
}


def find(name: str) -> Strategy:
    """A strategy by its name in a plan.

    Raises:
        MedFabricError: ``STRATEGY_UNKNOWN``.
    """
    if name in _OURS:
        return _OURS[name]
    others = entry_points(group=GROUP)
    if name not in others.names:
        known_here = ", ".join(sorted({*_OURS, *others.names}))
        raise MedFabricError(
            Code.STRATEGY_UNKNOWN,
            f"no strategy {name} on this node; there are {known_here}; install the package that "
            "brings it",
        )
    try:
        found, why = others[name].load(), ""
    except (ImportError, AttributeError) as error:
        found, why = None, f" ({error})"
    if not isinstance(found, Strategy):
        raise MedFabricError(
            Code.STRATEGY_UNKNOWN,
            f"{others[name].value} gives no Strategy{why}; correct the package that brings {name}",
        )
    return found
