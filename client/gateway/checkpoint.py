"""How far events have been processed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from chaincode.schema.errors import Code, MedFabricError
from client.files import write_whole


class Checkpoint(Protocol):
    """Where to go on: in block ``block_number``, after transaction ``transaction_id`` (if any)."""

    @property
    def block_number(self) -> int: ...

    @property
    def transaction_id(self) -> str: ...

    def save(self, block_number: int, transaction_id: str = "") -> None:
        """Record that everything up to and including this transaction has been processed; without
        a transaction, everything before this block."""


class MemoryCheckpoint:
    """Lives as long as the process: for going on after a broken connection."""

    def __init__(self) -> None:
        self.block_number = 0
        self.transaction_id = ""

    def save(self, block_number: int, transaction_id: str = "") -> None:
        self.block_number = block_number
        self.transaction_id = transaction_id


class FileCheckpoint(MemoryCheckpoint):
    """Survives a kill at any moment: each save is a whole new file on the disk.

    Raises:
        MedFabricError: ``CHECKPOINT_UNUSABLE`` where the file is damaged or cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self._path = Path(path)
        if self._path.exists():
            self.block_number, self.transaction_id = self._read()

    def save(self, block_number: int, transaction_id: str = "") -> None:
        position = {"block_number": block_number, "transaction_id": transaction_id}
        try:
            write_whole(self._path, json.dumps(position).encode() + b"\n")
        except OSError as error:
            raise MedFabricError(
                Code.CHECKPOINT_UNUSABLE,
                f"cannot write {self._path}: {error.strerror}; make room and go on",
            ) from None
        super().save(block_number, transaction_id)

    def _read(self) -> tuple[int, str]:
        try:
            position = json.loads(self._path.read_bytes())
            block_number, transaction_id = position["block_number"], position["transaction_id"]
            if type(block_number) is int and type(transaction_id) is str and block_number >= 0:
                return block_number, transaction_id
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise MedFabricError(
            Code.CHECKPOINT_UNUSABLE,
            f"{self._path} is not a checkpoint; remove it to read events from the first block",
        )
