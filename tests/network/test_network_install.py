"""Fabric's programs: found, of the right version, installed from a verified archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from chaincode.schema.errors import Code, MedFabricError
from network import binaries
from network.install import install

GOOD = {"bin/peer": "3.1.5", "bin/orderer": "3.1.5"}


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Fabric on the machine; a cache of the test's own."""
    monkeypatch.delenv("MEDFABRIC_FABRIC_BIN", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_missing_programs_are_told_with_every_way_out() -> None:
    with pytest.raises(MedFabricError) as failure:
        binaries.fabric_version()

    assert failure.value.code == Code.BINARY_MISSING
    for way in ("PATH", "MEDFABRIC_FABRIC_BIN", "medfabric network install", "--devnet"):
        assert way in failure.value.message
    assert not binaries.present()


@pytest.mark.parametrize(
    "versions",
    [
        {"bin/peer": "2.5.12", "bin/orderer": "2.5.12"},
        {"bin/peer": "3.1.5", "bin/orderer": "3.1.4"},
        {"bin/peer": "3.1.5", "bin/orderer": "what?"},
    ],
)
def test_programs_of_another_version_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    for name, version in versions.items():
        program = folder / Path(name).name
        program.write_text(_script(version))
        program.chmod(0o755)
    monkeypatch.setenv("MEDFABRIC_FABRIC_BIN", str(folder))

    with pytest.raises(MedFabricError) as failure:
        binaries.fabric_version()

    assert failure.value.code == Code.BINARY_WRONG


def test_installed_programs_are_found(tmp_path: Path) -> None:
    archive, digest = _archive(tmp_path, GOOD)

    folder = install(str(archive), digest.upper(), quiet=True)

    assert binaries.fabric_version() == "3.1.5"
    assert (folder / "peer").stat().st_mode & 0o111


def test_an_archive_with_another_digest_is_not_unpacked(tmp_path: Path) -> None:
    archive, _ = _archive(tmp_path, GOOD)

    with pytest.raises(MedFabricError, match="SHA-256") as failure:
        install(str(archive), "0" * 64, quiet=True)

    assert failure.value.code == Code.BINARY_WRONG
    assert not binaries.present()


def test_a_wrong_release_does_not_replace_the_one_installed(tmp_path: Path) -> None:
    install(*map(str, _archive(tmp_path, GOOD)), quiet=True)
    old = {"bin/peer": "2.5.0", "bin/orderer": "2.5.0"}

    with pytest.raises(MedFabricError) as failure:
        install(*map(str, _archive(tmp_path, old)), quiet=True)

    assert failure.value.code == Code.BINARY_WRONG
    assert binaries.fabric_version() == "3.1.5"


def test_nothing_of_the_archive_lands_elsewhere(tmp_path: Path) -> None:
    hostile = {"../../bin/peer": "3.1.5", "/tmp/bin/orderer": "3.1.5", "bin/../../evil": "1.1.1"}
    archive, digest = _archive(tmp_path, {**hostile, **GOOD, "config/core.yaml": "1.1.1"})

    folder = install(str(archive), digest, quiet=True)

    assert sorted(path.name for path in folder.iterdir()) == ["orderer", "peer"]
    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_the_archive_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("bin/peer")
        link.type, link.linkname = tarfile.SYMTYPE, "/bin/sh"
        tar.addfile(link)

    with pytest.raises(MedFabricError) as failure:
        install(str(path), hashlib.sha256(path.read_bytes()).hexdigest(), quiet=True)

    assert failure.value.code == Code.BINARY_WRONG


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00" + b"\x01" * 60])
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.tar.gz"
    path.write_bytes(content)

    with pytest.raises(MedFabricError) as failure:
        install(str(path), hashlib.sha256(content).hexdigest(), quiet=True)

    assert failure.value.code == Code.BINARY_WRONG


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(MedFabricError, match="nowhere") as failure:
        install(str(tmp_path / "nowhere"), "0" * 64, quiet=True)

    assert failure.value.code == Code.BINARY_MISSING


def _archive(folder: Path, files: dict[str, str]) -> tuple[Path, str]:
    path = folder / "release.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, version in files.items():
            content = _script(version).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def _script(version: str) -> str:
    return f"#!/bin/sh\necho ' Version: v{version}'\n"
