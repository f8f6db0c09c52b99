"""What a transaction of a contract is, to whoever calls it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from pydantic import BaseModel


@dataclass(frozen=True)
class Declaration:
    """One transaction.

    ``name`` is ``CONTRACT:Transaction``. ``roles``: the caller's certificate must carry one of
    them; none means that anybody may call. ``writes``: submitted for ordering; else evaluated on
    one peer.
    """

    name: str
    args: type[BaseModel]
    result: type[BaseModel]
    roles: Set[str]
    writes: bool
    summary: str
