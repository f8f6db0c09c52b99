"""Records that are not what was registered, or not what the plan needs: refused before training,
and on the ledger the hospital's privacy account stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.forked import processes_forked
from support.networks import KINDS
from support.training import until

from chaincode.schema.base import PageArgs
from chaincode.schema.data import Distribution, Expectation
from chaincode.schema.datasets import PrivacyAccount
from chaincode.schema.plans import PlanTerms
from client.cli.main import cli
from demo import run as demo
from demo.run import Options, Run
from network import base
from network.topology import Kind
from trainer import presets
from trainer.data.manifest import Manifest
from trainer.node import config, main
from trainer.node.home import Home

AGREED, DESCRIBED = presets.plan, main.describe_data
ROW = 7


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_records_are_refused_by_name_and_nothing_is_charged(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _plan_of_two)
    monkeypatch.setattr(main, "describe_data", _described)
    options = Options(tmp_path / "run", kind, hospitals=3, rounds=1)
    with processes_forked(), demo.prepared(options, lambda _: None) as run:
        records = run.options.folder / "records"
        _change(records / "hospital1.csv", "999.0")
        before = _accounts(run)
        report = _report(run, "hospital3")
        run.agents.start()
        until(run, 1, lambda view: len(view.updates) == 1)
        for slug, code in (("hospital1", "MF-9010"), ("hospital2", "MF-9005")):
            base.wait_until(lambda s=slug, c=code: c in _log(run, s), "the refusal", 60)  # type: ignore[misc]
        after = _accounts(run)
        view = run.ledger.rounds.get(plan_id=demo.PLAN_ID, number=1)

    one, two = (_log(run, slug) for slug in ("hospital1", "hospital2"))
    assert f"{records / 'hospital1.csv'} is not what breast-cancer-hospital1 was registered" in one
    assert f"{records / 'hospital2.csv'}, line {ROW + 1}: column 'mean radius' is missing" in two
    assert {update.msp_id for update in view.updates} == {"Hospital3MSP"}
    for refused in ("Hospital1MSP", "Hospital2MSP"):
        assert after[refused] == before[refused]
        assert (after[refused].epsilon_micro, after[refused].plans) == (0, ())
    assert after["Hospital3MSP"].epsilon_micro > 0
    # What the plan on the ledger expects is what the hospital compares its records with.
    assert report["columns"][0]["expected"] == [0.25, 0.75]
    assert "mean radius has drifted from what the plan expects" in report["findings"]


def _plan_of_two(*args: Any, **others: Any) -> PlanTerms:
    plan = AGREED(*args, **others)
    two = plan.participation.model_copy(update={"quorum": 2})
    small = Distribution(
        name="mean radius", edges_micro=(28_000_000,), shares_micro=(250_000, 750_000)
    )
    expecting = plan.data.model_copy(update={"expected": Expectation(columns=(small,))})
    return plan.model_copy(update={"participation": two, "data": expecting})


def _report(run: Run, slug: str) -> dict[str, Any]:
    """What the hospital sees of its dataset before it consents."""
    command = ["node", "data-report", str(run.agents.home(slug) / "node.json")]
    result = CliRunner().invoke(cli, [*command, "--plan", demo.PLAN_ID, "--json"])
    found: dict[str, Any] = json.loads(result.output)
    return found


def _described(path: Path, terms: Path) -> dict[str, Any]:
    """As the second hospital would register a file in which a value is missing, if it could."""
    about = DESCRIBED(path, terms)
    if path.parent.name == "hospital2":
        node = config.load(path)
        (data,) = node.datasets
        _change(data.file, "")
        files, home = Manifest.of(data.file), Home(node.home)
        name = f"data-{data.dataset_id}"
        home.keep(name, "files", files)
        about["commitment_sha256"] = files.commitment(home.secret(name, bytes))
        home.close()
    return about


def _change(path: Path, first: str) -> None:
    """Another value in the first column of one row."""
    lines = path.read_text().splitlines()
    lines[ROW] = ",".join([first, *lines[ROW].split(",")[1:]])
    path.write_text("\n".join(lines) + "\n")


def _accounts(run: Run) -> dict[str, PrivacyAccount]:
    page = run.ledger.datasets.page(PageArgs())
    return {view.account.msp_id: view.account for view in page.datasets}


def _log(run: Run, slug: str) -> str:
    logs = run.options.folder / "consortium" / "logs"
    return "".join(path.read_text() for path in logs.glob(f"{slug}.agent*"))
