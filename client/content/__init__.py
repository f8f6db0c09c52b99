"""Content outside the ledger: encrypted updates, shares, models; verified on every read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.content.cid import cid_of
from client.content.directory import DirectoryStore
from client.content.store import ContentStore

if TYPE_CHECKING:
    from client.content.ipfs import KuboStore

__all__ = ["ContentStore", "DirectoryStore", "KuboStore", "cid_of"]


def __getattr__(name: str) -> type[ContentStore]:
    # ipfshttpclient and requests are loaded by those alone who use IPFS.
    if name == "KuboStore":
        from client.content.ipfs import KuboStore

        return KuboStore
    raise AttributeError(name)
