"""Content in IPFS, through the RPC port of a Kubo node of one's own."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

# Read by ipfshttpclient while it is imported; its patch of requests breaks with current ones.
os.environ.setdefault("PY_IPFS_HTTP_CLIENT_PATCH_REQUESTS", "no")

import ipfshttpclient
from ipfshttpclient import exceptions

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import Code, MedFabricError
from client.content.store import CHUNK_BYTES, ContentStore, Measured

_RANGE_BYTES = 4 * CHUNK_BYTES


class KuboStore(ContentStore):
    """Adds, pins and reads content over HTTP, with one session for each thread that uses it.

    Args:
        address: multiaddress of the RPC port, ``/ip4/127.0.0.1/tcp/5001/http``.
        secret: the bearer secret that the node's ``API.Authorizations`` asks for.
        timeout: seconds that the node may take to find content among its peers.

    Raises:
        MedFabricError: ``STORE_FAILED`` where the address is none.
    """

    def __init__(self, address: str, secret: str, *, timeout: float = 60.0) -> None:
        self._address = address
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._timeout = timeout
        # Those of threads that have ended are forgotten, and close themselves.
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._session()

    def close(self) -> None:
        """Close all sessions; whoever uses the store again opens a new one."""
        with self._lock:
            sessions, self._sessions = list(self._sessions), weakref.WeakSet()
            self._of_thread = threading.local()
        for session in sessions:
            session.close()

    def _session(self) -> Any:
        """This thread's own: what ipfshttpclient keeps open is not made for sharing."""
        session = getattr(self._of_thread, "session", None)
        if session is not None:
            return session
        try:
            # Not connect(): it refuses current nodes by their version.
            session = ipfshttpclient.Client(
                self._address,
                session=True,
                timeout=self._timeout,
                headers=self._headers,
                chunk_size=CHUNK_BYTES,
            )
        except exceptions.AddressError:
            raise MedFabricError(
                Code.STORE_FAILED,
                f"{self._address} is no address of an IPFS node; give /ip4/HOST/tcp/PORT/http",
            ) from None
        with self._lock:
            self._sessions.add(session)
            self._of_thread.session = session
        return session

    def _store(self, content: Measured) -> str:
        try:
            added = self._session().add(_Reader(content), pin=True, raw_leaves=True, cid_version=1)
            return str(added["Hash"])
        except exceptions.Error as error:
            raise self._failed(error) from None

    def _fetch(self, ref: ContentRef) -> Iterator[bytes]:
        # Kubo never passes an empty block on to another node, so that nothing is asked for it.
        left = ref.size_bytes + 1 if ref.size_bytes else 0
        while left:
            # One byte more than there should be, but never that byte alone.
            length = left if left <= _RANGE_BYTES + 1 else _RANGE_BYTES
            chunk = self._range(ref, ref.size_bytes + 1 - left, length)
            yield chunk
            left = left - length if len(chunk) == length else 0

    def _range(self, ref: ContentRef, offset: int, length: int) -> bytes:
        try:
            return bytes(self._session().cat(ref.cid, offset=offset, length=length))
        except exceptions.TimeoutError:
            raise self._missing(ref) from None
        except exceptions.ErrorResponse as error:
            if "not found" in str(error) or "could not find" in str(error):
                raise self._missing(ref) from None
            raise self._failed(error) from None
        except exceptions.Error as error:
            raise self._failed(error) from None

    def _missing(self, ref: ContentRef) -> MedFabricError:
        return MedFabricError(
            Code.CONTENT_MISSING,
            f"no node that {self._address} knows gave {ref.cid} in time; check that the nodes "
            "are connected, or have its owner store it again",
        )

    def _failed(self, error: Exception) -> MedFabricError:
        if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError):
            return MedFabricError(
                Code.STORE_UNREACHABLE,
                f"the IPFS node at {self._address} does not answer; check that it runs",
            )
        if "403" in str(error):
            return MedFabricError(
                Code.STORE_FAILED,
                f"the IPFS node at {self._address} refuses our secret; check the secret's file",
            )
        if "no space left" in str(error):
            return MedFabricError(
                Code.STORE_FULL, f"the IPFS node at {self._address} has no room; make room, go on"
            )
        return MedFabricError(
            Code.STORE_FAILED, f"the IPFS node at {self._address} failed: {str(error)[:500]}"
        )


class _Reader:
    """Chunks as a file to read from, as ipfshttpclient takes it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, size: int) -> bytes:
        """The next chunk that is not empty, however long; empty at the end."""
        return next((chunk for chunk in self._chunks if chunk), b"")
