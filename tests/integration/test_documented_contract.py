"""A contract of one's own, as the documentation writes it, runs beside MedFabric's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.networks import KINDS

from client.cli.main import cli
from client.cli.output import Exit
from network.topology import Kind

_PAGE = Path(__file__).parents[2] / "docs/how-to/write-a-contract.md"
_UP = ("up", "--hospitals", "2", "--chaincode")
_SERVICE = "hospital1.chaincode-wards"

Command = Callable[..., Result]


def _block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", _PAGE.read_text(), re.DOTALL)[0]


def _ask(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "ask.py"]
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``medfabric network`` in the author's folder."""
    (tmp_path / "wards.py").write_text(_block("python"))
    (tmp_path / "ask.py").write_text(_block("py"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Result:
        return CliRunner().invoke(cli, ["network", *words])

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_contract_of_ones_own_runs_beside_medfabrics(
    kind: Kind, command: Command, tmp_path: Path
) -> None:
    which = ["--devnet"] if kind is Kind.DEVNET else []
    try:
        made = command(*_UP, "wards=wards:chaincode", *which)
        assert made.exit_code == 0, made.output
        done = _ask(tmp_path)
        assert json.loads(done.stdout)["wards"] == [{"ward": "east", "beds": 3, "free": 3}]

        code = (tmp_path / "wards.py").read_text()
        (tmp_path / "wards.py").write_text(code.replace("; name another", "; take another"))
        for number in (1, 2):
            assert command("restart", f"hospital{number}.chaincode-wards").exit_code == 0

        assert "take another" in _ask(tmp_path).stderr
        logged = command("logs", _SERVICE)
        assert sum(line.endswith("listening") for line in logged.output.splitlines()) == 2
    finally:
        command("down")


def test_a_module_that_is_not_there_is_told_and_leaves_nothing(
    command: Command, tmp_path: Path
) -> None:
    done = command(*_UP, "wards=beds:chaincode", "--devnet")

    assert done.exit_code == Exit.NETWORK
    assert "No module named 'beds'" in done.output
    assert [entry.name for entry in (tmp_path / "consortium").iterdir()] == ["logs"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("medfabric=wards:chaincode", Exit.NETWORK),
        ("wards=wards", Exit.USAGE),
        ("Wards=wards:chaincode", Exit.USAGE),
    ],
)
def test_a_name_that_will_not_do_is_refused(command: Command, said: str, code: Exit) -> None:
    assert command(*_UP, said, "--devnet").exit_code == code
