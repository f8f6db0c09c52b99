"""Content identifiers: CIDv1 of raw bytes under SHA-256 (multiformats), in base32."""

from __future__ import annotations

import base64

# CID version 1, codec raw (0x55), multihash sha2-256 (0x12) of 32 bytes.
_PREFIX = bytes((0x01, 0x55, 0x12, 0x20))


def cid_of(sha256: str) -> str:
    """The CID of raw content by its hex SHA-256: what IPFS itself names one block of it."""
    packed = base64.b32encode(_PREFIX + bytes.fromhex(sha256))
    return "b" + packed.decode("ascii").rstrip("=").lower()
