"""What came of a run: measured, audited, written down."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from chaincode.schema.base import PageArgs
from chaincode.schema.rounds import Model, RoundStatus, RoundView
from client import pages
from client.connection import Connection
from client.consortium import every
from client.identity import Identity
from demo import measure, record
from demo.audit import Told, audit
from demo.run import PLAN_ID, Progress, Run
from trainer.report.ledger import account, links, shares
from trainer.report.node import page as node_page
from trainer.report.resources import used

_TASKS = ("submit-update", "attest", "submit-share", "evaluate", "advance-round", "open-round")


def conclude(run: Run, progress: Progress) -> tuple[record.RunRecord, str]:
    """Stop the agents, measure, audit. Returns the record and the lineage as text."""
    run.agents.stop()
    models = _models(run)
    with run.clock.part("measuring accuracy and the unprotected baselines", progress):
        measured = _measure(run, models)
        _leave_reports(run, measured)
    with run.clock.part("proving the lineage from the ledger's blocks", progress):
        connection = Connection.load(run.network.layout.connection(run.hospitals[0].slug))
        auditor = Identity.load(run.hospitals[0].user("auditor"))
        final = models[-1]
        model_file = run.options.folder / "model.safetensors"
        model_file.write_bytes(run.store.get(final.model))
        told = audit(
            connection,
            auditor,
            run.network.layout.genesis,
            run.options.folder / "lineage",
            model_file,
        )
    run.measure_memory()
    return _record(run, models, measured, told), told.lineage


def _models(run: Run) -> list[Model]:
    """The model in force after each round."""
    found = {
        model.model.sha256: model for page in every(run.ledger.models.page) for model in page.models
    }
    in_force = [view.round.model_sha256 or view.round.base_sha256 for view in run.rounds]
    return [found[sha256] for sha256 in in_force]


def _measure(run: Run, models: list[Model]) -> measure.Measured:
    assert run.terms is not None
    contents = [run.store.get(model.model) for model in models]
    return measure.apart(
        measure.measure,
        run.options.application,
        run.options.folder / "records",
        run.options.hospitals,
        run.options.seed,
        run.terms.model_dump_json(),
        contents,
        [run.agents.home(slug) / "node.json" for slug in run.agents.names],
    )


def _leave_reports(run: Run, measured: measure.Measured) -> None:
    """What `medfabric node report` tells each hospital, in its node's folder."""
    for slug, made in zip(run.agents.names, measured.nodes, strict=True):
        pages.write(run.agents.home(slug) / "report.html", node_page(made))
        (run.agents.home(slug) / "report.json").write_text(made.model_dump_json(indent=1) + "\n")


def _record(
    run: Run,
    models: list[Model],
    measured: measure.Measured,
    told: Told,
) -> record.RunRecord:
    assert run.terms is not None
    final = models[-1]
    return record.RunRecord(
        started=run.started,
        seconds=run.clock.seconds(),
        peak_memory_mb=round(run.clock.peak_kb / 1024, 1),
        network=record.Network(
            kind=run.network.kind.value,
            version=run.network.topology.fabric_version,
            hospitals=[hospital.slug for hospital in run.hospitals],
        ),
        store=run.stores.kind,
        data=_data(run, measured),
        plan_id=PLAN_ID,
        epsilon_limit=run.terms.privacy.epsilon_micro / 1e6,
        delta=run.terms.privacy.delta_nano / 1e9,
        rounds=[
            _round(run, index, models[index], measured, told.ledger_bytes)
            for index in range(len(run.rounds))
        ],
        nodes=[_node(slug, list(run.agents.journal(slug))) for slug in run.agents.names],
        quality=measured.quality,
        fairness=shares(run.rounds),
        accounts=[account(view) for view in run.ledger.datasets.page(PageArgs()).datasets],
        lineage=links(run.rounds),
        card=told.card,
        baselines=record.Baselines(
            centralised_accuracy=measured.centralised, fedavg_accuracy=measured.fedavg[-1]
        ),
        final_accuracy=measured.test[-1],
        final_train_accuracy=measured.train[-1],
        model_address=final.model.sha256,
        model_cid=final.model.cid,
        identical_models=_identical(run, final),
        audit=told.verdict,
        timings=[
            record.Timing(stage=name, seconds=seconds)
            for name, seconds in run.clock.timings.items()
        ],
    )


def _data(run: Run, measured: measure.Measured) -> record.Data:
    from trainer import applications

    application = applications.find(run.options.application)
    page = run.ledger.datasets.page(PageArgs())
    names = {hospital.msp_id: hospital.slug for hospital in run.hospitals}
    views = [view.dataset for view in page.datasets]
    return record.Data(
        name=application.title,
        application=application.id,
        simulated=application.simulated,
        partition=run.options.partition,
        train_records={names[d.msp_id]: d.train_samples for d in views},
        validation_records={names[d.msp_id]: d.validation_samples for d in views},
        test_records=measured.test_records,
        drift=run.drift,
    )


def _round(
    run: Run, index: int, model: Model, measured: measure.Measured, ledger_bytes: Counter[int]
) -> record.RoundRecord:
    view = run.rounds[index]
    round_ = view.round
    names = {hospital.msp_id: hospital.slug for hospital in run.hospitals}
    return record.RoundRecord(
        number=round_.number,
        status=round_.status.value,
        reason=round_.reason,
        accuracy=measured.test[index],
        train_accuracy=measured.train[index],
        fedavg_accuracy=measured.fedavg[index],
        validation_correct=model.correct,
        validation_total=model.total,
        contributors=len(round_.contributions),
        missing=[f"{node.node_id} of {names[node.msp_id]}" for node in round_.missing],
        epsilon={names[u.msp_id]: u.epsilon_micro / 1e6 for u in view.updates},
        update_bytes=max((u.update.size_bytes for u in view.updates), default=0),
        ledger_bytes=ledger_bytes[round_.number],
        seconds=run.seconds[index],
        stages=_stages(run, view),
    )


def _node(slug: str, entries: list[dict[str, Any]]) -> record.NodeRecord:
    return record.NodeRecord(hospital=slug, **used(entries).model_dump())


def _stages(run: Run, view: RoundView) -> list[record.Stage]:
    seconds: dict[str, float] = defaultdict(float)
    sizes: Counter[str] = Counter()
    for slug in run.agents.names:
        for entry in run.agents.journal(slug):
            if entry["round"] != view.round.number or entry["task"] not in _TASKS:
                continue
            _add(entry, seconds, sizes)
    return [
        record.Stage(task=task, seconds=round(seconds[task], 4), bytes=sizes[task])
        for task in _TASKS
        if task in seconds
    ]


def _add(entry: dict[str, Any], seconds: dict[str, float], sizes: Counter[str]) -> None:
    task = entry["task"]
    seconds[task] = max(seconds[task], entry["seconds"])
    sizes[task] += entry.get("bytes", 0)


def _identical(run: Run, final: Model) -> bool:
    """Whether every hospital's own folder holds the very bytes of the final model."""
    digest = final.model.sha256
    for slug in run.agents.names:
        path = run.agents.home(slug) / "state" / "outbox" / digest
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            return False
    return any(view.round.status is RoundStatus.PUBLISHED for view in run.rounds)


def keep_logs(folder: Path) -> None:
    """Leave the processes' logs in the run's folder."""
    logs = folder / "consortium" / "logs"
    if logs.exists():
        shutil.copytree(logs, folder / "logs", dirs_exist_ok=True)
