"""Blocks in SQLite: one transaction per block, durable when :meth:`Blocks.append` returns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from chaincode.schema.errors import Code, MedFabricError


class Blocks:
    """The chain as it was ordered. Killed at any moment, it reopens at the last whole block.

    Raises:
        MedFabricError: ``LEDGER_DAMAGED``, here and on every read.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            # FULL: the write-ahead log is synchronised at every commit.
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute("PRAGMA secure_delete=ON")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS blocks "
                "(number INTEGER PRIMARY KEY, content BLOB NOT NULL)"
            )
        except sqlite3.DatabaseError as error:
            raise _damaged(str(error)) from None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The database within a transaction: durable at the end, nothing of it on an exception."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def overwrite(self) -> None:
        """Leave nothing of what was deleted in the files."""
        # Deleted content is overwritten where it lay, but stays in the log until that is emptied.
        with self._lock:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def append(self, database: sqlite3.Connection, block: common_pb2.Block) -> None:
        """Add the next block, within a transaction."""
        database.execute(
            "INSERT INTO blocks VALUES (?, ?)",
            (block.header.number, block.SerializeToString(deterministic=True)),
        )

    def get(self, number: int) -> common_pb2.Block | None:
        """A block by number, or None."""
        try:
            with self._lock:
                row = self._database.execute(
                    "SELECT content FROM blocks WHERE number = ?", (number,)
                ).fetchone()
            return common_pb2.Block.FromString(row[0]) if row else None
        except (sqlite3.DatabaseError, DecodeError) as error:
            raise _damaged(f"block {number}: {error}") from None

    def all(self) -> Iterator[common_pb2.Block]:
        """Every block in order."""
        for number in range(self.height()):
            block = self.get(number)
            if block is None:
                raise _damaged(f"block {number} is missing")
            yield block

    def height(self) -> int:
        """Number of blocks."""
        with self._lock:
            row = self._database.execute("SELECT COUNT(*) FROM blocks").fetchone()
        return int(row[0])

    def close(self) -> None:
        self._database.close()


def _damaged(why: str) -> MedFabricError:
    return MedFabricError(
        Code.LEDGER_DAMAGED, f"the devnet's ledger is damaged: {why}; restore devnet.sqlite"
    )
