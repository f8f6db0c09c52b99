"""Commit hashes: what peers say of a block's outcome, chained from block to block.

Fabric's peers write one into each block that they commit: SHA-256 over the transactions' flags,
every key that the block wrote or deleted with its version, and the hash of the block before. Peers
that hold the same state hold the same hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fabric_protos.common import common_pb2

from client.audit.state import Change, State, Version

SLOT = common_pb2.BlockMetadataIndex.COMMIT_HASH
_COLLECTION = "$$"


def commit_hash(previous: bytes, flags: bytes, updates: bytes) -> bytes:
    """The hash after a block; ``previous`` is empty before the first."""
    return hashlib.sha256(_varint(len(flags)) + flags + updates + previous).digest()


def metadata(digest: bytes) -> bytes:
    """The hash as it stands in a block's metadata."""
    return bytes(common_pb2.Metadata(value=digest).SerializeToString())


def updates(state: State, changes: Iterable[tuple[Version, Change]]) -> bytes:
    """What a block's valid transactions make of a state, in the bytes that are hashed.

    Args:
        state: before the block.
        changes: in order, each with its version.
    """
    final: dict[tuple[str, str, bytes], tuple[bytes | None, Version]] = {}
    for version, change in changes:
        namespace, _, collection = change.namespace.partition(_COLLECTION)
        key = bytes.fromhex(change.key) if collection else change.key.encode()
        place = namespace, collection, key
        value = change.value
        if not change.writes:
            entry = state.get(change.namespace, change.key)
            value, _ = final.get(place, (entry.value if entry else None, version))
            if value is None:
                # Metadata of a key that is not there has no effect.
                continue
        final[place] = value, version
    return b"".join(_writes(final))


def _writes(final: dict[tuple[str, str, bytes], tuple[bytes | None, Version]]) -> Iterable[bytes]:
    last_namespace, last_collection = "", ""
    ordered = sorted(final, key=lambda place: (place[0].encode(), place[1].encode(), place[2]))
    for namespace, collection, key in ordered:
        value, version = final[namespace, collection, key]
        entry = b""
        # A name that is the one before is left out.
        if namespace != last_namespace:
            entry += _field(1, namespace.encode())
            last_collection = ""
        if collection != last_collection:
            entry += _field(2, collection.encode())
        last_namespace, last_collection = namespace, collection
        entry += _field(3, key)
        entry += b"\x20\x01" if value is None else _field(5, value)
        entry += _field(6, b"".join(_height(number) for number in version))
        yield _field(1, entry)


def _height(number: int) -> bytes:
    """Big-endian without leading zeros, its length before it."""
    content = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return bytes((len(content),)) + content


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
