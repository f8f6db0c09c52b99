"""A life in which every transaction, once carried out, is asked for again as it was."""

from __future__ import annotations

from typing import Any

from chaincode.schema.errors import Code
from chaincode.schema.transactions import TRANSACTIONS
from support.scenario import Scenario

REPEATABLE = {
    "dataset:SetBudget",
    "hospital:SetBudget",
    "private:Keep",
    "provenance:OpenAccess",
    "sharing:Grant",
    "sharing:Receive",
    "storage:Challenge",
    "storage:Hold",
    "study:Limit",
}
"""Which say the same again, or ask for another of its kind: nothing is counted twice by them."""


def repeating(life: Scenario) -> dict[str, Code]:
    """From now on, how the first repetition of each transaction is refused, by its name."""
    once, refused = life.do, dict[str, Code]()
    asked = set(REPEATABLE)

    def do(msp_id: str, name: str, *rest: Any, **named: Any) -> dict[str, Any]:
        result = once(msp_id, name, *rest, **named)
        if TRANSACTIONS[name].writes and name not in asked:
            asked.add(name)
            refused[name] = life.refused(msp_id, name, *rest, **named).code
        return result

    life.do = do  # type: ignore[method-assign]
    return refused
