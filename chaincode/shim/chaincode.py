"""What a chaincode is, towards the shim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chaincode.shim.stub import Stub

OK, REFUSED, FAILED = 200, 400, 500


@dataclass(frozen=True)
class Response:
    """Outcome of a transaction. From status 400 on nothing is written and no peer endorses."""

    status: int
    message: str = ""
    payload: bytes = b""

    @classmethod
    def success(cls, payload: bytes = b"") -> Response:
        return cls(OK, "", payload)

    @classmethod
    def refusal(cls, message: str) -> Response:
        return cls(REFUSED, message)


class Chaincode(Protocol):
    """Called once per transaction, from many threads at once."""

    def invoke(self, stub: Stub) -> Response:
        """Run one transaction. An exception becomes status 500 and writes nothing."""
        ...
