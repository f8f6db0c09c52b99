"""What rounds, group tests and studies have in common: a status, and a deadline of its stage."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

from chaincode.contracts.framework import Context
from chaincode.schema.errors import Code, MedFabricError


class Staged(Protocol):
    """Something that goes through stages; ``deadline`` in seconds of the epoch."""

    @property
    def status(self) -> StrEnum: ...

    @property
    def deadline(self) -> int: ...


def check_stage(what: str, staged: Staged, *stage: StrEnum) -> None:
    """Refuse what is not of one of these stages; ``what`` names it.

    Raises:
        MedFabricError: ``BAD_STATE``.
    """
    if staged.status not in stage:
        raise MedFabricError(
            Code.BAD_STATE, f"{what} is {staged.status}, not {stage[0]}; read it again"
        )


def check_time(context: Context, what: str, staged: Staged) -> None:
    """Refuse what comes after the deadline of the stage.

    Raises:
        MedFabricError: ``DEADLINE_PASSED``.
    """
    if context.now > staged.deadline:
        raise MedFabricError(Code.DEADLINE_PASSED, f"this stage of {what} ended; wait for the next")


def wait(context: Context, staged: Staged, whom: Iterable[str]) -> None:
    """Go on only where nobody is waited for, or where the stage's time is over.

    Raises:
        MedFabricError: ``NOT_YET``.
    """
    awaited = list(whom)
    if awaited and context.now <= staged.deadline:
        raise MedFabricError(Code.NOT_YET, waiting(staged, awaited))


def waiting(staged: Staged, whom: Iterable[str]) -> str:
    """What is told to whoever would go on too early."""
    return f"{staged.status}: waiting for {', '.join(whom)}"
