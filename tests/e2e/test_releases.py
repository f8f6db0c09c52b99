"""A synthetic table, made by the command and given out once a running ledger has charged for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.networks import KINDS
from support.training import training

from client.cli.main import cli
from demo.run import Run
from network.topology import Kind

DATASET = "breast-cancer-hospital1"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_charged_to_its_dataset_and_then_given_out(kind: Kind, tmp_path: Path) -> None:
    with training(tmp_path / "run", kind, 1, stage_seconds=60, start=False, hospitals=2) as run:
        table = tmp_path / "table.csv"
        early = _released(run, table)
        made = _released(run)
        description = tmp_path / "release.json"
        description.write_text(json.dumps(made))
        charged = _admin(run, "release", str(description))
        again = _admin(run, "release", str(description))
        given = _released(run, table)
        account = run.ledger.datasets.get(dataset_id=DATASET).account

    assert early["error"] == "MF-1012"
    assert charged["sha256"] == made["sha256"]
    assert again["error"] == "MF-1010"
    assert hashlib.sha256(table.read_bytes()).hexdigest() == given["sha256"] == made["sha256"]
    assert 0 < given["epsilon_micro"] <= 500_000
    assert [release.release_id for release in account.releases] == ["one"]
    assert account.epsilon_micro == given["epsilon_micro"]


def _released(run: Run, out: Path | None = None) -> dict[str, Any]:
    """What `node release` says."""
    files = str(run.agents.home("hospital1") / "node.json"), str(_terms(run))
    given = ("--out", str(out)) if out else ()
    return _said("node", "release", *files, "one", "--epsilon", "0.5", *given)


def _terms(run: Run) -> Path:
    return run.options.folder / "data-terms.json"


def _admin(run: Run, *words: str) -> dict[str, Any]:
    """What `admin dataset` says to the first hospital's admin."""
    layout = run.network.layout
    who = "--connection", str(layout.connection("hospital1")), "--identity"
    return _said("admin", "dataset", *words, *who, str(layout.user("hospital1", "admin")))


def _said(*words: str) -> dict[str, Any]:
    result = CliRunner().invoke(cli, [*words, "--json"])
    said: dict[str, Any] = json.loads(result.stdout or result.stderr)
    return said
