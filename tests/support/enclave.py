"""Simulated chips, each made once."""

from __future__ import annotations

from functools import lru_cache

from trainer.enclave import CHIP, TCB, SimulatedChip

__all__ = ["CHIP", "TCB", "SimulatedChip", "chip"]


@lru_cache(maxsize=4)
def chip(name: str = "chip") -> SimulatedChip:
    """A chip with a chain of its own."""
    return SimulatedChip.make(name)
