"""A node's agent on a weak machine: one core, and one gibibyte of memory."""

from __future__ import annotations

import os
import resource
from pathlib import Path

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))

from trainer.node import main  # noqa: E402

if __name__ == "__main__":
    main.run(Path("node.json"))
