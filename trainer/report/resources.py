"""What taking part took of one node, added up from its journal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

STARTED = "start"
"""What the journal calls an agent's start, with the machine that it starts on."""


class MachineUsed(BaseModel):
    """What a node had: ``memory_mb`` and ``cores`` that its process may use; ``accelerator`` as
    configured; whether ``energy`` is measured or estimated."""

    memory_mb: int
    cores: float
    accelerator: str
    energy: str

    def __str__(self) -> str:
        return (
            f"{self.cores:g} cores, {self.memory_mb} MB, {self.accelerator}, energy {self.energy}"
        )


class Resources(BaseModel):
    """Over all duties. ``energy`` says whether the machine measured it or it was estimated from
    processor time."""

    train_seconds: float
    encrypt_seconds: float
    cpu_seconds: float
    peak_memory_mb: float
    sent_bytes: int
    received_bytes: int
    energy_joules: float
    energy: str


def journal(home: Path) -> Iterator[dict[str, Any]]:
    """What a node wrote down of its duties; nothing where it has done none."""
    path = home / "journal.jsonl"
    if path.exists():
        yield from map(json.loads, path.read_text().splitlines())


def machines(entries: Sequence[dict[str, Any]], plan_id: str) -> dict[int, MachineUsed]:
    """The machine on which each of a plan's rounds was last worked at, by the journal of a node
    that may have moved meanwhile."""
    found: dict[int, MachineUsed] = {}
    now: MachineUsed | None = None
    for entry in entries:
        if entry["task"] == STARTED:
            now = MachineUsed(**entry["machine"])
        elif now is not None and entry.get("plan_id") == plan_id:
            found[entry["round"]] = now
    return found


def used(entries: Sequence[dict[str, Any]]) -> Resources:
    """Sums of a journal's entries."""

    def total(name: str) -> int:
        return sum(entry.get(name, 0) for entry in entries)

    estimated = any(entry.get("energy") == "estimated" for entry in entries)
    return Resources(
        train_seconds=total("train_ms") / 1000,
        encrypt_seconds=total("encrypt_ms") / 1000,
        cpu_seconds=total("cpu_ms") / 1000,
        peak_memory_mb=round(max((e.get("peak_kb", 0) for e in entries), default=0) / 1024, 1),
        sent_bytes=total("bytes"),
        received_bytes=total("received"),
        energy_joules=total("energy_mj") / 1000,
        energy="estimated" if estimated else "measured",
    )
