"""Health applications: one module each. Other packages add theirs under the entry-point group
:data:`GROUP`: a name and an :class:`~trainer.applications.application.Application`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from chaincode.schema.errors import Code, MedFabricError
from trainer.applications.application import Application

__all__ = ["GROUP", "NAMES", "Application", "find"]

GROUP = "medfabric.applications"
_OURS = {
    "breast-cancer": "breast_cancer",
    "deterioration": "deterioration",
    "diabetes": "diabetes",
    "drowsiness": "drowsiness",
    "ecg": "ecg",
    "fall": "fall",
    "fever": "fever",
    "kidney": "kidney",
    "skin": "skin",
    "symptoms": "symptoms",
}
NAMES = tuple(_OURS)
"""Our own, by their ids on the ledger."""


def find(name: str) -> Application:
    """An application by its id.

    Raises:
        MedFabricError: ``APPLICATION_UNKNOWN``.
    """
    if name in _OURS:
        found = import_module(f"trainer.applications.{_OURS[name]}").APPLICATION
    else:
        others = entry_points(group=GROUP)
        if name not in others.names:
            known = ", ".join(sorted({*_OURS, *others.names}))
            raise MedFabricError(
                Code.APPLICATION_UNKNOWN, f"no application {name}; there are {known}"
            )
        found = others[name].load()
    if not isinstance(found, Application):
        raise MedFabricError(
            Code.APPLICATION_UNKNOWN, f"{name} is no application; its package must give one"
        )
    return found
