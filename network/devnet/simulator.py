"""One transaction's simulation: what it read of the committed state, and what it would write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from client.audit.state import Version
from network.devnet.ledger import Ledger, Modification


class Simulator:
    """Reads the committed state and collects the read/write set of one namespace.

    Used inside :meth:`Ledger.reading`, by one transaction.
    """

    def __init__(self, ledger: Ledger, namespace: str) -> None:
        self._ledger = ledger
        self._namespace = namespace
        self._reads: dict[str, Version | None] = {}
        self._ranges: list[kv_rwset_pb2.RangeQueryInfo] = []
        self._writes: dict[str, bytes | None] = {}
        self._metadata: dict[str, dict[str, bytes]] = {}
        self._paged = False

    def get(self, key: str) -> bytes:
        """The committed value, empty where there is none."""
        entry = self._ledger.state.get(self._namespace, key)
        self._reads.setdefault(key, entry.version if entry else None)
        return entry.value if entry else b""

    def metadata(self, key: str) -> Mapping[str, bytes]:
        """The committed metadata of a key."""
        entry = self._ledger.state.get(self._namespace, key)
        self._reads.setdefault(key, entry.version if entry else None)
        return entry.metadata if entry else {}

    def range(self, start: str, end: str) -> list[tuple[str, bytes]]:
        """Keys and values of a range, recorded so that phantoms are found at commit."""
        found = list(self._ledger.state.range(self._namespace, start, end))
        reads = [
            kv_rwset_pb2.KVRead(key=key, version=_version(entry.version)) for key, entry in found
        ]
        info = kv_rwset_pb2.RangeQueryInfo(
            start_key=start,
            end_key=end,
            itr_exhausted=True,
            raw_reads=kv_rwset_pb2.QueryReads(kv_reads=reads),
        )
        self._ranges.append(info)
        return [(key, entry.value) for key, entry in found]

    def page(
        self, start: str, end: str, size: int, bookmark: str
    ) -> tuple[list[tuple[str, bytes]], str]:
        """A page and the bookmark of the next; such a transaction may not write."""
        self._paged = True
        entries = self._ledger.state.range(self._namespace, bookmark or start, end)
        found = [(key, entry.value) for key, entry in islice(entries, size + 1)]
        return found[:size], found[size][0] if len(found) > size else ""

    def history(self, key: str) -> Iterator[Modification]:
        """A key's past, newest first."""
        yield from self._ledger.history(self._namespace, key)

    def put(self, key: str, value: bytes) -> None:
        self._check_write(key)
        self._writes[key] = value

    def delete(self, key: str) -> None:
        self._check_write(key)
        self._writes[key] = None

    def put_metadata(self, key: str, name: str, value: bytes) -> None:
        # As in Fabric the entry replaces all that the key had, and nothing counts as read.
        self._check_write(key)
        self._metadata[key] = {name: value}

    def results(self) -> bytes:
        """``TxReadWriteSet`` bytes, the same from every hospital that simulated the same."""
        sets = kv_rwset_pb2.KVRWSet(
            reads=[
                kv_rwset_pb2.KVRead(key=key, version=_version(version))
                for key, version in sorted(self._reads.items(), key=lambda item: item[0].encode())
            ],
            range_queries_info=self._ranges,
            writes=[
                kv_rwset_pb2.KVWrite(key=key, is_delete=value is None, value=value or b"")
                for key, value in sorted(self._writes.items(), key=lambda item: item[0].encode())
            ],
            metadata_writes=[
                kv_rwset_pb2.KVMetadataWrite(
                    key=key,
                    entries=[
                        kv_rwset_pb2.KVMetadataEntry(name=name, value=value)
                        for name, value in sorted(entries.items())
                    ],
                )
                for key, entries in sorted(
                    self._metadata.items(), key=lambda item: item[0].encode()
                )
            ],
        )
        part = rwset_pb2.NsReadWriteSet(
            namespace=self._namespace, rwset=sets.SerializeToString(deterministic=True)
        )
        whole = rwset_pb2.TxReadWriteSet(
            data_model=rwset_pb2.TxReadWriteSet.DataModel.KV, ns_rwset=[part]
        )
        return bytes(whole.SerializeToString(deterministic=True))

    def _check_write(self, key: str) -> None:
        if not key:
            raise ValueError("a key is not empty")
        if self._paged:
            raise ValueError("a transaction that read a page may not write")


def _version(version: Version | None) -> kv_rwset_pb2.Version | None:
    if version is None:
        return None
    return kv_rwset_pb2.Version(block_num=version[0], tx_num=version[1])
