"""Content outside the ledger: encrypted updates, shares, models; verified on every read."""

from client.content.cid import cid_of
from client.content.directory import DirectoryStore
from client.content.store import ContentStore

__all__ = ["ContentStore", "DirectoryStore", "KuboStore", "cid_of"]


def __getattr__(name: str) -> object:
    # ipfshttpclient and requests are loaded by those alone who use IPFS.
    if name == "KuboStore":
        from client.content.ipfs import KuboStore

        return KuboStore
    raise AttributeError(name)
