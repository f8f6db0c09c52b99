"""How far events have been processed."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from fabric_protos.orderer import ab_pb2

from chaincode.schema.errors import Code, MedFabricError
from client.files import write_whole


class Checkpoint(ABC):
    """Where to go on: in block ``block_number``, after transaction ``transaction_id`` (if any)."""

    block_number: int = 0
    transaction_id: str = ""

    def after_transaction(self, block_number: int, transaction_id: str) -> None:
        """Record that everything up to and including this transaction has been processed."""
        self.save(block_number, transaction_id)

    def after_block(self, block_number: int) -> None:
        """Record that everything up to and including this block has been processed."""
        self.save(block_number + 1)

    @property
    def begun(self) -> bool:
        """Whether anything was recorded."""
        return bool(self.block_number or self.transaction_id)

    @abstractmethod
    def save(self, block_number: int, transaction_id: str = "") -> None:
        """Keep the position, and show it from now on."""


class MemoryCheckpoint(Checkpoint):
    """Lives as long as the process: for going on after a broken connection."""

    def save(self, block_number: int, transaction_id: str = "") -> None:
        self.block_number = block_number
        self.transaction_id = transaction_id


class FileCheckpoint(MemoryCheckpoint):
    """Survives a kill at any moment: each save is a whole new file on the disk.

    Raises:
        MedFabricError: ``CHECKPOINT_UNUSABLE`` where the file is damaged or cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
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


def position(start_block: int | None, checkpoint: Checkpoint | None) -> Any:
    """Where a stream of events begins: at the checkpoint, else at a block, else with the next."""
    if checkpoint is not None and checkpoint.begun:
        start_block = checkpoint.block_number
    if start_block is None:
        return ab_pb2.SeekPosition(next_commit=ab_pb2.SeekNextCommit())
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=start_block))
