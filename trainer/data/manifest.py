"""Hashes of a dataset's files: what the ledger records of them, and which one has changed since."""

from __future__ import annotations

import hashlib
from typing import Any, cast

from chaincode.schema import canonical
from chaincode.schema.base import Language
from chaincode.schema.errors import Code, MedFabricError
from trainer.data.sealed import Readable, files_below


class FileHash(Language):
    """``name``: below the dataset's folder; ``.`` where the dataset is one file."""

    name: str
    sha256: str


class Manifest(Language):
    """All files of a dataset, by name."""

    files: tuple[FileHash, ...]

    @classmethod
    def of(cls, path: Readable) -> Manifest:
        """Of a file, or of everything below a folder.

        Raises:
            MedFabricError: ``DATA_FILE`` where one cannot be read.
        """
        try:
            files = [FileHash(name=name, sha256=_sha256(file)) for name, file in files_below(path)]
        except OSError as error:
            raise MedFabricError(
                Code.DATA_FILE, f"cannot read {error.filename}: {error.strerror}; make it readable"
            ) from None
        return cls(files=tuple(files))

    def commitment(self, salt: bytes) -> str:
        """Hex SHA-256 over salt, names and hashes: shows later that these are the files."""
        return hashlib.sha256(salt + canonical.dumps(self)).hexdigest()

    def difference(self, now: Manifest) -> str | None:
        """Which file is not as it was, or None."""
        before = {file.name: file.sha256 for file in self.files}
        after = {file.name: file.sha256 for file in now.files}
        for name in sorted(before.keys() | after.keys()):
            what = "the file" if name == "." else name
            if name not in after:
                return f"{what} is gone"
            if name not in before:
                return f"{what} is new"
            if before[name] != after[name]:
                return f"{what} has changed"
        return None


def _sha256(path: Readable) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
