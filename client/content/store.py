"""The interface that every store of content has."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import Code, MedFabricError
from client.files import write_stream

CHUNK_BYTES = 1024 * 1024
"""How much of a content is in memory at a time, roughly."""


class ContentStore(ABC):
    """Holds content by reference. The SHA-256 is the truth; the CID only says where.

    A store is trusted with nothing: what comes out is exactly the content that the reference
    names, or an error. Content passes chunk by chunk, hashed on its way, in constant memory;
    :meth:`put` and :meth:`get` are for small content that is in memory anyway. Subclasses only
    move bytes. Safe to share among threads.
    """

    def put(self, content: bytes) -> ContentRef:
        """Store content; storing the same again repairs a damaged copy.

        Raises:
            MedFabricError: as :meth:`put_stream`.
        """
        return self.put_stream([content])

    def get(self, ref: ContentRef) -> bytes:
        """The content that ``ref`` names.

        Raises:
            MedFabricError: as :meth:`get_stream`.
        """
        return b"".join(self.get_stream(ref))

    def put_stream(self, chunks: Iterable[bytes]) -> ContentRef:
        """Store content that comes in chunks of any size.

        Raises:
            MedFabricError: ``STORE_FULL``, ``STORE_UNREACHABLE`` or ``STORE_FAILED``;
                ``FILE_UNUSABLE`` where reading the chunks fails. Nothing half-written is left.
        """
        measured = Measured(chunks)
        cid = self._store(measured)
        return ContentRef(cid=cid, sha256=measured.sha256, size_bytes=measured.size_bytes)

    def get_stream(self, ref: ContentRef) -> Iterator[bytes]:
        """The content that ``ref`` names, in chunks.

        The last chunk is given when the whole is verified: who has them all has the content, who
        meets an error has got less than the whole.

        Raises (while iterating):
            MedFabricError: ``CONTENT_MISSING``, ``CONTENT_TAMPERED`` where the store gives other
                bytes, ``STORE_UNREACHABLE`` or ``STORE_FAILED``.
        """
        measured = Measured(self._fetch(ref))
        held = b""
        for chunk in measured:
            if measured.size_bytes > ref.size_bytes:
                raise _tampered(ref)
            if held:
                yield held
            held = chunk
        if (measured.size_bytes, measured.sha256) != (ref.size_bytes, ref.sha256):
            raise _tampered(ref)
        if held:
            yield held

    def put_file(self, path: Path) -> ContentRef:
        """Store a file's content.

        Raises:
            MedFabricError: ``FILE_UNUSABLE`` where it cannot be read; as :meth:`put_stream`.
        """
        try:
            with path.open("rb") as file:
                return self.put_stream(iter(lambda: file.read(CHUNK_BYTES), b""))
        except OSError as error:
            raise MedFabricError(
                Code.FILE_UNUSABLE, f"cannot read {path}: {error.strerror}; name another file"
            ) from None

    def get_file(self, ref: ContentRef, path: Path) -> None:
        """Write the verified content to a file, whole or not at all.

        Raises:
            MedFabricError: ``FILE_UNUSABLE`` where it cannot be written; as :meth:`get_stream`.
        """
        try:
            write_stream(path.parent, self.get_stream(ref), lambda: path.name)
        except OSError as error:
            raise MedFabricError(
                Code.FILE_UNUSABLE, f"cannot write {path}: {error.strerror}; name another file"
            ) from None

    @abstractmethod
    def _store(self, content: Measured) -> str:
        """Keep the content and return its CID. ``content.sha256`` is known once it has passed."""

    @abstractmethod
    def _fetch(self, ref: ContentRef) -> Iterator[bytes]:
        """Chunks as the store has them, at most ``ref.size_bytes + 1`` bytes of them."""


class Measured(Iterator[bytes]):
    """Chunks that are hashed and counted as they pass."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of what has passed."""
        return self._digest.hexdigest()

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except OSError as error:
            # Not to be taken for a failure of the one that writes.
            raise MedFabricError(
                Code.FILE_UNUSABLE, f"the content cannot be read: {error.strerror}; try it again"
            ) from None
        self._digest.update(chunk)
        self.size_bytes += len(chunk)
        return chunk


def _tampered(ref: ContentRef) -> MedFabricError:
    return MedFabricError(
        Code.CONTENT_TAMPERED,
        f"the store's copy of {ref.cid} is not the content with SHA-256 {ref.sha256}; "
        "have its owner store it again",
    )
