"""What each hospital's peer keeps of private data, and what waits for its block.

Kept apart per hospital, in the same SQLite file as the blocks: between endorsement and commit in
the transient table of the endorsing hospital; from the commit on with those hospitals alone that
are members of the collection. Purged and expired data are overwritten in the file.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from client.audit.definitions import collection_namespace
from client.audit.state import Change, State, Version
from client.audit.transactions import PrivateSet
from client.audit.validation import Expired
from network.devnet.rwset import key_hash

log = logging.getLogger("medfabric.devnet")

RETENTION_BLOCKS = 1000
"""Blocks after which private data of transactions that never came are forgotten."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS transient ("
    "tx_id TEXT, msp_id TEXT, height INTEGER, content BLOB NOT NULL, "
    "PRIMARY KEY (tx_id, msp_id))",
    "CREATE TABLE IF NOT EXISTS private ("
    "msp_id TEXT, chaincode TEXT, collection TEXT, block INTEGER, tx INTEGER, key TEXT, "
    "key_hash BLOB, writes INTEGER, value BLOB, "
    "PRIMARY KEY (msp_id, chaincode, collection, block, tx, key))",
    "CREATE INDEX IF NOT EXISTS private_keys ON private (chaincode, collection, key_hash)",
)


@dataclass(frozen=True)
class Keep:
    """One transaction's private set of one collection, and the hospitals that are to keep it."""

    tx_id: str
    tx: int
    which: PrivateSet
    members: frozenset[str]


@dataclass(frozen=True)
class Purge:
    """That a transaction purges a key of a collection."""

    block: int
    tx: int
    chaincode: str
    collection: str
    key_hash: bytes


@dataclass(frozen=True)
class Write:
    """A private write as a hospital keeps it; ``writes`` False for new metadata alone."""

    msp_id: str
    chaincode: str
    collection: str
    block: int
    tx: int
    key: str
    writes: bool
    value: bytes | None

    @property
    def change(self) -> Change:
        namespace = collection_namespace(self.chaincode, self.collection)
        return Change(namespace, self.key, self.writes, self.value, None if self.writes else {})


class PrivateData:
    """The private data of all hospitals. Threads share it under the ledger's lock.

    Args:
        database: of the blocks; what this writes is durable with its transaction.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        for statement in _TABLES:
            database.execute(statement)
        self._states: dict[str, State] = {}
        for write in _stored(database):
            self._apply(write)

    def state(self, msp_id: str) -> State:
        """A hospital's private values, by collection's namespace and plain key."""
        return self._states.setdefault(msp_id, State())

    def stage(
        self, database: sqlite3.Connection, tx_id: str, msp_id: str, content: bytes, height: int
    ) -> None:
        """Keep what a hospital's peer has endorsed, ``TxPvtReadWriteSet`` bytes, for its block."""
        database.execute(
            "INSERT OR REPLACE INTO transient VALUES (?, ?, ?, ?)",
            (tx_id, msp_id, height, content),
        )

    def store(
        self,
        database: sqlite3.Connection,
        block: int,
        tx_ids: Sequence[str],
        keep: Sequence[Keep],
        purges: Sequence[Purge],
        expired: Sequence[Expired],
    ) -> list[Write]:
        """Write what a block does to private data; :meth:`take_in` makes it visible.

        Args:
            tx_ids: of all the block's transactions, whose transient data end with it.
        """
        staged = {one.tx_id: _staged(database, one.tx_id) for one in keep}
        writes = [write for one in keep for write in _kept(one, block, staged[one.tx_id])]
        database.executemany(
            "INSERT INTO private VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*_place(w), key_hash(w.key), w.writes, w.value) for w in writes],
        )
        for purge in purges:
            database.execute(
                "DELETE FROM private WHERE chaincode = ? AND collection = ? AND key_hash = ? "
                "AND (block < ? OR tx <= ?)",
                (purge.chaincode, purge.collection, purge.key_hash, purge.block, purge.tx),
            )
        for old in expired:
            database.execute(
                "DELETE FROM private WHERE chaincode = ? AND collection = ? AND block = ?",
                (old.chaincode, old.collection, old.block),
            )
        database.executemany("DELETE FROM transient WHERE tx_id = ?", [(t,) for t in tx_ids])
        database.execute("DELETE FROM transient WHERE height < ?", (block - RETENTION_BLOCKS,))
        return writes

    def take_in(
        self, writes: Sequence[Write], purges: Sequence[Purge], expired: Sequence[Expired]
    ) -> None:
        """Make what :meth:`store` wrote visible."""
        for write in writes:
            self._apply(write)
        for purge in purges:
            self._drop(purge.chaincode, purge.collection, _purged_by(purge))
        for old in expired:
            self._drop(old.chaincode, old.collection, _expired_with(old))

    def disagreements(self, public: State) -> Iterator[str]:
        """Private values that do not hash to what the blocks say of them."""
        for msp_id, state in self._states.items():
            for namespace, key, entry in state.all():
                known = public.get(namespace, key_hash(key).hex())
                same = known is not None and known.version == entry.version
                if same and known and known.value != hashlib.sha256(entry.value).digest():
                    yield f"private data of {msp_id} in {namespace}"

    def _drop(self, chaincode: str, collection: str, which: Callable[[str, Version], bool]) -> None:
        namespace = collection_namespace(chaincode, collection)
        for state in self._states.values():
            for key, entry in list(state.range(namespace, "", "")):
                if which(key, entry.version):
                    state.apply(Change(namespace, key, True), entry.version)

    def _apply(self, write: Write) -> None:
        self.state(write.msp_id).apply(write.change, (write.block, write.tx))


def parts(content: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Chaincode, collection and ``KVRWSet`` bytes of each part of a ``TxPvtReadWriteSet``."""
    for namespace in rwset_pb2.TxPvtReadWriteSet.FromString(content).ns_pvt_rwset:
        for part in namespace.collection_pvt_rwset:
            yield namespace.namespace, part.collection_name, part.rwset


def kept_by(
    database: sqlite3.Connection, msp_id: str, block: int
) -> Mapping[int, rwset_pb2.TxPvtReadWriteSet]:
    """What a hospital keeps of a block's private sets, by transaction: without what is purged."""
    found: dict[int, dict[str, dict[str, kv_rwset_pb2.KVRWSet]]] = {}
    for write in _stored(database, msp_id, block):
        sets = found.setdefault(write.tx, {}).setdefault(write.chaincode, {})
        part = sets.setdefault(write.collection, kv_rwset_pb2.KVRWSet())
        if write.writes:
            deletes = write.value is None
            part.writes.add(key=write.key, is_delete=deletes, value=write.value or b"")
        else:
            part.metadata_writes.add(key=write.key)
    return {tx: _message(sets) for tx, sets in found.items()}


def _message(
    chaincodes: Mapping[str, Mapping[str, kv_rwset_pb2.KVRWSet]],
) -> rwset_pb2.TxPvtReadWriteSet:
    message = rwset_pb2.TxPvtReadWriteSet()
    for chaincode, collections in chaincodes.items():
        part = message.ns_pvt_rwset.add(namespace=chaincode)
        for name, sets in collections.items():
            raw = sets.SerializeToString(deterministic=True)
            part.collection_pvt_rwset.add(collection_name=name, rwset=raw)
    return message


def _staged(database: sqlite3.Connection, tx_id: str) -> dict[bytes, bytes]:
    """Private sets of a transaction as any hospital endorsed them, by SHA-256."""
    rows = database.execute("SELECT content FROM transient WHERE tx_id = ?", (tx_id,)).fetchall()
    return {hashlib.sha256(kept).digest(): kept for (raw,) in rows for _, _, kept in parts(raw)}


def _kept(one: Keep, block: int, staged: Mapping[bytes, bytes]) -> Iterator[Write]:
    raw = staged.get(one.which.sha256)
    if raw is None:
        # As with Fabric's peers the block stands; who reads the key is told what is missing.
        log.warning("tx=%s private data of %s are missing", one.tx_id[:8], one.which.collection)
        return
    sets = kv_rwset_pb2.KVRWSet.FromString(raw)
    written = {write.key for write in sets.writes}
    for msp_id in sorted(one.members):
        place = (msp_id, one.which.chaincode, one.which.collection, block, one.tx)
        for write in sets.writes:
            yield Write(*place, write.key, True, None if write.is_delete else bytes(write.value))
        for changed in sets.metadata_writes:
            if changed.key not in written:
                yield Write(*place, changed.key, False, None)


def _purged_by(purge: Purge) -> Callable[[str, Version], bool]:
    until = purge.block, purge.tx
    return lambda key, version: version <= until and key_hash(key) == purge.key_hash


def _expired_with(old: Expired) -> Callable[[str, Version], bool]:
    return lambda _, version: version[0] == old.block


def _stored(
    database: sqlite3.Connection, msp_id: str | None = None, block: int | None = None
) -> list[Write]:
    rows = database.execute(
        "SELECT msp_id, chaincode, collection, block, tx, key, writes, value FROM private "
        "WHERE (?1 IS NULL OR msp_id = ?1) AND (?2 IS NULL OR block = ?2) "
        "ORDER BY block, tx, chaincode, collection, key",
        (msp_id, block),
    ).fetchall()
    return [Write(m, c, n, b, t, key, bool(writes), v) for m, c, n, b, t, key, writes, v in rows]


def _place(write: Write) -> tuple[str, str, str, int, int, str]:
    return (
        write.msp_id,
        write.chaincode,
        write.collection,
        write.block,
        write.tx,
        write.key,
    )
