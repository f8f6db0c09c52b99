"""A node's agent that ends itself as ``kill -9`` would, once at each point that it is told.

Usage: ``crashing_agent.py POINTS``, comma-separated, in the node's folder. A point is ``before`` or
``after`` and a transaction's name, or ``kept`` and a record's. ``crashes.txt`` lists the points
passed, ``kept.txt`` every record kept.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from chaincode.schema import canonical
from client.consortium import Consortium
from trainer.node import main
from trainer.node.home import Home

POINTS = set(sys.argv[1].split(","))
CRASHES, KEPT = Path("crashes.txt"), Path("kept.txt")


def _reach(point: str) -> None:
    if point not in POINTS or (CRASHES.exists() and point in CRASHES.read_text().splitlines()):
        return
    _append(CRASHES, point)
    os.kill(os.getpid(), signal.SIGKILL)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


_submit, _keep = Consortium.submit, Home.keep


def _crashing_submit(self: Consortium, name: str, *args: Any, **options: Any) -> Any:
    _reach(f"before {name}")
    result = _submit(self, name, *args, **options)
    _reach(f"after {name}")
    return result


def _crashing_keep(self: Home, plan_id: str, name: str, record: Any) -> None:
    _keep(self, plan_id, name, record)
    _append(KEPT, f"{name} {canonical.dumps(record).decode()}")
    _reach(f"kept {name}")


Consortium.submit, Home.keep = _crashing_submit, _crashing_keep  # type: ignore[method-assign]

if __name__ == "__main__":
    main.run(Path("node.json"))
