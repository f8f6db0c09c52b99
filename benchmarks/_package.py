"""A benchmark's own application, as a package beside the project: found by its entry points."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

JOBS = Path(__file__).parent / "jobs"


def make(folder: Path, module: str, entry_points: str) -> Path:
    """A folder for ``PYTHONPATH`` with this module of :data:`JOBS`."""
    package = folder / "package"
    about = package / "medfabric_benchmark-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: medfabric-benchmark\nVersion: 1\n"
    )
    (about / "entry_points.txt").write_text(entry_points)
    shutil.copy(JOBS / f"{module}.py", package)
    return package


@contextmanager
def installed(folder: Path, module: str, entry_points: str) -> Iterator[None]:
    """The package for this process and those that it starts."""
    package, before = str(make(folder, module, entry_points)), os.environ.get("PYTHONPATH")
    sys.path.insert(0, package)
    os.environ["PYTHONPATH"] = os.pathsep.join([package, *([before] if before else [])])
    try:
        yield
    finally:
        sys.path.remove(package)
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
