"""What a duty takes of the machine: processor time, memory, energy.

Energy is the processor package's by Linux's powercap counters where the machine shows them, which
then includes what else ran on it; else it is estimated from processor time, and called so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

ESTIMATED_WATTS = 10.0
"""Of one busy core, where no counter is to be read: between a laptop's and a server's."""
COUNTERS = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """Started with :meth:`start`; :meth:`facts` tells what was used since."""

    cpu_seconds: float
    microjoules: int | None

    @classmethod
    def start(cls, counters: Path = COUNTERS) -> Meter:
        """From now on."""
        return cls(time.process_time(), microjoules(counters))

    def facts(self, counters: Path = COUNTERS) -> dict[str, int | str]:
        """``cpu_ms``; ``peak_kb``, the most memory that the process ever held; ``energy_mj`` with
        ``energy`` saying whether it was measured or estimated."""
        cpu = time.process_time() - self.cpu_seconds
        now = microjoules(counters)
        told = None if now is None or self.microjoules is None else now - self.microjoules
        # The counters start again from zero once in a while.
        measured = told is not None and told >= 0
        millijoules = told / 1000 if measured and told is not None else cpu * ESTIMATED_WATTS * 1000
        return {
            "cpu_ms": round(1000 * cpu),
            "peak_kb": _peak_kb(),
            "energy_mj": round(millijoules),
            "energy": "measured" if measured else "estimated",
        }


def _peak_kb() -> int:
    # Not getrusage's: a process inherits that from whoever started it, however large.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def microjoules(counters: Path) -> int | None:
    """Energy of all processor packages since some time past; None where it is not to be read."""
    files = sorted(counters.glob("intel-rapl:[0-9]*/energy_uj"))
    packages = [file for file in files if file.parent.name.count(":") == 1]
    try:
        return sum(int(file.read_text()) for file in packages) if packages else None
    except (OSError, ValueError):
        return None
