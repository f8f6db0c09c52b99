"""Read/write sets of one transaction, in the bytes that Fabric's peers give them.

A private write stands twice: whole in the private set, which members of its collection keep, and
as hashes of key and value in the public one, which goes into a block together with the SHA-256 of
the private set (rwset.proto, kv_rwset.proto).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from client.audit.ranges import summary
from client.audit.state import Version

_KV = rwset_pb2.TxReadWriteSet.DataModel.KV
_DEGREE = 50
"""Results of a range beyond which Fabric writes a tree of hashes in their place."""

Value = TypeVar("Value")


@dataclass
class RangeRead:
    """A range as far as the chaincode read it; ``end`` is then the last key read."""

    start: str
    end: str
    exhausted: bool = False
    reads: list[tuple[str, Version | None]] = field(default_factory=list)

    def message(self) -> Any:
        info = kv_rwset_pb2.RangeQueryInfo(
            start_key=self.start, end_key=self.end, itr_exhausted=self.exhausted
        )
        if tree := summary(self.reads, _DEGREE):
            info.reads_merkle_hashes.max_degree = tree.degree
            info.reads_merkle_hashes.max_level = tree.level
            info.reads_merkle_hashes.max_level_hashes.extend(tree.hashes)
        elif self.reads:
            info.raw_reads.kv_reads.extend(_read(key, version) for key, version in self.reads)
        return info


@dataclass
class Sets:
    """Reads and writes of one chaincode's public state, or of one collection."""

    reads: dict[str, Version | None] = field(default_factory=dict)
    ranges: list[RangeRead] = field(default_factory=list)
    writes: dict[str, bytes | None] = field(default_factory=dict)
    purged: set[str] = field(default_factory=set)
    metadata: dict[str, Mapping[str, bytes]] = field(default_factory=dict)

    @property
    def writing(self) -> bool:
        return bool(self.writes or self.metadata)

    def put(self, key: str, value: bytes | None, *, purge: bool = False) -> None:
        self.writes[key] = value
        self.purged.discard(key)
        if purge:
            self.purged.add(key)

    def public(self) -> bytes:
        """``KVRWSet`` bytes."""
        return _bytes(
            kv_rwset_pb2.KVRWSet(
                reads=[_read(key, version) for key, version in _ordered(self.reads)],
                range_queries_info=[read.message() for read in self._different_ranges()],
                writes=[_write(key, value) for key, value in _ordered(self.writes)],
                metadata_writes=[
                    kv_rwset_pb2.KVMetadataWrite(key=key, entries=_entries(metadata))
                    for key, metadata in _ordered(self.metadata)
                ],
            )
        )

    def _different_ranges(self) -> Iterable[RangeRead]:
        first: dict[tuple[str, str, bool], RangeRead] = {}
        for read in self.ranges:
            first.setdefault((read.start, read.end, read.exhausted), read)
        return first.values()

    def private(self) -> bytes:
        """``KVRWSet`` bytes of what members keep: writes, and which keys have new metadata."""
        return _bytes(
            kv_rwset_pb2.KVRWSet(
                writes=[_write(key, value) for key, value in _ordered(self.writes)],
                metadata_writes=[
                    kv_rwset_pb2.KVMetadataWrite(key=key) for key, _ in _ordered(self.metadata)
                ],
            )
        )

    def hashed(self) -> bytes:
        """``HashedRWSet`` bytes."""
        writes = [
            kv_rwset_pb2.KVWriteHash(
                key_hash=key_hash(key),
                is_delete=value is None,
                value_hash=b"" if value is None else hashlib.sha256(value).digest(),
                is_purge=key in self.purged,
            )
            for key, value in _ordered(self.writes)
        ]
        return _bytes(
            kv_rwset_pb2.HashedRWSet(
                hashed_reads=[
                    kv_rwset_pb2.KVReadHash(key_hash=key_hash(key), version=_version(version))
                    for key, version in _ordered(self.reads)
                ],
                hashed_writes=writes,
                metadata_writes=[
                    kv_rwset_pb2.KVMetadataWriteHash(
                        key_hash=key_hash(key), entries=_entries(metadata)
                    )
                    for key, metadata in _ordered(self.metadata)
                ],
            )
        )


@dataclass
class Namespace:
    """What a transaction does in one chaincode."""

    public: Sets = field(default_factory=Sets)
    collections: dict[str, Sets] = field(default_factory=dict)

    def collection(self, name: str) -> Sets:
        return self.collections.setdefault(name, Sets())


@dataclass(frozen=True)
class Results:
    """``TxReadWriteSet`` bytes for the block, ``TxPvtReadWriteSet`` bytes for members, if any."""

    public: bytes
    private: bytes = b""


def results(namespaces: Mapping[str, Namespace]) -> Results:
    """A transaction's sets, the same from every hospital that simulated the same."""
    public = rwset_pb2.TxReadWriteSet(data_model=_KV)
    private = rwset_pb2.TxPvtReadWriteSet(data_model=_KV)
    for name, namespace in _ordered(namespaces):
        part = public.ns_rwset.add(namespace=name, rwset=namespace.public.public())
        own = rwset_pb2.NsPvtReadWriteSet(namespace=name)
        for collection, sets in _ordered(namespace.collections):
            hashed = part.collection_hashed_rwset.add(
                collection_name=collection, hashed_rwset=sets.hashed()
            )
            if sets.writing:
                kept = sets.private()
                hashed.pvt_rwset_hash = hashlib.sha256(kept).digest()
                own.collection_pvt_rwset.add(collection_name=collection, rwset=kept)
        if own.collection_pvt_rwset:
            private.ns_pvt_rwset.append(own)
    return Results(_bytes(public), _bytes(private) if private.ns_pvt_rwset else b"")


def key_hash(key: str) -> bytes:
    """How the public state knows a private key."""
    return hashlib.sha256(key.encode()).digest()


def _ordered(items: Mapping[str, Value]) -> Iterable[tuple[str, Value]]:
    return sorted(items.items(), key=lambda item: item[0].encode())


def _read(key: str, version: Version | None) -> Any:
    return kv_rwset_pb2.KVRead(key=key, version=_version(version))


def _write(key: str, value: bytes | None) -> Any:
    return kv_rwset_pb2.KVWrite(key=key, is_delete=value is None, value=value or b"")


def _entries(metadata: Mapping[str, bytes]) -> list[Any]:
    return [
        kv_rwset_pb2.KVMetadataEntry(name=name, value=value) for name, value in _ordered(metadata)
    ]


def _version(version: Version | None) -> Any:
    if version is None:
        return None
    return kv_rwset_pb2.Version(block_num=version[0], tx_num=version[1])


def _bytes(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))
