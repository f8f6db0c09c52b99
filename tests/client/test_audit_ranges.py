"""Summaries of long ranges, at the sizes where the tree grows."""

from __future__ import annotations

import hashlib

import pytest
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from client.audit.ranges import summary


def _reads(number: int) -> list[tuple[str, tuple[int, int]]]:
    return [(f"key{index:04d}", (index, 0)) for index in range(number)]


@pytest.mark.parametrize(
    ("number", "level", "hashes"),
    # Degree 2: groups of three; three hashes of a level become one of the next.
    [(3, 1, 1), (4, 1, 2), (6, 1, 2), (7, 2, 1), (9, 2, 1), (10, 2, 2), (19, 3, 1), (28, 3, 2)],
)
def test_tree_grows_as_fabric_s(number: int, level: int, hashes: int) -> None:
    found = summary(_reads(number), 2)

    assert found is not None
    assert (found.degree, found.level, len(found.hashes)) == (2, level, hashes)


def test_few_reads_are_written_out() -> None:
    assert summary(_reads(50), 50) is None
    with pytest.raises(ValueError, match="degree"):
        summary(_reads(3), 1)


def test_leaf_is_the_hash_of_the_reads() -> None:
    message = kv_rwset_pb2.QueryReads()
    for key, (block, index) in _reads(3):
        read = message.kv_reads.add(key=key)
        read.version.CopyFrom(kv_rwset_pb2.Version(block_num=block, tx_num=index))

    found = summary(_reads(3), 2)

    assert found is not None
    assert found.hashes == (hashlib.sha256(message.SerializeToString()).digest(),)
    assert summary([*_reads(3)[:2], ("key0002", (9, 9))], 2) != found
