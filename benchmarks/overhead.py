"""A round with everything on beside a plain one: what protection costs, stage by stage.

Four hospitals, the registry's convolutional network with 3.5 million parameters on simulated images
of skin lesions, one local epoch. Ours on the devnet: differential privacy, threshold encryption,
ledger and a lineage that an auditor proves. The peer is plain federated averaging
(``jobs/plain_fedavg``) of the same model on the same records with as many steps, as many processes
and as many threads, in the same run. Medians over the rounds after the first; the peer's rounds run
before and after ours, for other work on the machine weighs on both.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks._package import installed
from benchmarks.jobs import plain_fedavg
from chaincode.schema.rounds import RoundView
from demo.run import Options, Run, prepared, train
from network.topology import Kind
from trainer import applications, presets
from trainer.applications.files import existing

AIM = "<= 1.3"
_APPLICATION = "skin-wide"
_ENTRY_POINTS = f"""[medfabric.applications]
{_APPLICATION} = wide_skin:APPLICATION
"""
_PEER = "plain FedAvg"

Entry = dict[str, Any]

_STAGES: dict[str, tuple[str, Callable[[Entry], float]]] = {
    "training": ("submit-update", lambda entry: entry["train_ms"] / 1000),
    "encrypting": ("submit-update", lambda entry: entry["encrypt_ms"] / 1000),
    "storing and submitting": (
        "submit-update",
        lambda entry: entry["seconds"] - (entry["train_ms"] + entry["encrypt_ms"]) / 1000,
    ),
    "sum": ("attest", lambda entry: entry["sum_ms"] / 1000),
    "attesting": ("attest", lambda entry: entry["seconds"] - entry["sum_ms"] / 1000),
    "decryption shares": ("submit-share", lambda entry: entry["seconds"]),
    "decoding": ("evaluate", lambda entry: entry["decode_ms"] / 1000),
    "evaluating": ("evaluate", lambda entry: entry["evaluate_ms"] / 1000),
    "storing the model and voting": (
        "evaluate",
        lambda entry: entry["seconds"] - (entry["decode_ms"] + entry["evaluate_ms"]) / 1000,
    ),
    "moving the round on": ("advance-round", lambda entry: entry["seconds"]),
}
_BYTES = {
    "update": "submit-update",
    "sum": "attest",
    "decryption share": "submit-share",
    "model": "evaluate",
}


def rows() -> list[dict[str, Any]]:
    """Both, stage by stage; the whole round last."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with installed(folder, "wide_skin", _ENTRY_POINTS):
            return _measured(folder)


def _measured(folder: Path) -> list[dict[str, Any]]:
    options = Options(folder / "run", Kind.DEVNET, application=_APPLICATION, stage_seconds=300)
    with prepared(options, lambda _: None) as run:
        before = _plain(run)
        train(run, lambda _: None, _published)
        run.agents.stop()
        peer = before + _plain(run)
        _prove(run)
        entries = [list(run.agents.journal(slug)) for slug in run.agents.names]
        return _rows(run.seconds[1:], entries, peer)


def _plain(run: Run) -> list[plain_fedavg.Round]:
    """The peer's rounds on the same records, without the first."""
    assert run.terms is not None
    application = applications.find(_APPLICATION)
    files = existing(application, run.options.folder / "records", run.options.hospitals)
    terms = presets.unprotected(application.tuned, run.terms.training)
    return list(plain_fedavg.rounds(application, files.hospitals, terms, run.options.seed))[1:]


def _published(_: Run, view: RoundView) -> None:
    if view.round.status != "PUBLISHED":
        raise RuntimeError(f"round {view.round.number}: {view.round.reason}")


def _prove(run: Run) -> None:
    """The lineage, as an auditor proves it."""
    from client.connection import Connection
    from client.identity import Identity
    from demo.audit import audit

    first = run.hospitals[0]
    model = run.options.folder / "model.safetensors"
    view = run.rounds[-1]
    candidate = run.ledger.models.get(sha256=view.round.model_sha256 or "")
    model.write_bytes(run.store.get(candidate.model))
    told = audit(
        Connection.load(run.network.layout.connection(first.slug)),
        Identity.load(first.user("auditor")),
        run.network.layout.genesis,
        run.options.folder / "lineage",
        model,
    )
    if told.verdict.verdict != "proven":
        raise RuntimeError(f"the audit says {told.verdict.findings}")


def _rows(
    seconds: list[float], entries: list[list[Entry]], peer: list[plain_fedavg.Round]
) -> list[dict[str, Any]]:
    numbers = range(2, 2 + len(seconds))
    of_round = [[e for node in entries for e in node if e["round"] == n] for n in numbers]
    found = []
    for stage, (task, value) in _STAGES.items():
        ours = _median(max(value(e) for e in each if e["task"] == task) for each in of_round)
        theirs = [one.stages[stage] for one in peer if stage in one.stages]
        found.append(_row(f"{stage}, slowest hospital", ours, theirs, "s", runs=len(seconds)))
    for what, task in _BYTES.items():
        ours = _median(
            sum(e.get("bytes", 0) for e in each if e["task"] == task) for each in of_round
        )
        theirs = [float(one.sent) for one in peer] if what == "update" else []
        found.append(_row(f"{what}, all hospitals", ours, theirs, "bytes", runs=len(seconds)))
    received = _median(sum(e.get("received", 0) for e in each) for each in of_round)
    found.append(_row("fetched, all hospitals", received, [], "bytes", runs=len(seconds)))
    cpu = _median(sum(e["cpu_ms"] for e in each) / 1000 for each in of_round)
    theirs = [one.cpu_seconds for one in peer]
    found.append(_row("processor time of all nodes", cpu, theirs, "s", AIM, len(seconds)))
    whole = [one.seconds for one in peer]
    found.append(_row("whole round", _median(seconds), whole, "s", AIM, len(seconds)))
    return found


def _row(
    what: str, ours: float, peer: list[float], unit: str, aim: str = "", runs: int = 1
) -> dict[str, Any]:
    beside = _median(peer) if peer else None
    return {
        "what": what,
        "ours": ours,
        "peer": beside,
        "peer_name": _PEER if peer else "",
        "unit": unit,
        "ratio": ours / beside if beside else None,
        "better": "lower",
        "aim": aim,
        "runs": runs,
    }


def _median(values: Iterable[float]) -> float:
    return float(statistics.median(values))
