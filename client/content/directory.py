"""Content in a folder that every hospital can reach: the simplest store."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import Code, MedFabricError
from client.content.cid import cid_of
from client.content.store import CHUNK_BYTES, ContentStore, Measured
from client.files import write_stream

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DirectoryStore(ContentStore):
    """One file per content, named by its CID, written whole or not at all.

    Raises:
        MedFabricError: ``STORE_FAILED`` where the folder cannot be made.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed("make", error) from None

    def _store(self, content: Measured) -> str:
        try:
            write_stream(self._folder, content, lambda: cid_of(content.sha256))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise MedFabricError(
                    Code.STORE_FULL,
                    f"{self._folder} has no room for {content.size_bytes} bytes or more; make "
                    "room and go on",
                ) from None
            raise self._failed("write", error) from None
        return cid_of(content.sha256)

    def _fetch(self, ref: ContentRef) -> Iterator[bytes]:
        # Named by the hash: a reference whose CID says something else leads nowhere else.
        path = self._folder / cid_of(ref.sha256)
        left = ref.size_bytes + 1
        try:
            with path.open("rb") as file:
                while left and (chunk := file.read(min(left, CHUNK_BYTES))):
                    left -= len(chunk)
                    yield chunk
        except FileNotFoundError:
            raise MedFabricError(
                Code.CONTENT_MISSING,
                f"{ref.cid} is not in {self._folder}; have its owner store it again",
            ) from None
        except OSError as error:
            raise self._failed("read", error) from None

    def _failed(self, what: str, error: OSError) -> MedFabricError:
        return MedFabricError(
            Code.STORE_FAILED,
            f"cannot {what} {self._folder}: {error.strerror}; check the folder and its rights",
        )
