"""The interface that every store of content has."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

from chaincode.schema.base import ContentRef
from chaincode.schema.errors import Code, MedFabricError
from client.files import write_whole


class ContentStore(ABC):
    """Holds content by reference. The SHA-256 is the truth; the CID only says where.

    A store is trusted with nothing: :meth:`get` gives exactly the content that the reference
    names, or raises. Subclasses only move bytes.
    """

    def put(self, content: bytes) -> ContentRef:
        """Store content; storing the same again repairs a damaged copy.

        Raises:
            MedFabricError: ``STORE_FULL``, ``STORE_UNREACHABLE`` or ``STORE_FAILED``; nothing
                half-written is left.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        return ContentRef(cid=self._store(sha256, content), sha256=sha256, size_bytes=len(content))

    def get(self, ref: ContentRef) -> bytes:
        """The content that ``ref`` names.

        Raises:
            MedFabricError: ``CONTENT_MISSING``, ``CONTENT_TAMPERED`` where the store gives other
                bytes, ``STORE_UNREACHABLE`` or ``STORE_FAILED``.
        """
        content = self._fetch(ref)
        if len(content) != ref.size_bytes or hashlib.sha256(content).hexdigest() != ref.sha256:
            raise MedFabricError(
                Code.CONTENT_TAMPERED,
                f"the store's copy of {ref.cid} is not the content with SHA-256 {ref.sha256}; "
                "have its owner store it again",
            )
        return content

    def put_file(self, path: Path) -> ContentRef:
        """Store a file's content.

        Raises:
            MedFabricError: ``FILE_UNUSABLE`` where it cannot be read; as :meth:`put`.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise MedFabricError(
                Code.FILE_UNUSABLE, f"cannot read {path}: {error.strerror}; name another file"
            ) from None
        return self.put(content)

    def get_file(self, ref: ContentRef, path: Path) -> None:
        """Write the verified content to a file, whole or not at all.

        Raises:
            MedFabricError: ``FILE_UNUSABLE`` where it cannot be written; as :meth:`get`.
        """
        content = self.get(ref)
        try:
            write_whole(path, content)
        except OSError as error:
            raise MedFabricError(
                Code.FILE_UNUSABLE, f"cannot write {path}: {error.strerror}; name another file"
            ) from None

    @abstractmethod
    def _store(self, sha256: str, content: bytes) -> str:
        """Keep the content and return its CID."""

    @abstractmethod
    def _fetch(self, ref: ContentRef) -> bytes:
        """Bytes as the store has them, at most ``ref.size_bytes + 1`` of them."""
