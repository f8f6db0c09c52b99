"""A validator keeps its hospital's endorsement policies those of the members of today."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from chaincode.schema.base import Role
from client import policies
from client.consortium import Consortium
from trainer.node.agent import Due
from trainer.node.duties import Duty, Me, Task

SECONDS = 2.0
"""Between two looks at the ledger: members change rarely."""


class Policies:
    """Finds out that members have changed, and renews."""

    def __init__(self, me: Me, consortium: Consortium) -> None:
        self._me = me
        self._consortium = consortium
        self._again = 0.0

    def due(self) -> Iterator[Due]:
        """The renewal, where members have changed since the last; soon after a look, the time of
        the next: what happens in between would otherwise be seen when something else happens."""
        if Role.VALIDATOR not in self._me.roles:
            return
        if (wait := self._again - time.monotonic()) > 0:
            opens = math.ceil(time.time() + wait)
            yield Duty(Task.RENEW_POLICIES, subject=self._me.msp_id, not_before=opens), self._renew
        elif policies.due(self._consortium):
            yield Duty(Task.RENEW_POLICIES, subject=self._me.msp_id), self._renew
        else:
            self._again = time.monotonic() + SECONDS

    def _renew(self) -> dict[str, int | str]:
        renewed, lost = policies.renew(self._consortium)
        return {"renewed": len(renewed), "lost": len(lost)}
