"""Commit hashes: the bytes that peers hash, and that nothing which a block does is left out."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from client.audit import commits
from client.audit.state import Change, State

FIELD = {"namespace": 0x0A, "collection": 0x12, "key": 0x1A, "value": 0x2A, "version": 0x32}


def _bytes(name: str, content: bytes) -> bytes:
    return bytes((FIELD[name], len(content))) + content


def _entry(*parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes((0x0A, len(content))) + content


def test_updates_are_those_of_fabric_s_peers_byte_for_byte() -> None:
    state = State()
    state.apply(Change("one", "kept", True, b"old"), (1, 0))
    digest = hashlib.sha256(b"key").digest()
    changes = [
        ((300, 0), Change("two", "b", True, b"B")),
        ((300, 0), Change("one$$secret", digest.hex(), True, b"hash")),
        ((300, 1), Change("one", "gone", True, None)),
        ((300, 2), Change("one", "kept", False, None, {"POLICY": b"x"})),
        ((300, 2), Change("one", "absent", False, None, {"POLICY": b"x"})),
        ((300, 3), Change("two", "a", True, b"first")),
        ((300, 4), Change("two", "a", True, b"A")),
    ]

    found = commits.updates(state, changes)

    block = b"\x02\x01\x2c"
    assert found == b"".join(
        (
            _entry(
                _bytes("namespace", b"one"),
                _bytes("key", b"gone"),
                b"\x20\x01",
                _bytes("version", block + b"\x01\x01"),
            ),
            # New metadata write the value again, with the new version.
            _entry(
                _bytes("key", b"kept"),
                _bytes("value", b"old"),
                _bytes("version", block + b"\x01\x02"),
            ),
            _entry(
                _bytes("collection", b"secret"),
                _bytes("key", digest),
                _bytes("value", b"hash"),
                _bytes("version", block + b"\x00"),
            ),
            _entry(
                _bytes("namespace", b"two"),
                _bytes("key", b"a"),
                _bytes("value", b"A"),
                _bytes("version", block + b"\x01\x04"),
            ),
            _entry(_bytes("key", b"b"), _bytes("value", b"B"), _bytes("version", block + b"\x00")),
        )
    )


CHANGES = st.lists(
    st.builds(
        Change,
        namespace=st.sampled_from(["one", "two", "one$$aa"]),
        key=st.sampled_from(["aa", "bb"]),
        writes=st.just(True),
        value=st.none() | st.binary(min_size=1, max_size=3),
    ),
    max_size=4,
)


@given(one=CHANGES, other=CHANGES, flags=st.binary(max_size=3), previous=st.binary(max_size=3))
def test_different_outcomes_have_different_hashes(one, other, flags, previous):
    def outcome(changes: list[Change]) -> dict[tuple[str, str], tuple[bytes | None, int]]:
        return {(c.namespace, c.key): (c.value, n) for n, c in enumerate(changes)}

    def hashed(changes: list[Change], flags: bytes, previous: bytes) -> bytes:
        numbered = [((2, number), change) for number, change in enumerate(changes)]
        return commits.commit_hash(previous, flags, commits.updates(State(), numbered))

    same = outcome(one) == outcome(other)
    assert (hashed(one, flags, previous) == hashed(other, flags, previous)) == same
    assert hashed(one, flags, previous) != hashed(one, flags + b"\0", previous)
    assert hashed(one, flags, previous) != hashed(one, flags, previous + b"\0")
