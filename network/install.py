"""Installs Fabric's programs from the official release archive."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from chaincode.schema.errors import Code, MedFabricError
from client.tools import cache_folder
from network import binaries

_PROGRAMS = ("peer", "orderer", "configtxgen", "configtxlator", "osnadmin", "cryptogen", "discover")
_PIECE = 1 << 20
_LIMIT = 2 * 1024**3


def install(source: str, sha256: str, *, quiet: bool = False) -> Path:
    """Fetch an archive, check it, unpack the programs into the user's cache.

    Args:
        source: a file, or an https address.
        sha256: the archive's hex digest.

    Returns:
        The folder with the programs.

    Raises:
        MedFabricError: ``BINARY_MISSING`` where it cannot be fetched, ``BINARY_WRONG`` where it is
            not the archive that the digest names, or holds no Fabric 3.1.
    """
    target = cache_folder()
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        archive = Path(folder) / "archive.tar.gz"
        digest = _fetch(source, archive, quiet)
        if digest != sha256.lower():
            raise MedFabricError(
                Code.BINARY_WRONG,
                f"{source} has the SHA-256 {digest}, not the one given; fetch it again",
            )
        unpacked = Path(folder) / "bin"
        unpacked.mkdir()
        _unpack(archive, unpacked)
        binaries.fabric_version(unpacked)
        for program in unpacked.iterdir():
            program.replace(target / program.name)
    return target


def _fetch(source: str, archive: Path, quiet: bool) -> str:
    try:
        if source.startswith("https://"):
            import requests

            plain = {"Accept-Encoding": "identity"}
            with requests.get(source, stream=True, timeout=30, headers=plain) as answer:
                answer.raise_for_status()
                size = int(answer.headers.get("Content-Length", 0))
                return _copy(answer.iter_content(_PIECE), archive, size, quiet)
        path = Path(source)
        with path.open("rb") as file:
            pieces = iter(partial(file.read, _PIECE), b"")
            return _copy(pieces, archive, path.stat().st_size, quiet)
    except OSError as error:
        raise MedFabricError(
            Code.BINARY_MISSING, f"cannot fetch {source}: {error}; name a file instead"
        ) from None


def _copy(pieces: Iterable[bytes], archive: Path, size: int, quiet: bool) -> str:
    from rich.progress import Progress

    digest = hashlib.sha256()
    copied = 0
    with archive.open("wb") as target, Progress(disable=quiet, transient=True) as progress:
        task = progress.add_task("fetching", total=size or None)
        for piece in pieces:
            copied += len(piece)
            if copied > _LIMIT:
                raise OSError("it is larger than a release can be")
            digest.update(piece)
            target.write(piece)
            progress.advance(task, len(piece))
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            for entry in tar:
                path = Path(entry.name)
                # Only the programs, by name, as plain files: no path of the archive is followed.
                if not entry.isfile() or path.parent.name != "bin" or path.name not in _PROGRAMS:
                    continue
                content = tar.extractfile(entry)
                if content is not None:
                    with (folder / path.name).open("wb") as target:
                        shutil.copyfileobj(content, target)
                    (folder / path.name).chmod(0o755)
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise MedFabricError(
            Code.BINARY_WRONG, f"not a release archive: {error}; fetch it again"
        ) from None
