"""A hospital's chaincode service does not endorse what its own clock contradicts.

A client picks its transaction's time stamp, and deadlines are judged by it. A contract may not
read a clock; but a service may decline to endorse. With a majority of hospitals needed, a time
stamp that passes is right by a majority of hospitals' clocks, and what an endorsed transaction
reads and writes stays a function of the ledger and the proposal alone.
"""

from __future__ import annotations

import time

from chaincode.schema.errors import Code
from chaincode.shim.chaincode import Chaincode, Response
from chaincode.shim.stub import Stub


class ClockGuard:
    """Declines proposals whose time stamp is more than ``seconds`` off this machine's clock."""

    def __init__(self, chaincode: Chaincode, seconds: int) -> None:
        self._chaincode = chaincode
        self._seconds = seconds

    def invoke(self, stub: Stub) -> Response:
        """Run the transaction, or decline it with ``CLOCK_SKEW``."""
        skew = stub.seconds - int(time.time())
        if abs(skew) > self._seconds:
            return Response.refusal(
                f"{Code.CLOCK_SKEW}: the proposal's time is {skew} s off this hospital's clock; "
                "set the client's clock"
            )
        return self._chaincode.invoke(stub)
