"""A node's agent that ends itself as ``kill -9`` would, once at each point that it is told.

Usage: ``crashing_agent.py POINTS``, comma-separated, in the node's folder. A point is ``before`` or
``after`` and a transaction's name, or ``kept`` and a record's. ``crashes.txt`` lists the points
passed, ``kept.txt`` every record kept. Trainings keep a checkpoint after every step; ``checkpoint``
is a point after the second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from chaincode.schema import canonical
from client.consortium import Consortium
from trainer.node import main
from trainer.node.courses import Courses
from trainer.node.home import Home
from trainer.randomness import Secrets

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


_submit, _keep, _keep_bytes = Consortium.submit, Home.keep, Home.keep_bytes
_init_courses = Courses.__init__


def _crashing_submit(self: Consortium, name: str, *args: Any, **options: Any) -> Any:
    _reach(f"before {name}")
    result = _submit(self, name, *args, **options)
    _reach(f"after {name}")
    return result


def _crashing_keep(self: Home, plan_id: str, name: str, record: Any) -> None:
    _keep(self, plan_id, name, record)
    _append(KEPT, f"{name} {canonical.dumps(record).decode()}")
    _reach(f"kept {name}")


def _crashing_keep_bytes(self: Home, plan_id: str, name: str, content: bytes) -> None:
    _keep_bytes(self, plan_id, name, content)
    _append(KEPT, f"{name} {json.dumps(None)}")
    if KEPT.read_text().count("checkpoint") == 2:
        _reach("checkpoint")


def _with_checkpoints(self: Courses, home: Home, secrets: Secrets, _: float) -> None:
    _init_courses(self, home, secrets, every=0)


Consortium.submit, Home.keep = _crashing_submit, _crashing_keep  # type: ignore[method-assign]
Home.keep_bytes, Courses.__init__ = _crashing_keep_bytes, _with_checkpoints  # type: ignore[method-assign]

if __name__ == "__main__":
    main.run(Path("node.json"))
