"""A node's agent on a weak machine: one core, and one gibibyte of memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

STACK = 2**21
"""What each thread reserves; the usual 8 MiB, which none ever touches, count as used memory."""

if resource.getrlimit(resource.RLIMIT_STACK)[0] != STACK:
    resource.setrlimit(resource.RLIMIT_STACK, (STACK, STACK))
    os.execv(sys.executable, [sys.executable, *sys.argv])  # threads' stacks are set at the start

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))

from trainer.node import main  # noqa: E402

if __name__ == "__main__":
    main.run(Path("node.json"))
