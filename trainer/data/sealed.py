"""A dataset at rest: its files in envelopes, the content key wrapped for chosen nodes.

A sealed dataset is a folder. ``sealed.json`` says which record of the ledger it belongs to. Below
``files``, ``index`` is an envelope of the files' names, for these may tell of patients, and each
number one of a file. Below ``keys``, each file is the content key for the node with the key of that
SHA-256. Readers take a :class:`SealedPath` as they take a path; what they read is decrypted
segment by segment in memory, and never written.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from pydantic import ValidationError

from chaincode.schema import canonical
from chaincode.schema.base import Id, Language, MspId, Sha256
from chaincode.schema.datasets import SealedFileBinding, SealedKeyBinding
from chaincode.schema.errors import Code, MedFabricError
from client.content import envelope as envelopes
from client.content.store import CHUNK_BYTES
from client.files import write_stream, write_whole
from client.identity import Identity

_ABOUT, _FILES, _KEYS, _INDEX = "sealed.json", "files", "keys", "index"


class SealedRecord(Language):
    """Whose a sealed dataset is, as the ledger records it."""

    msp_id: MspId
    dataset_id: Id
    commitment_sha256: Sha256

    def of_file(self, part: str) -> bytes:
        """The associated data of an envelope."""
        return SealedFileBinding(**self.model_dump(), part=part).digest

    def of_key(self, public_key_sha256: str) -> bytes:
        """The associated data of a wrapped key."""
        binding = SealedKeyBinding(**self.model_dump(), public_key_sha256=public_key_sha256)
        return binding.digest


class _Index(Language):
    """``names``: of the files below the dataset's folder, in order; None: it is one file, of the
    name ``single``."""

    single: str | None
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Opened:
    """A sealed dataset and its content key."""

    folder: Path
    record: SealedRecord
    key: bytes
    index: _Index

    def open(self, part: str) -> envelopes.EnvelopeFile:
        """The content of one of its envelopes."""
        try:
            # Closed with the EnvelopeFile.
            file = (self.folder / _FILES / part).open("rb")
        except OSError as error:
            raise _damaged(self.folder, f"{_FILES}/{part}: {error.strerror}") from None
        return envelopes.EnvelopeFile(cast(BinaryIO, file), self.key, self.record.of_file(part))


@dataclass(frozen=True)
class SealedPath:
    """A file or folder within a sealed dataset, with those of :class:`pathlib.Path`'s methods that
    readers of records use. ``parts``: names below the dataset's folder."""

    _opened: _Opened
    parts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part."""
        return self.parts[-1] if self.parts else self._opened.index.single or ""

    @property
    def suffix(self) -> str:
        """Of the name, with its dot."""
        return PurePosixPath(self.name).suffix

    def __str__(self) -> str:
        return "/".join((str(self._opened.folder), *self.parts))

    def __truediv__(self, name: str) -> SealedPath:
        return SealedPath(self._opened, (*self.parts, *PurePosixPath(name).parts))

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self._opened.index.single is None and any(self._below())

    def is_file(self) -> bool:
        """Whether it is a file."""
        if self._opened.index.single is not None:
            return not self.parts
        return "/".join(self.parts) in self._opened.index.names

    def iterdir(self) -> Iterator[SealedPath]:
        """What is in the folder."""
        for name in sorted({below[0] for below in self._below()}):
            yield self / name

    def open(
        self, mode: str = "r", *, newline: str | None = None, encoding: str | None = None
    ) -> IO[Any]:
        """The content, decrypted as it is read.

        Raises:
            FileNotFoundError: there is none.
            MedFabricError: ``ENVELOPE_REFUSED``, also at any later read.
        """
        if mode not in ("r", "rb"):
            raise ValueError("a sealed dataset is only read")
        if not self.is_file():
            raise FileNotFoundError(2, "no such file in the sealed dataset", str(self))
        raw = io.BufferedReader(self._opened.open(self._part), envelopes.SEGMENT)
        if mode == "rb":
            return raw
        return io.TextIOWrapper(raw, encoding=encoding or "utf-8", newline=newline)

    def size(self) -> int:
        """Bytes of the content."""
        with self._opened.open(self._part) as content:
            return content.size

    @property
    def _part(self) -> str:
        index = self._opened.index
        if index.single is not None:
            return "0"
        return str(index.names.index("/".join(self.parts)))

    @property
    def names(self) -> list[str]:
        """Of all files below the folder."""
        return ["/".join(below) for below in self._below()]

    def _below(self) -> Iterator[tuple[str, ...]]:
        for name in self._opened.index.names:
            parts = PurePosixPath(name).parts
            if parts[: len(self.parts)] == self.parts and len(parts) > len(self.parts):
                yield parts[len(self.parts) :]


Readable = Path | SealedPath
"""Where records are read from."""


def files_below(path: Readable) -> list[tuple[str, Readable]]:
    """All files below a folder with their names there, sorted; of a file itself as ``.``."""
    if not path.is_dir():
        return [(".", path)]
    if isinstance(path, SealedPath):
        return [(name, path / name) for name in sorted(path.names)]
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return [(file.relative_to(path).as_posix(), file) for file in files]


def entries(folder: Readable) -> list[Readable]:
    """What is in a folder, sorted by name."""
    return sorted(folder.iterdir(), key=lambda path: path.name)


def size(path: Readable) -> int:
    """Bytes of a file."""
    return path.size() if isinstance(path, SealedPath) else path.stat().st_size


def is_sealed(path: Path) -> bool:
    """Whether a folder is a sealed dataset."""
    return (path / _ABOUT).is_file()


def readable(path: Path, identity: Identity | None) -> Readable:
    """A dataset's path as readers take it: as it is, or opened with the node's key if sealed.

    Raises:
        MedFabricError: ``SEALED_DAMAGED``; ``ENVELOPE_REFUSED``, also where the dataset is not
            sealed for this identity.
    """
    if not is_sealed(path):
        return path
    if identity is None:
        raise MedFabricError(
            Code.ENVELOPE_REFUSED, f"{path} is sealed; open it as a node that has its key"
        )
    return SealedPath(_open(path, identity))


def record_of(path: Readable) -> SealedRecord | None:
    """Which record of the ledger a sealed dataset belongs to; None of one that is not sealed."""
    return path._opened.record if isinstance(path, SealedPath) else None


def seal(
    source: Path, target: Path, record: SealedRecord, recipients: Sequence[bytes]
) -> list[str]:
    """Seal a dataset's file or folder into a new folder.

    Args:
        recipients: certificates (PEM) of the nodes that may read it.

    Returns:
        SHA-256 of the public keys that it is sealed for.

    Raises:
        MedFabricError: ``BAD_IDENTITY`` for a certificate; ``FILE_UNUSABLE``.
    """
    inside = files_below(source)
    single = None if source.is_dir() else source.name
    names = () if single else tuple(name for name, _ in inside)
    contents = (_chunks(file.open("rb")) for _, file in inside)
    return _write(target, record, _Index(single=single, names=names), contents, recipients)


def reseal(
    folder: Path, identity: Identity, recipients: Sequence[bytes], *, new_key: bool
) -> list[str]:
    """Seal for other recipients, in place of those before; one's own node stays among them.

    Args:
        new_key: encrypt the content anew, under a new key: what a removed node's key would still
            open is then gone from this folder. Without it, recipients can only be added.

    Returns:
        SHA-256 of the public keys that it is sealed for.
    """
    opened = _open(folder, identity)
    everyone = [identity.certificate_pem, *recipients]
    if not new_key:
        return _wrap_all(folder, opened.record, opened.key, everyone)
    parts = range(1 if opened.index.single else len(opened.index.names))
    contents = (_chunks(opened.open(str(part))) for part in parts)
    anew, before = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    digests = _write(anew, opened.record, opened.index, contents, everyone)
    folder.rename(before)
    anew.rename(folder)
    shutil.rmtree(before)
    return digests


def _open(folder: Path, identity: Identity) -> _Opened:
    try:
        record = SealedRecord.model_validate_json((folder / _ABOUT).read_bytes())
    except (OSError, ValidationError):
        raise _damaged(folder, f"{_ABOUT} is not what was written") from None
    digest = identity.public_key_sha256
    try:
        wrapped = (folder / _KEYS / digest).read_bytes()
    except OSError:
        raise MedFabricError(
            Code.ENVELOPE_REFUSED,
            f"{folder} is not sealed for {identity.name}; have a node that reads it seal it for "
            "this one (medfabric node reseal)",
        ) from None
    key = envelopes.unwrap(wrapped, identity, record.of_key(digest))
    opened = _Opened(folder, record, key, _Index(single="", names=()))
    with opened.open(_INDEX) as names:
        try:
            index = _Index.model_validate_json(names.read())
        except ValidationError:
            raise _damaged(folder, "its index is not what was written") from None
    return _Opened(folder, record, key, index)


def _write(
    target: Path,
    record: SealedRecord,
    index: _Index,
    contents: Iterable[Iterable[bytes]],
    recipients: Sequence[bytes],
) -> list[str]:
    key = envelopes.new_key()
    try:
        (target / _FILES).mkdir(parents=True, mode=0o700)
        (target / _KEYS).mkdir(mode=0o700)
        for number, chunks in enumerate(contents):
            _seal_part(target, record, key, str(number), chunks)
        _seal_part(target, record, key, _INDEX, [canonical.dumps(index)])
        digests = _wrap_all(target, record, key, recipients)
        # Last: a folder without it was not sealed whole.
        write_whole(target / _ABOUT, canonical.dumps(record))
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE,
            f"cannot write {error.filename or target}: {error.strerror}; name a new folder",
        ) from None
    return digests


def _seal_part(
    target: Path, record: SealedRecord, key: bytes, part: str, chunks: Iterable[bytes]
) -> None:
    sealed = envelopes.seal_stream(chunks, key, record.of_file(part))
    write_stream(target / _FILES, sealed, lambda: part, mode=0o600)


def _wrap_all(
    folder: Path, record: SealedRecord, key: bytes, certificates: Sequence[bytes]
) -> list[str]:
    for public, digest in map(envelopes.recipient, certificates):
        wrapped = envelopes.wrap(key, public, record.of_key(digest))
        write_whole(folder / _KEYS / digest, wrapped, mode=0o600)
    return sorted(path.name for path in (folder / _KEYS).iterdir())


def _chunks(file: IO[bytes] | envelopes.EnvelopeFile) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _damaged(folder: Path, why: str) -> MedFabricError:
    return MedFabricError(
        Code.SEALED_DAMAGED, f"{folder} is damaged ({why}); restore it from its backup"
    )
