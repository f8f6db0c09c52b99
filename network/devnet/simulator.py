"""One transaction's simulation: what it read of the committed state, and what it would write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from client.audit.definitions import (
    FIELDS,
    LIFECYCLE,
    Collection,
    collection,
    collection_namespace,
    field_key,
    is_member,
    metadata_key,
)
from client.audit.msp import Identity
from client.audit.state import Entry, Version
from network.devnet import rwset
from network.devnet.ledger import Ledger, Modification

QUERY_LIMIT = 100_000
"""Results of one query; as the peers' ``totalQueryLimit``."""


@dataclass
class Simulation:
    """What all chaincodes of one transaction share.

    Used inside :meth:`Ledger.reading`, by one thread at a time.

    Args:
        msp_id: the hospital whose peer simulates: it has its own private data.
        creator: who signed the proposal.
    """

    ledger: Ledger
    msp_id: str
    creator: Identity
    namespaces: dict[str, rwset.Namespace] = field(default_factory=dict)
    private_reads: set[tuple[str, str]] = field(default_factory=set)
    """(chaincode, collection) of values read, not of hashes."""
    writing: bool = False
    read_only: str = ""
    """Why the transaction may not write."""

    def enter(self, chaincode: str) -> Simulator:
        """The view of one chaincode, which counts as a read of its definition."""
        self.read_lifecycle(field_key(chaincode, "Sequence"))
        return Simulator(self, chaincode)

    def read_lifecycle(self, key: str) -> None:
        reads = self.namespace(LIFECYCLE).public.reads
        reads[key] = self.ledger.state.version(LIFECYCLE, key)

    def namespace(self, chaincode: str) -> rwset.Namespace:
        return self.namespaces.setdefault(chaincode, rwset.Namespace())

    def collections(self) -> frozenset[tuple[str, str]]:
        """(chaincode, collection) of all that were written or whose values were read."""
        written = {
            (chaincode, name)
            for chaincode, namespace in self.namespaces.items()
            for name, sets in namespace.collections.items()
            if sets.writing
        }
        return frozenset(written | self.private_reads)

    def results(self) -> rwset.Results:
        """The transaction's read/write sets."""
        return rwset.results(self.namespaces)


class Simulator:
    """One chaincode's reads and writes within a simulation.

    Every operation raises ValueError, in the peer's words, for what Fabric's peer refuses.
    """

    def __init__(self, simulation: Simulation, chaincode: str) -> None:
        self.simulation = simulation
        self.chaincode = chaincode
        self._ledger = simulation.ledger
        self._collections: dict[str, Collection | None] = {}

    # public state

    def get(self, key: str) -> bytes:
        """The committed value, empty where there is none."""
        entry = self._ledger.state.get(self.chaincode, key)
        self._public.reads[key] = entry.version if entry else None
        return entry.value if entry else b""

    def metadata(self, key: str) -> Mapping[str, bytes]:
        """The committed metadata of a key."""
        entry = self._ledger.state.get(self.chaincode, key)
        self._public.reads[key] = entry.version if entry else None
        return entry.metadata if entry else {}

    def range(self, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Keys and values, recorded as they are read so that phantoms are found at commit."""
        return self._recorded(self._recording(start, end), QUERY_LIMIT)

    def page(
        self, start: str, end: str, size: int, bookmark: str
    ) -> tuple[list[tuple[str, bytes]], str]:
        """A page and the bookmark of the next: its first key. Such a transaction may not write."""
        self._read_only("Paginated queries are supported only in a read-only transaction")
        self.simulation.read_only = "Transaction has already performed a paginated query"
        first = bookmark or start
        limit = min(size, QUERY_LIMIT)
        found = list(self._recorded(self._recording(first, end), limit))
        rest = self._ledger.state.range(self.chaincode, first, end)
        keys = [key for _, (key, _) in zip(range(limit + 1), rest, strict=False)]
        return found, keys[limit] if len(keys) > limit else ""

    def history(self, key: str) -> Iterator[Modification]:
        """A key's past, newest first."""
        yield from self._ledger.history(self.chaincode, key)

    def put(self, key: str, value: bytes | None) -> None:
        """Write a value; None deletes."""
        self._check_write(key)
        self._public.put(key, value)

    def put_metadata(self, key: str, name: str, value: bytes) -> None:
        # As in Fabric the entry replaces all that the key had, and nothing counts as read.
        self._check_write(key)
        self._public.metadata[key] = {name: value}

    # private data

    def get_private(self, name: str, key: str) -> bytes:
        """The private value as this hospital has it, empty where there is none."""
        return self._private(name, key, strict=True)

    def get_privates(self, name: str, keys: Sequence[str]) -> list[bytes]:
        """Several private values. As in Fabric, one that is missing here reads as none."""
        return [self._private(name, key, strict=False) for key in keys]

    def get_private_hash(self, name: str, key: str) -> bytes:
        """SHA-256 of the private value, which every peer has."""
        if self._collection(name) is None:
            raise ValueError(
                f"collection [{name}] not defined in the collection config for chaincode "
                f"[{self.chaincode}]"
            )
        entry = self._hashed_entry(name, key)
        return entry.value if entry else b""

    def private_metadata(self, name: str, key: str) -> Mapping[str, bytes]:
        """The metadata of a private key."""
        self._may_read(name)
        entry = self._hashed_entry(name, key)
        return entry.metadata if entry else {}

    def private_range(self, name: str, start: str, end: str) -> Iterator[tuple[str, bytes]]:
        """Private keys and values as this hospital has them; such a transaction may not write."""
        self._may_read(name)
        self._read_only("Queries on pvt data is supported only in a read-only transaction")
        self.simulation.read_only = "Transaction has already performed queries on pvt data"
        private = self._ledger.private.state(self.simulation.msp_id)
        namespace = collection_namespace(self.chaincode, name)
        for _, (key, entry) in zip(
            range(QUERY_LIMIT), private.range(namespace, start, end), strict=False
        ):
            yield key, entry.value

    def put_private(self, name: str, key: str, value: bytes | None, *, purge: bool = False) -> None:
        """Write a private value; None deletes, ``purge`` its past too."""
        self._may_write(name)
        self._check_write(key)
        self._sets(name).put(key, value, purge=purge)

    def put_private_metadata(self, name: str, key: str, entry: str, value: bytes) -> None:
        self._may_write(name)
        self._check_write(key)
        self._sets(name).metadata[key] = {entry: value}

    # how

    @property
    def _public(self) -> rwset.Sets:
        return self.simulation.namespace(self.chaincode).public

    def _sets(self, name: str) -> rwset.Sets:
        return self.simulation.namespace(self.chaincode).collection(name)

    def _recording(self, start: str, end: str) -> rwset.RangeRead:
        read = rwset.RangeRead(start, end)
        self._public.ranges.append(read)
        return read

    def _recorded(self, read: rwset.RangeRead, limit: int) -> Iterator[tuple[str, bytes]]:
        end = read.end
        for key, entry in self._ledger.state.range(self.chaincode, read.start, end):
            if len(read.reads) == limit:
                return
            read.reads.append((key, entry.version))
            read.end = key
            yield key, entry.value
        read.end, read.exhausted = end, True

    def _private(self, name: str, key: str, *, strict: bool) -> bytes:
        self._may_read(name)
        namespace = collection_namespace(self.chaincode, name)
        entry = self._ledger.private.state(self.simulation.msp_id).get(namespace, key)
        version = entry.version if entry else None
        public = self._ledger.state.version(namespace, rwset.key_hash(key).hex())
        if strict and version != public:
            raise ValueError(
                "private data matching public hash version is not available. Public hash version "
                f"= {_said(public)}, Private data version = {_said(version)}"
            )
        self._sets(name).reads[key] = version
        self.simulation.private_reads.add((self.chaincode, name))
        return entry.value if entry else b""

    def _hashed_entry(self, name: str, key: str) -> Entry | None:
        digest = rwset.key_hash(key).hex()
        namespace = collection_namespace(self.chaincode, name)
        entry = self._ledger.state.get(namespace, digest)
        self._sets(name).reads[key] = entry.version if entry else None
        return entry

    def _collection(self, name: str) -> Collection | None:
        """Looked up once; what it is counts as read."""
        if name not in self._collections:
            self.simulation.read_lifecycle(metadata_key(self.chaincode))
            for part in FIELDS:
                self.simulation.read_lifecycle(field_key(self.chaincode, part))
            ledger = self._ledger
            found = collection(ledger.state, ledger.channel, self.chaincode, name)
            self._collections[name] = found
        return self._collections[name]

    def _may_read(self, name: str) -> None:
        found = self._existing(name)
        if found.member_only_read and not is_member(found, self.simulation.creator):
            raise ValueError(self._denied("read", name))

    def _may_write(self, name: str) -> None:
        found = self._existing(name)
        if found.member_only_write and not is_member(found, self.simulation.creator):
            raise ValueError(self._denied("write", name))

    def _existing(self, name: str) -> Collection:
        found = self._collection(name)
        if found is None:
            place = f"{self._ledger.channel_id}/{self.chaincode}/{name}"
            raise ValueError(f"collection {place} could not be found")
        return found

    def _denied(self, what: str, name: str) -> str:
        return (
            f"tx creator does not have {what} access permission on privatedata in "
            f"chaincodeName:{self.chaincode} collectionName: {name}"
        )

    def _read_only(self, why: str) -> None:
        if self.simulation.writing:
            raise ValueError(f"unsuppored transaction. {why}")

    def _check_write(self, key: str) -> None:
        if not key:
            raise ValueError("a key is not empty")
        if self.simulation.read_only:
            raise ValueError(
                f"unsuppored transaction. {self.simulation.read_only}. Writes are not allowed"
            )
        self.simulation.writing = True


def _said(version: Version | None) -> str:
    if version is None:
        return "<nil>"
    return f"{{BlockNum: {version[0]}, TxNum: {version[1]}}}"
