"""The demonstration from the command line to the proof, as a newcomer runs it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from chaincode.schema.errors import Code
from client.audit.card import ModelCard
from client.audit.lineage import Lineage
from client.cli.main import cli
from client.cli.output import Exit
from client.waking import Waking
from demo import report
from demo import run as demo
from demo.record import RunRecord
from trainer.report.node import NodeReport

MEDFABRIC = [sys.executable, "-m", "client.cli"]
TELLING = """
import atexit, sys
from pathlib import Path
from client.cli.main import main
file = Path(sys.argv.pop(1))
atexit.register(lambda: file.write_text(" ".join(sys.modules)))
main()
"""
"""The same, and writes down in the end what was imported."""


@pytest.fixture(scope="module")
def latest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("demo") / "runs"
    command = [sys.executable, "-c", TELLING, str(runs.parent / "imported")]
    command += ["demo", "--devnet", "--store", "directory", "--rounds", "2"]
    done = subprocess.run(
        [*command, "--runs", str(runs), "--json"], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert RunRecord.model_validate_json(done.stdout).version == 1
    return runs / "latest"


def test_run_record_says_what_happened(latest: Path) -> None:
    run = RunRecord.model_validate_json((latest / "run.json").read_text())

    assert run.network.kind == "devnet"
    assert run.data.simulated is False
    assert [r.status for r in run.rounds] == ["PUBLISHED", "PUBLISHED"]
    assert run.identical_models
    assert run.audit.verdict == "proven"
    assert run.final_train_accuracy > 0.85
    assert all(0 < spent <= 3.0 for r in run.rounds for spent in r.epsilon.values())
    assert {s.task for s in run.rounds[0].stages} >= {
        "submit-update",
        "attest",
        "submit-share",
        "evaluate",
    }
    assert {n.hospital for n in run.nodes} == set(run.network.hospitals)
    for node in run.nodes:
        assert 0 < node.train_seconds < node.cpu_seconds + 60
        assert node.peak_memory_mb > 100
        assert node.sent_bytes > run.rounds[0].update_bytes
        assert node.received_bytes > 3 * run.rounds[0].update_bytes
        assert node.energy_joules > 0
    assert all(r.ledger_bytes > 0 and r.update_bytes > 0 for r in run.rounds)


def test_the_ledger_is_asked_when_it_changed_and_not_over_and_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    waking, agents = Waking(lambda: ()), SimpleNamespace(check=lambda: None)
    options = SimpleNamespace(stage_seconds=1, folder=tmp_path)
    run: Any = SimpleNamespace(waking=waking, agents=agents, options=options)
    monkeypatch.setattr(demo, "_GLANCE", 60.0)

    def so() -> bool:
        asked.append(None)
        if len(asked) < 3:
            threading.Timer(0.1, waking.wake).start()
        return len(asked) == 3

    demo._wait(run, so, "the third time")

    assert len(asked) == 3


def test_the_process_that_all_others_are_started_by_stays_small(latest: Path) -> None:
    imported = (latest.parents[1] / "imported").read_text().split()

    assert "demo.run" in imported
    assert not {"torch", "pytorch_lightning", "tenseal"} & set(imported)


def test_model_is_the_one_on_the_ledger_and_a_foreign_reader_reads_it(latest: Path) -> None:
    run = RunRecord.model_validate_json((latest / "run.json").read_text())
    model = latest / "model.safetensors"

    arrays = load_file(model)

    assert hashlib.sha256(model.read_bytes()).hexdigest() == run.model_address
    assert all(array.dtype == "float32" for array in arrays.values())


def test_ledger_holds_no_float_no_weight_and_no_record(latest: Path) -> None:
    from client.audit import proof

    lineage = latest / "lineage"
    verdict, ledger = proof.prove(lineage / "blocks", (lineage / "genesis.block").read_bytes())

    assert verdict.proven
    for key, writings in ledger.writings.items():
        for writing in writings:
            if writing.value is not None:
                json.loads(writing.value, parse_float=lambda text, key=key: pytest.fail(key + text))


def test_auditor_proves_the_files_and_refutes_another_model(latest: Path, tmp_path: Path) -> None:
    lineage = latest / "lineage"
    verify = [*MEDFABRIC, "audit", "verify", str(lineage / "blocks"), "--json"]
    verify += ["--genesis", str(lineage / "genesis.block"), "--model"]
    other = tmp_path / "model.safetensors"
    content = bytearray((latest / "model.safetensors").read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)

    good = subprocess.run([*verify, str(latest / "model.safetensors")], capture_output=True)
    bad = subprocess.run([*verify, str(other)], capture_output=True)

    assert json.loads(good.stdout)["verdict"] == "proven"
    assert good.returncode == 0
    assert [f["code"] for f in json.loads(bad.stdout)["findings"]] == ["MF-7508"]
    assert bad.returncode == 5


def test_auditor_reads_what_the_application_recorded_of_its_own(latest: Path) -> None:
    from chaincode.schema import jsonschema
    from trainer import applications

    told = Lineage.model_validate_json((latest / "lineage" / "lineage.json").read_text())

    (schema,) = told.schemas
    assert schema.name == "breast-cancer/00001"
    registered = applications.find("breast-cancer").provenance.schema()
    about: dict[str, list[str]] = {}
    for fact in told.records:
        record = dict(fact.says)
        about.setdefault(record["about"], []).append(record.pop("subject"))
        jsonschema.validate(registered, record)
    assert len(about["dataset"]) == 4
    assert about["use"] == [f"model/{told.steps[-1].model.name}"]
    assert set(about["learned"]) == {f"model/{step.model.name}" for step in told.steps[:-1]}


def test_report_tells_of_drift_and_of_failed_rounds_where_there_are_any(latest: Path) -> None:
    run = RunRecord.model_validate_json((latest / "run.json").read_text())
    data = run.data.model_copy(update={"drift": {"hospital1": {"age": "drifted"}}})
    failed = [*run.lineage[:-1], run.lineage[-1].model_copy(update={"model": None})]

    plain = report.page(run, "")
    other = report.page(run.model_copy(update={"data": data, "lineage": failed}), "")

    for told in ("what the plan expects", "<td>drifted</td>", "Red rounds failed"):
        assert told not in plain
        assert told in other


def test_report_loads_nothing_from_elsewhere(latest: Path) -> None:
    page = (latest / "report.html").read_text()

    assert page.count("<svg") == 5
    for outside in ("src=", "@import", "<link", "<script"):
        assert outside not in page
    assert "Lineage of the model" in page


def test_run_record_tells_quality_fairness_accounts_and_lineage(latest: Path) -> None:
    run = RunRecord.model_validate_json((latest / "run.json").read_text())
    told = Lineage.model_validate_json((latest / "lineage" / "lineage.json").read_text())

    quality = run.quality
    assert quality.records == run.data.test_records == sum(map(sum, quality.confusion))
    assert quality.accuracy == run.final_accuracy
    assert sum(row[place] for place, row in enumerate(quality.confusion)) == round(
        quality.accuracy * quality.records
    )
    assert sum(one.records for one in quality.calibration) == quality.records
    last = run.rounds[-1]
    assert sum(one.correct for one in run.fairness) == last.validation_correct
    assert {a.hospital for a in run.accounts} == {s.hospital for s in run.fairness}
    assert sorted(a.spent for a in run.accounts) == sorted(last.epsilon.values())
    assert [link.model for link in run.lineage][::-1] == [s.model.name for s in told.steps[:-1]]
    assert run.lineage[0].base == told.steps[-1].model.name
    assert all(len(link.datasets) == 4 for link in run.lineage)


def test_model_card_names_where_each_fact_stands_on_the_ledger(latest: Path) -> None:
    from client.audit import proof

    lineage = latest / "lineage"
    command = [*MEDFABRIC, "audit", "model-card", str(lineage / "blocks"), "--json"]
    command += [str(latest / "model.safetensors"), "--genesis", str(lineage / "genesis.block")]
    done = subprocess.run(command, capture_output=True, check=True)
    _, ledger = proof.prove(lineage / "blocks", (lineage / "genesis.block").read_bytes())
    written = {(w.block, w.tx_id) for ws in ledger.writings.values() for w in ws}

    card = ModelCard.model_validate_json(done.stdout)

    run = RunRecord.model_validate_json((latest / "run.json").read_text())
    assert card == run.card
    assert [section.title for section in card.sections] == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
        "Quantitative analyses",
        "Ethical considerations",
        "Caveats and recommendations",
    ]
    for section in card.sections:
        for line in section.lines:
            assert line.sources, line.says
            assert {(s.block, s.tx_id) for s in line.sources} <= written
    spent = max(a.spent for a in run.accounts)
    assert any(f"has spent epsilon {spent:g}" in line.says for line in card.sections[7].lines)


def test_each_hospital_has_its_own_report(latest: Path) -> None:
    run = RunRecord.model_validate_json((latest / "run.json").read_text())
    for slug in run.network.hospitals:
        home = latest / "nodes" / slug
        made = NodeReport.model_validate_json((home / "report.json").read_text())
        page = home / "report.html"

        assert made.model_address == run.model_address
        assert made.quality is not None
        assert made.quality.records == run.data.validation_records[slug]
        own = next(one for one in made.fairness if one.hospital == made.hospital)
        assert all(line.machine is not None for line in made.rounds)
        assert made.rounds[0].machine.cores > 0
        assert own.correct == round(made.quality.accuracy * made.quality.records)
        assert made.resources.sent_bytes > run.rounds[0].update_bytes
        assert page.read_text().count("<svg") == 3
        assert page.stat().st_mode & 0o077 == 0


def test_nothing_is_left_running(latest: Path) -> None:
    running = [
        path for path in Path("/proc").glob("[0-9]*/cmdline") if str(latest).encode() in _read(path)
    ]

    assert running == []


def test_secrets_are_in_no_log_and_readable_by_their_owner_alone(latest: Path) -> None:
    secrets = [p for p in latest.rglob("*") if p.name in ("secret", "private_key.pem", "key.pem")]
    logs = b"".join(p.read_bytes() for p in (latest / "logs").iterdir())

    assert len(secrets) >= 4 * 5
    for path in secrets:
        assert path.stat().st_mode & 0o077 == 0, path
        content = path.read_bytes()
        # Of a PEM file, what is behind its public first line.
        assert (content[40:120] if len(content) > 120 else content) not in logs


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_second_demonstration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "latest" / "consortium"
    theirs.mkdir(parents=True)
    with (tmp_path / "latest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = CliRunner().invoke(cli, ["demo", "--devnet", "--runs", str(tmp_path), "--json"])

    assert done.exit_code == Exit.NETWORK
    assert json.loads(done.stderr)["error"] == Code.NETWORK_EXISTS
    assert theirs.exists()


def test_a_full_disk_is_told_before_anything_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))

    done = CliRunner().invoke(cli, ["demo", "--devnet", "--runs", str(tmp_path), "--json"])

    assert done.exit_code == Exit.DATA
    assert "has 5 MB left, a run needs 256" in json.loads(done.stderr)["message"]
    assert not (tmp_path / "latest" / "consortium").exists()


def test_a_demonstration_that_is_told_to_end_leaves_nothing_running(tmp_path: Path) -> None:
    command = [*MEDFABRIC, "demo", "--devnet", "--store", "directory", "--runs", str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as begun:
        try:
            assert begun.stderr is not None
            while "opening content stores" not in begun.stderr.readline():
                assert begun.poll() is None
            assert _running(tmp_path)

            begun.terminate()

            begun.communicate(timeout=60)
        finally:
            begun.kill()
    assert begun.returncode == 128 + signal.SIGTERM
    assert _running(tmp_path) == []


def _running(folder: Path) -> list[str]:
    """Command lines that name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = process.read_text().replace("\0", " ")
            if f"{folder}/latest" in line:
                found.append(line)
    return found
