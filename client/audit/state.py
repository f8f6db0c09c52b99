"""The world state as blocks write it: values, versions, endorsement policies of keys."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Version = tuple[int, int]
"""Block and transaction that wrote a value."""


@dataclass(frozen=True)
class Entry:
    """A key's present value."""

    value: bytes
    version: Version
    metadata: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What one transaction does to one key: a new value, None to delete, or metadata alone.

    Of a private key it is the hash, in hex, under the collection's namespace. ``purge`` deletes
    what members keep of its past too.
    """

    namespace: str
    key: str
    writes: bool
    value: bytes | None = None
    metadata: Mapping[str, bytes] | None = None
    purge: bool = False


class State:
    """Keys of all namespaces, in order of their UTF-8 bytes as Fabric's state database has them."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        self._keys: dict[str, list[bytes]] = {}

    def get(self, namespace: str, key: str) -> Entry | None:
        return self._entries.get((namespace, key))

    def version(self, namespace: str, key: str) -> Version | None:
        entry = self.get(namespace, key)
        return entry.version if entry else None

    def range(self, namespace: str, start: str, end: str) -> Iterator[tuple[str, Entry]]:
        """Entries from ``start`` up to, not including, ``end``; an empty end is open."""
        ordered = self._keys.get(namespace, [])
        first = bisect.bisect_left(ordered, start.encode())
        last = bisect.bisect_left(ordered, end.encode()) if end else len(ordered)
        for raw in ordered[first:last]:
            key = raw.decode()
            yield key, self._entries[namespace, key]

    def all(self) -> Iterator[tuple[str, str, Entry]]:
        """Namespace, key and entry of everything there is, in no order."""
        for (namespace, key), entry in self._entries.items():
            yield namespace, key, entry

    def apply(self, change: Change, version: Version) -> None:
        """Carry out one change."""
        before = self.get(change.namespace, change.key)
        if change.writes and change.value is None:
            self._remove(change.namespace, change.key)
            return
        if before is None and not change.writes:
            # Metadata of a key that is not there has no effect.
            return
        value = change.value if change.writes else before.value if before else None
        metadata = change.metadata
        if metadata is None:
            metadata = before.metadata if before else {}
        if before is None:
            bisect.insort(self._keys.setdefault(change.namespace, []), change.key.encode())
        entry = Entry(value or b"", version, metadata)
        self._entries[change.namespace, change.key] = entry

    def _remove(self, namespace: str, key: str) -> None:
        if self._entries.pop((namespace, key), None) is not None:
            ordered = self._keys[namespace]
            del ordered[bisect.bisect_left(ordered, key.encode())]
