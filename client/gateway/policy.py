"""How long each stage may take, and how often it is tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """Seconds per call and numbers of tries.

    ``proposals``: new proposals after a conflict with another transaction. ``sends``: how often
    the same signed bytes are sent for ordering while it is unclear whether they arrived.
    ``asks``: how often the commit status is asked for.
    """

    evaluate_seconds: float = 30.0
    endorse_seconds: float = 30.0
    submit_seconds: float = 15.0
    commit_seconds: float = 20.0
    proposals: int = 6
    sends: int = 3
    asks: int = 3
