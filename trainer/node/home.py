"""What a node keeps on its own disk: secrets, what it has released, a journal.

Everything is written whole (write, fsync, rename), so a node killed at any moment finds either
the old file or the new one. What a node releases (an update, a decryption share) is recorded here
first: after a restart it releases the same bytes again, never other ones for the same purpose.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from chaincode.schema import canonical
from chaincode.schema.base import Language
from chaincode.schema.errors import Code, MedFabricError
from client.files import sync_folder, write_stream

Record = TypeVar("Record", bound=Language)


class Home:
    """A node's folder, held by one process at a time.

    Raises:
        MedFabricError: ``HOME_BUSY`` where another process runs on the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise MedFabricError(
                Code.HOME_BUSY,
                f"another agent already runs on {folder}; stop it or give this one its own folder",
            ) from None

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()

    def secret(self, plan_id: str, make: Callable[[], bytes], name: str = "secret") -> bytes:
        """A secret of the plan, made once and kept in a file that only its owner reads."""
        path = self._plan(plan_id) / name
        if not path.exists():
            _write(path, make())
        return path.read_bytes()

    def forget_secret(self, plan_id: str, name: str) -> None:
        """Delete a secret that has served its purpose."""
        (self._plan(plan_id) / name).unlink(missing_ok=True)

    def record(self, plan_id: str, name: str, model: type[Record]) -> Record | None:
        """What was recorded under this name, or None.

        Raises:
            MedFabricError: ``HOME_DAMAGED`` where the file is not what was written.
        """
        path = self._plan(plan_id) / f"{name}.json"
        if not path.exists():
            return None
        try:
            return model.model_validate_json(path.read_bytes())
        except ValidationError:
            raise MedFabricError(
                Code.HOME_DAMAGED, f"{path} is damaged; restore the node's folder from its backup"
            ) from None

    def keep(self, plan_id: str, name: str, record: Language) -> None:
        """Record before releasing."""
        _write(self._plan(plan_id) / f"{name}.json", canonical.dumps(record))

    def kept(self, plan_id: str, name: str) -> bytes | None:
        """Bytes that were kept under this name, or None."""
        path = self._plan(plan_id) / name
        return path.read_bytes() if path.exists() else None

    def keep_bytes(self, plan_id: str, name: str, content: bytes) -> None:
        """Keep bytes that may be written over, for the owner's eyes alone."""
        _write(self._plan(plan_id) / name, content)

    def erase(self, plan_id: str, prefix: str, spare: str = "") -> None:
        """Delete what was kept under names that begin so, but for those that begin with
        ``spare``."""
        folder = self._plan(plan_id)
        for path in sorted(folder.glob(f"{prefix}*")):
            if not spare or not path.name.startswith(spare):
                path.unlink()
        if folder.exists():
            sync_folder(folder)

    def keep_content(self, content: bytes) -> str:
        """Keep a copy of released content, so that it can be stored again. Returns its hash."""
        return self.keep_stream([content])

    def keep_stream(self, chunks: Iterable[bytes]) -> str:
        """Like :meth:`keep_content`, chunk by chunk."""
        digest = hashlib.sha256()

        def passing() -> Iterator[bytes]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        outbox = self.folder / "outbox"
        try:
            outbox.mkdir(exist_ok=True, mode=0o700)
            write_stream(outbox, passing(), digest.hexdigest, mode=0o600)
        except OSError as error:
            raise _unwritable(outbox, error) from None
        return digest.hexdigest()

    def content(self, sha256: str) -> Path | None:
        """Own copy of released content, or None where this node did not release it."""
        path = self.folder / "outbox" / sha256
        return path if path.exists() else None

    def inbox(self, sha256: str) -> Path:
        """Where a copy of another node's content belongs while it is worked on."""
        folder = self.folder / "inbox"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / sha256

    def journal(self, entry: dict[str, Any]) -> None:
        """Append one line to the journal: what was done, for how long, how many bytes."""
        with (self.folder / "journal.jsonl").open("a") as journal:
            journal.write(json.dumps(entry, sort_keys=True) + "\n")

    def _plan(self, plan_id: str) -> Path:
        return self.folder / "plans" / plan_id


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> MedFabricError:
    return MedFabricError(
        Code.HOME_UNWRITABLE, f"cannot write {path}: {error.strerror}; make room and go on"
    )
