"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from chaincode.schema.errors import Code, MedFabricError

if TYPE_CHECKING:
    from pydantic import ValidationError

_TOLD = 5


def read_named(path: Path) -> bytes:
    """A file that somebody named.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot read {path}: {error.strerror}; name another file"
        ) from None


def wrong_fields(error: ValidationError) -> str:
    """What is wrong with a file, field by field, outer fields first, without their values; of many,
    some."""
    found = error.errors(include_input=False, include_url=False)
    wrong = sorted(found, key=lambda one: len(one["loc"]))
    told = [
        f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in wrong[:_TOLD]
    ]
    more = len(wrong) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def write_whole(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write, fsync, rename, fsync the folder: a reader finds the old file or the new one.

    Raises:
        OSError: nothing is left behind, and an older file is as it was.
    """
    write_stream(path.parent, [content], lambda: path.name, mode=mode)


def write_stream(
    folder: Path, chunks: Iterable[bytes], name: Callable[[], str], *, mode: int = 0o644
) -> None:
    """Like :func:`write_whole`, chunk by chunk; ``name`` is asked for when all are written.

    Raises:
        OSError: nothing is left behind, and an older file is as it was.
    """
    descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(folder / name())
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(partial).unlink()
        raise
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make renames in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
