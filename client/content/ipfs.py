"""Content in IPFS, through the RPC port of a Kubo node of one's own."""

from __future__ import annotations

import os
from typing import Any

# Read by ipfshttpclient while it is imported; its patch of requests breaks with current ones.
os.environ.setdefault("PY_IPFS_HTTP_CLIENT_PATCH_REQUESTS", "no")

import ipfshttpclient
from ipfshttpclient import exceptions

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import Code, MedFabricError
from client.content.store import ContentStore


class KuboStore(ContentStore):
    """Adds, pins and reads content over one HTTP session; use one per thread.

    Args:
        address: multiaddress of the RPC port, ``/ip4/127.0.0.1/tcp/5001/http``.
        secret: the bearer secret that the node's ``API.Authorizations`` asks for.
        timeout: seconds that the node may take to find content among its peers.

    Raises:
        MedFabricError: ``STORE_FAILED`` where the address is none.
    """

    def __init__(self, address: str, secret: str, *, timeout: float = 60.0) -> None:
        self._address = address
        try:
            # Not connect(): it refuses current nodes by their version.
            self._client: Any = ipfshttpclient.Client(
                address,
                session=True,
                timeout=timeout,
                headers={"Authorization": f"Bearer {secret}"},
            )
        except exceptions.AddressError:
            raise MedFabricError(
                Code.STORE_FAILED,
                f"{address} is no address of an IPFS node; give /ip4/HOST/tcp/PORT/http",
            ) from None

    def close(self) -> None:
        """Close the session."""
        self._client.close()

    def _store(self, sha256: str, content: bytes) -> str:
        try:
            options = {"cid-version": 1, "pin": True}
            return str(self._client.add_bytes(content, opts=options))
        except exceptions.Error as error:
            raise self._failed(error) from None

    def _fetch(self, ref: ContentRef) -> bytes:
        if ref.size_bytes == 0:
            # Kubo never passes an empty block on to another node.
            return b""
        try:
            return bytes(self._client.cat(ref.cid, length=ref.size_bytes + 1))
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
