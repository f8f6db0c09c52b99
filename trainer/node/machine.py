"""What a machine can give to training, as the node itself measures it."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from chaincode.schema.errors import Code, MedFabricError
from trainer.node.resources import COUNTERS, microjoules

CGROUP = Path("/sys/fs/cgroup")
_MB = 2**20


@dataclass(frozen=True)
class Machine:
    """``memory_mb`` and ``cores``: what this process may use, by the machine, its control group and
    its limits, the least of them. ``accelerator``: Lightning's name, or ``none``. ``energy``:
    whether a counter measures it, or it is estimated."""

    memory_mb: int
    cores: float
    accelerator: str
    accelerator_memory_mb: int
    energy: str


def measure(counters: Path = COUNTERS, cgroup: Path = CGROUP) -> Machine:
    """Of this machine, now. Imports torch."""
    name, memory = _accelerator()
    return Machine(
        memory_mb=memory_bytes(cgroup) // _MB,
        cores=_cores(cgroup),
        accelerator=name,
        accelerator_memory_mb=memory // _MB,
        energy="estimated" if microjoules(counters) is None else "measured",
    )


def running(accelerator: str, counters: Path = COUNTERS, cgroup: Path = CGROUP) -> Machine:
    """The machine that an agent starts on, without importing torch.

    Args:
        accelerator: what its configuration names; the accelerator's memory is not looked at.
    """
    return Machine(
        memory_mb=memory_bytes(cgroup) // _MB,
        cores=_cores(cgroup),
        accelerator=accelerator,
        accelerator_memory_mb=0,
        energy="estimated" if microjoules(counters) is None else "measured",
    )


def check(accelerator: str) -> None:
    """Refuse to start with an accelerator that this machine lacks. Torch is imported where one is
    named.

    Raises:
        MedFabricError: ``NODE_CONFIG``.
    """
    if accelerator in ("cuda", "mps") and (found := _accelerator()[0]) != accelerator:
        raise MedFabricError(
            Code.NODE_CONFIG,
            f"compute.accelerator is {accelerator}, and torch finds {found} here; correct it, "
            "or install the torch that knows this machine's",
        )


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """What this process may take at most."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    told = _told(cgroup / "memory.max")
    if told and told[0].isdigit():
        found.append(int(told[0]))
    return min(found)


def _cores(cgroup: Path) -> float:
    allowed = float(len(os.sched_getaffinity(0)))
    told = _told(cgroup / "cpu.max")
    if len(told) == 2 and told[0].isdigit():
        return min(allowed, int(told[0]) / int(told[1]))
    return allowed


def _told(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _accelerator() -> tuple[str, int]:
    import torch

    if torch.cuda.is_available():
        return "cuda", int(torch.cuda.get_device_properties(0).total_memory)
    if torch.backends.mps.is_available():
        return "mps", 0
    return "none", 0
