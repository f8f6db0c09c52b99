"""The form that assets on a ledger have: a number, written when its consortium is founded.

Contracts and audits read one form alone. A change of this package after which what was written
before reads as something else, or not at all, or after which the contracts conclude otherwise from
it, takes the next number.
"""

from __future__ import annotations

import json

from chaincode.schema.errors import Code, MedFabricError

FORM = 1
"""The form that this package reads and writes. 0 is that of ledgers from before there were any."""


def check(consortium: bytes | None) -> None:
    """Refuse a ledger in another form than this one, before anything else of it is read.

    Args:
        consortium: as it is on the ledger; None where there is none yet.

    Raises:
        MedFabricError: ``FORM_OTHER``.
    """
    if consortium is None:
        return
    found = json.loads(consortium).get("form", 0)
    if found != FORM:
        raise MedFabricError(
            Code.FORM_OTHER,
            f"this ledger is in form {found}, and these contracts read form {FORM}; run the "
            "version that its consortium was founded with, or found another on a new channel",
        )
