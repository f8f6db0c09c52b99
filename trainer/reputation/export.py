"""Writes a trained classifier as the terms that hospitals propose and vote on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from chaincode.schema import canonical
from chaincode.schema.base import Id
from chaincode.schema.errors import Code, MedFabricError
from client.files import write_whole
from trainer.reputation.training import Recipe, train


def write(name: str, seed: int, consortia: int, out: Path) -> dict[str, Any]:
    """Train by a recipe and write the terms; what hospitals will vote on, by its hash.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where the name is none, ``FILE_UNUSABLE`` where the file
            cannot be written, ``TRAINING_REFUSED`` where too little was simulated.
    """
    try:
        TypeAdapter(Id).validate_python(name)
    except ValidationError:
        raise MedFabricError(
            Code.BAD_ARGUMENT, "name it in lower-case letters, digits and dashes"
        ) from None
    # Training takes a minute.
    if not out.parent.is_dir():
        raise _unusable(out, f"{out.parent} is no folder")
    terms = train(Recipe(seed=seed, consortia=consortia, calibration=consortia // 2), name)
    content = canonical.dumps(terms)
    try:
        write_whole(out, content)
    except OSError as error:
        raise _unusable(out, str(error.strerror)) from None
    return {"terms": canonical.sha256(terms), "bytes": len(content), "file": str(out)}


def _unusable(out: Path, why: str) -> MedFabricError:
    return MedFabricError(Code.FILE_UNUSABLE, f"cannot write {out}: {why}; name another file")
