"""Fabric's summary of a long range read: a tree of hashes instead of the keys and versions.

Results are hashed in groups of ``degree + 1``; whenever a level holds more than ``degree`` hashes,
they are combined into one of the level above (Fabric's ``query_results_helper``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from client.audit.state import Version


@dataclass(frozen=True)
class Summary:
    """``hashes`` are those of the topmost level, which is ``level``."""

    degree: int
    level: int
    hashes: tuple[bytes, ...]


def summary(reads: Sequence[tuple[str, Version | None]], degree: int) -> Summary | None:
    """The summary of these reads; None where Fabric would write them out.

    Raises:
        ValueError: a degree below 2 makes no tree.
    """
    if degree < 2:
        raise ValueError("a tree of hashes needs a degree of at least 2")
    if len(reads) <= degree:
        return None
    tree: dict[int, list[bytes]] = {}
    top = 1
    for first in range(0, len(reads), degree + 1):
        level, digest = 1, _group(reads[first : first + degree + 1])
        tree.setdefault(level, []).append(digest)
        while len(tree[level]) > degree:
            digest = _combined(tree.pop(level))
            level += 1
            tree.setdefault(level, []).append(digest)
            top = max(top, level)
    for level in range(1, top):
        if hashes := tree.pop(level, []):
            up = hashes[0] if len(hashes) == 1 else _combined(hashes)
            tree.setdefault(level + 1, []).append(up)
    if len(tree[top]) > degree:
        return Summary(degree, top + 1, (_combined(tree[top]),))
    return Summary(degree, top, tuple(tree[top]))


def _group(reads: Sequence[tuple[str, Version | None]]) -> bytes:
    message = kv_rwset_pb2.QueryReads()
    for key, version in reads:
        read = message.kv_reads.add(key=key)
        if version is not None:
            read.version.block_num, read.version.tx_num = version
            read.version.SetInParent()
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()


def _combined(hashes: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(hashes)).digest()
