"""How long the command line takes to answer ``--help``, and what its imports cost."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RUNS = 15
AIM = "below 0.4 s"


def rows() -> list[dict[str, Any]]:
    """Wall time in fresh processes, the median of RUNS; the interpreter alone beside each."""
    program = str(Path(sys.executable).with_name("medfabric"))
    bare = _median(sys.executable, "-c", "pass")
    commands = {
        "medfabric --help": (program, "--help"),
        "medfabric admin --help": (program, "admin", "--help"),
        "import client.consortium": (sys.executable, "-c", "import client.consortium"),
    }
    return [
        _row(name, _median(*command), bare, AIM if "--help" in command else "")
        for name, command in commands.items()
    ]


def _median(*command: str) -> float:
    return statistics.median(_seconds(command) for _ in range(RUNS))


def _seconds(command: tuple[str, ...]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _row(what: str, ours: float, bare: float, aim: str) -> dict[str, Any]:
    return {
        "what": what,
        "ours": ours,
        "peer": bare,
        "peer_name": "python -c pass",
        "unit": "s",
        "ratio": ours / bare,
        "better": "lower",
        "aim": aim,
        "runs": RUNS,
    }
