"""Programs of others that we run: where they are."""

from __future__ import annotations

import os
import shutil
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
