"""Programs that others wrote: found, missing, built."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from chaincode.schema.errors import Code, MedFabricError
from client import tools
from client.cli.main import cli
from client.cli.output import Exit

NAME = "medfabric-test-tool"
SCRIPT = "#!/bin/sh\n{}\n"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/path:/usr/bin:/bin")
    monkeypatch.delenv(tools.FOLDER_VARIABLE, raising=False)


def install(folder, name: str = NAME, does: str = "exit 0"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(SCRIPT.format(does))
    (folder / name).chmod(0o755)
    return folder / name


def test_the_named_folder_goes_before_the_path_and_that_before_the_cache(monkeypatch, tmp_path):
    assert tools.find(NAME) is None
    cached = install(tools.cache_folder())
    assert tools.find(NAME) == cached
    on_path = install(tmp_path / "path")
    assert tools.find(NAME) == on_path
    named = install(tmp_path / "named")
    monkeypatch.setenv(tools.FOLDER_VARIABLE, str(tmp_path / "named"))
    assert tools.find(NAME) == named


def test_a_missing_program_says_what_to_do():
    with pytest.raises(MedFabricError, match=tools.FOLDER_VARIABLE) as caught:
        tools.require(NAME, "the test's tool")

    assert caught.value.code == Code.TOOL_MISSING


def test_a_build_that_fails_shows_its_end_and_leaves_nothing(tmp_path):
    install(tmp_path / "path", "go", "echo no such module >&2; exit 1")
    for file in ("go.mod", "go.sum"):
        (tmp_path / file).write_text("")

    with pytest.raises(MedFabricError, match="no such module") as caught:
        tools.build(NAME, tmp_path)

    assert caught.value.code == Code.TOOL_FAILED
    assert list(tools.cache_folder().iterdir()) == []


def test_a_built_program_is_found_afterwards(tmp_path):
    install(tmp_path / "path", "go", f'mkdir -p "$5"; cp "$0" "$5{NAME}"')
    for file in ("go.mod", "go.sum"):
        (tmp_path / file).write_text("")

    with pytest.raises(MedFabricError):
        tools.build("another", tmp_path)
    assert tools.find(NAME) is None

    assert tools.build(NAME, tmp_path) == tools.find(NAME)


def test_kubo_is_built_by_command_or_said_to_need_go(tmp_path):
    missing = CliRunner().invoke(cli, ["network", "install-kubo", "--json"])
    install(tmp_path / "path", "go", 'mkdir -p "$5"; cp "$0" "$5ipfs"')
    built = CliRunner().invoke(cli, ["network", "install-kubo", "--json"])

    assert missing.exit_code == Exit.MISSING
    assert "Go toolchain" in json.loads(missing.stderr)["message"]
    assert json.loads(built.stdout)["installed"] == str(tools.find("ipfs"))
