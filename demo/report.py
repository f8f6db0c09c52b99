"""The run as a page: one self-contained HTML file, plots as inline SVG."""

from __future__ import annotations

from pathlib import Path

from client.pages import document, figure, svg, table, text
from demo.record import RunRecord
from trainer.report import parts


def write(run: RunRecord, lineage: str, folder: Path) -> Path:
    """Write ``report.html`` into ``folder`` and return its path."""
    path = folder / "report.html"
    path.write_text(page(run, lineage))
    return path


def page(run: RunRecord, lineage: str) -> str:
    """The page as one HTML document that loads nothing from elsewhere."""
    verdict = "ok" if run.audit.verdict == "proven" else "bad"
    kind = "simulated records" if run.data.simulated else "real records"
    body = [
        f"<h1>MedFabric run of {text(run.started)}</h1>",
        f"<p>{len(run.network.hospitals)} hospitals on {text(_network(run))}, content in a "
        f"{text(run.store)} store; {text(run.data.name)} ({kind}); hospitals' patients: "
        f"{text(run.data.partition)}; "
        f"{run.seconds:.0f} s, {run.peak_memory_mb:.0f} MB.</p>",
        _notice(run),
        f"<p>Model <code>{text(run.model_address)}</code>: test accuracy "
        f"<b>{run.final_accuracy:.3f}</b> at epsilon {run.epsilon_limit:g}, delta {run.delta:g} "
        f"(unprotected FedAvg {run.baselines.fedavg_accuracy:.3f}, centralised "
        f"{run.baselines.centralised_accuracy:.3f}). Lineage: "
        f"<b class={verdict}>{text(run.audit.verdict)}</b> over {run.audit.blocks} blocks.</p>",
        "<h2>Accuracy on held-out test records</h2>",
        _accuracy_plot(run),
        "<h2>Which classes are taken for which, on the test records</h2>",
        parts.confusion(run.quality),
        "<h2>Calibration</h2>",
        parts.calibration(run.quality),
        "<h2>Hospital by hospital</h2>",
        parts.fairness(run.fairness),
        *_expected(run),
        "<h2>Privacy budget spent</h2>",
        _budget_plot(run),
        parts.accounts(run.accounts),
        "<h2>Rounds</h2>",
        _rounds_table(run),
        "<h2>Where the time goes</h2>",
        _stages_plot(run),
        "<h2>What each node gave</h2>",
        parts.resources([(n.hospital, n) for n in run.nodes]),
        "<h2>How the models came to be</h2>",
        parts.picture(run.lineage),
        *_card(run),
        "<h2>Lineage of the model, proven from the ledger's blocks</h2>",
        f"<pre>{text(lineage)}</pre>",
    ]
    if run.audit.findings:
        body.append(f"<ul>{''.join(f'<li>{text(f)}</li>' for f in run.audit.findings)}</ul>")
    return document("MedFabric run", body)


def _network(run: RunRecord) -> str:
    if run.network.kind == "devnet":
        return "the embedded devnet"
    return f"Hyperledger Fabric {run.network.version}"


def _notice(run: RunRecord) -> str:
    if run.network.kind != "devnet":
        return ""
    return (
        "<p class=note>The devnet keeps all hospitals in one process and one trust domain: for "
        "teaching and tests, not for production.</p>"
    )


def _card(run: RunRecord) -> list[str]:
    if run.card is None:
        return []
    found = ["<h2>Model card</h2>", "<p>Every line with where it stands on the ledger.</p>"]
    for section in run.card.sections:
        rows = [(line.says, line.where) for line in section.lines]
        found += [f"<h3>{text(section.title)}</h3>", table(("", "ledger"), rows)]
    return found


def _expected(run: RunRecord) -> list[str]:
    if not run.data.drift:
        return []
    columns = list(dict.fromkeys(name for said in run.data.drift.values() for name in said))
    rows = [(h, *(said.get(name, "") for name in columns)) for h, said in run.data.drift.items()]
    title = "<h2>Hospitals' records beside what the plan expects of them</h2>"
    return [title, table(("hospital", *columns), rows)]


def _rounds_table(run: RunRecord) -> str:
    header = (
        "round",
        "outcome",
        "accuracy",
        "FedAvg",
        "validation",
        "largest epsilon",
        "update bytes",
        "ledger bytes",
        "seconds",
    )
    rows = (
        (
            r.number,
            r.status if not r.reason else f"{r.status}: {r.reason}",
            f"{r.accuracy:.3f}",
            f"{r.fedavg_accuracy:.3f}",
            f"{r.validation_correct}/{r.validation_total}",
            f"{max(r.epsilon.values(), default=0.0):.3f}",
            f"{r.update_bytes:,}",
            f"{r.ledger_bytes:,}",
            f"{r.seconds:.1f}",
        )
        for r in run.rounds
    )
    return table(header, rows)


def _accuracy_plot(run: RunRecord) -> str:
    drawn, axes = figure()
    numbers = [r.number for r in run.rounds]
    axes.plot(numbers, [r.accuracy for r in run.rounds], "o-", label="MedFabric, DP and encrypted")
    axes.plot(numbers, [r.fedavg_accuracy for r in run.rounds], "s--", label="unprotected FedAvg")
    axes.axhline(
        run.baselines.centralised_accuracy, color="grey", linestyle=":", label="centralised"
    )
    drawn_at = [accuracy for r in run.rounds for accuracy in (r.accuracy, r.fedavg_accuracy)]
    least = min(drawn_at, default=1.0)
    lowest = min(0.5, round(least - 0.05, 1))
    axes.set(xlabel="round", ylabel="test accuracy", ylim=(lowest, 1.0), xticks=numbers)
    axes.legend(loc="lower right")
    return svg(drawn)


def _budget_plot(run: RunRecord) -> str:
    drawn, axes = figure()
    numbers = [r.number for r in run.rounds]
    for hospital in run.network.hospitals:
        spent = [r.epsilon.get(hospital, 0.0) for r in run.rounds]
        axes.plot(numbers, spent, "o-", label=hospital, alpha=0.7)
    axes.axhline(run.epsilon_limit, color="red", linestyle=":", label="budget")
    axes.set(xlabel="round", ylabel="epsilon spent", ylim=(0, None), xticks=numbers)
    axes.legend(loc="lower right")
    return svg(drawn)


def _stages_plot(run: RunRecord) -> str:
    drawn, axes = figure()
    tasks = list(dict.fromkeys(s.task for r in run.rounds for s in r.stages))
    left = [0.0] * len(run.rounds)
    labels = [f"round {r.number}" for r in run.rounds]
    for task in tasks:
        seconds = [sum(s.seconds for s in r.stages if s.task == task) for r in run.rounds]
        axes.barh(labels, seconds, left=left, label=task)
        left = [a + b for a, b in zip(left, seconds, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="seconds, slowest hospital of each stage")
    axes.legend(fontsize="x-small")
    return svg(drawn)
