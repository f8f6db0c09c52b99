"""Programs of others that we run: where they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from chaincode.schema.errors import Code, MedFabricError

FOLDER_VARIABLE = "MEDFABRIC_FABRIC_BIN"


def find(name: str) -> Path | None:
    """The program, from ``MEDFABRIC_FABRIC_BIN``, else the PATH, else the user's cache."""
    folder = os.environ.get(FOLDER_VARIABLE)
    for where in (folder, os.environ.get("PATH"), str(cache_folder())):
        found = shutil.which(name, path=where) if where else None
        if found:
            return Path(found)
    return None


def require(name: str, what: str) -> Path:
    """The program.

    Raises:
        MedFabricError: ``TOOL_MISSING``, with the ways out.
    """
    found = find(name)
    if found is None:
        raise MedFabricError(
            Code.TOOL_MISSING,
            f"{what} ({name}) is not here; put it on the PATH or name its folder in "
            f"{FOLDER_VARIABLE}",
        )
    return found


def cache_folder() -> Path:
    """Where this user keeps programs built or downloaded once."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "medfabric" / "bin"


def build(name: str, module: Path) -> Path:
    """Build a program once, from the pinned Go module in a folder, into this user's cache.

    ``module`` holds a go.mod and its go.sum, which fixes every source by hash; the program is a
    ``tool`` of it, or the module's own where it has sources.

    Raises:
        MedFabricError: ``TOOL_MISSING`` without Go, ``TOOL_FAILED`` with the end of its output.
    """
    go = require("go", "the Go toolchain, 1.26.4 or newer, that builds it once")
    target = cache_folder()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="build-", dir=target) as scratch:
        sources = [*module.glob("*.go")]
        for file in (module / "go.mod", module / "go.sum", *sources):
            shutil.copy(file, scratch)
        done = subprocess.run(
            [
                go,
                "build",
                "-mod=readonly",
                "-trimpath",
                "-o",
                f"{scratch}/out/",
                "." if sources else "tool",
            ],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        built = Path(scratch, "out", name)
        if done.returncode != 0 or not built.exists():
            why = done.stderr.decode(errors="replace").strip()[-800:]
            raise MedFabricError(
                Code.TOOL_FAILED, f"{name} could not be built; the end of Go's output: {why}"
            )
        built.replace(target / name)
    return target / name
