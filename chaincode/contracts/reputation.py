"""Reputation of hospitals, from what the ledger itself knows."""

from __future__ import annotations

from collections.abc import Iterable

from chaincode.contracts.framework import Context
from chaincode.schema import keys
from chaincode.schema.consortium import Reputation

AGREED, DISAGREED, MISSED = 10, -200, -50


def record(
    context: Context,
    *,
    agreed: Iterable[str] = (),
    disagreed: Iterable[str] = (),
    missed: Iterable[str] = (),
) -> None:
    """Book the outcome of a stage on the hospitals' reputations."""
    agreed, disagreed, missed = set(agreed), set(disagreed), set(missed)
    hospitals = sorted(agreed | disagreed | missed)
    for before in context.existing([keys.reputation(h) for h in hospitals], Reputation):
        name = before.msp_id
        change = (
            AGREED * (name in agreed) + DISAGREED * (name in disagreed) + MISSED * (name in missed)
        )
        after = before.model_copy(
            update={
                "score_milli": min(1000, max(0, before.score_milli + change)),
                "agreements": before.agreements + (name in agreed),
                "disagreements": before.disagreements + (name in disagreed),
                "missed": before.missed + (name in missed),
            }
        )
        context.put(keys.reputation(name), after)
