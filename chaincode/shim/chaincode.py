"""What a chaincode is, towards the shim."""

from __future__ import annotations

from typing import Protocol

from chaincode.shim.response import FAILED, OK, REFUSED, Response
from chaincode.shim.stub import Stub

__all__ = ["FAILED", "OK", "REFUSED", "Chaincode", "Response"]


class Chaincode(Protocol):
    """Called once per transaction, from many threads at once."""

    def invoke(self, stub: Stub) -> Response:
        """Run one transaction. An exception becomes status 500 and writes nothing."""
        ...
