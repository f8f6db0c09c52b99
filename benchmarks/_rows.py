"""What the benchmarks' rows share."""

from __future__ import annotations

from typing import Any


def alone(
    what: str, ours: float, unit: str, *, better: str = "lower", aim: str = "", runs: int = 1
) -> dict[str, Any]:
    """A row beside which no peer stands."""
    return {
        "what": what,
        "ours": ours,
        "peer": None,
        "peer_name": None,
        "unit": unit,
        "ratio": None,
        "better": better,
        "aim": aim,
        "runs": runs,
    }
