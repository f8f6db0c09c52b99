"""Texts as models see them: the set of their words, hashed into buckets."""

from __future__ import annotations

import hashlib
import re

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W\d_]+")
_WORDS_READ = 10_000


def hashed(text: str, buckets: int) -> NDArray[np.float32]:
    """float32[buckets] of Euclidean norm 1 (0 where there is no word), equal in every bucket that
    a word falls into. A word's bucket is that of its SHA-256, the same on every machine."""
    found = {_bucket(word, buckets) for word in _WORD.findall(text.lower())[:_WORDS_READ]}
    values = np.zeros(buckets, np.float32)
    if found:
        values[sorted(found)] = len(found) ** -0.5
    return values


def _bucket(word: str, buckets: int) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8]) % buckets
