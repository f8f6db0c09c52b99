"""A plan's key holders in one process: their secrets, the collective key, their share keys."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from chaincode.schema.encryption import EncryptionTerms, Workload
from trainer.privacy import CollectiveKey, KeySecret, Scheme, ShareKey

SEED = b"s" * 32
SENDER = b"a node, in a round"


@dataclass(frozen=True)
class KeyHolders:
    """Hospital i of n has ``secrets[i - 1]`` and ``share_keys[i - 1]``."""

    scheme: Scheme
    secrets: list[KeySecret]
    documents: list[bytes]
    key: CollectiveKey
    share_keys: list[ShareKey]

    def encrypt(self, values: np.ndarray, sender: bytes = SENDER) -> bytes:
        """An update."""
        return b"".join(self.scheme.encrypt(values, self.key, sender))

    def add(self, updates: Sequence[bytes], weights: Sequence[int]) -> bytes:
        """The weighted sum."""
        files = [(io.BytesIO(update), SENDER) for update in updates]
        named = [(*file, weight) for file, weight in zip(files, weights, strict=True)]
        return b"".join(self.scheme.weighted_sum(named, self.key))

    def share(self, point: int, aggregate: bytes, points: Sequence[int]) -> bytes:
        """The share of the hospital at ``point`` when those at ``points`` decrypt."""
        key = self.share_keys[point - 1]
        return self.scheme.decryption_share(key, io.BytesIO(aggregate), points)

    def decode(self, aggregate: bytes, shares: Sequence[bytes], weight: int) -> np.ndarray:
        """The mean that the shares give."""
        chunks = self.scheme.decode_mean(io.BytesIO(aggregate), shares, weight)
        return np.concatenate(list(chunks))

    def decrypt(self, aggregate: bytes, points: Sequence[int], weight: int) -> np.ndarray:
        """The mean, by the hospitals at ``points``."""
        shares = [self.share(point, aggregate, points) for point in points]
        return self.decode(aggregate, shares, weight)


@lru_cache(maxsize=16)
def key_holders(
    hospitals: int = 4,
    threshold: int | None = None,
    parameters: int = 40,
    terms: EncryptionTerms | None = None,
) -> KeyHolders:
    """A whole ceremony."""
    work = Workload(hospitals, hospitals, parameters, 1)
    terms = terms or EncryptionTerms(threshold=threshold)
    scheme = Scheme(terms, work, SEED)
    secrets = [KeySecret(os.urandom(32)) for _ in range(hospitals)]
    documents = [scheme.dealing.make(secret, i) for i, secret in enumerate(secrets, 1)]
    if scheme.dealt:
        dealt = zip(*map(scheme.dealing.subshares, secrets), strict=True)
        share_keys = [
            scheme.share_key(i, dict(enumerate(own, 1))) for i, own in enumerate(dealt, 1)
        ]
    else:
        share_keys = [scheme.own_share_key(secret, i) for i, secret in enumerate(secrets, 1)]
    return KeyHolders(scheme, secrets, documents, scheme.collective_key(documents), share_keys)
