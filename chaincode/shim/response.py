"""The outcome of a transaction."""

from __future__ import annotations

from dataclasses import dataclass

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
