"""Finds Fabric's programs and checks their version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from chaincode.schema.errors import Code, MedFabricError
from client.tools import FOLDER_VARIABLE, find

SUPPORTED = (3, 1)
NEEDED = ("peer", "orderer")
AUTHORITY = "fabric-ca-server"
"""Used where it is there; without it, hospitals issue identities by our own code."""
_VERSION = re.compile(r"Version:\s*v?(\d+)\.(\d+)\.(\d+)")
_WAYS_OUT = (
    "put Fabric 3.1's programs on PATH, name their folder in "
    f"{FOLDER_VARIABLE}, or run 'medfabric network install'; or use the devnet ('--devnet')"
)


def present() -> bool:
    """Whether real Fabric can be run here."""
    try:
        fabric_version()
    except MedFabricError:
        return False
    return True


def require(name: str) -> Path:
    """The program.

    Raises:
        MedFabricError: ``BINARY_MISSING``, with the ways out.
    """
    found = find(name)
    if found is None:
        raise MedFabricError(Code.BINARY_MISSING, f"Fabric's {name} is not there: {_WAYS_OUT}")
    return found


def fabric_version(folder: Path | None = None) -> str:
    """The version of the programs, such as ``3.1.5``; of those that are found, or in a folder.

    Raises:
        MedFabricError: ``BINARY_MISSING``, or ``BINARY_WRONG`` where one is not of 3.1.
    """
    versions = {_version(folder / name if folder else require(name)) for name in NEEDED}
    if len(versions) != 1:
        raise MedFabricError(
            Code.BINARY_WRONG, f"peer and orderer are of different versions: {_WAYS_OUT}"
        )
    return versions.pop()


def _version(program: Path) -> str:
    try:
        output = subprocess.run(
            [program, "version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MedFabricError(
            Code.BINARY_WRONG, f"{program} does not run ({error}): {_WAYS_OUT}"
        ) from None
    found = _VERSION.search(output)
    if not found or (int(found[1]), int(found[2])) != SUPPORTED:
        named = ".".join(found.groups()) if found else "unknown"
        raise MedFabricError(Code.BINARY_WRONG, f"{program} is of version {named}: {_WAYS_OUT}")
    return ".".join(found.groups())
