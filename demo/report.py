"""The run as a page: one self-contained HTML file, plots as inline SVG."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from demo.record import RunRecord

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #eee}
td:first-child,th:first-child{text-align:left}code{font-size:.85rem;word-break:break-all}
pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:.8rem}
.note{background:#fff7e0;padding:.6rem 1rem;border-left:4px solid #e0a800}
.ok{color:#17692b}.bad{color:#a31515}svg{max-width:100%;height:auto}
"""


def write(run: RunRecord, lineage: str, folder: Path) -> Path:
    """Write ``report.html`` into ``folder`` and return its path."""
    path = folder / "report.html"
    path.write_text(page(run, lineage))
    return path


def page(run: RunRecord, lineage: str) -> str:
    """The page as one HTML document that loads nothing from elsewhere."""
    verdict = "ok" if run.audit.verdict == "proven" else "bad"
    kind = "simulated records" if run.data.simulated else "real records"
    parts = [
        f"<h1>MedFabric run of {_text(run.started)}</h1>",
        f"<p>{len(run.network.hospitals)} hospitals on {_text(_network(run))}, content in a "
        f"{_text(run.store)} store; {_text(run.data.name)} ({kind}), {_text(run.data.partition)}; "
        f"{run.seconds:.0f} s, {run.peak_memory_mb:.0f} MB.</p>",
        _notice(run),
        f"<p>Model <code>{_text(run.model_address)}</code>: test accuracy "
        f"<b>{run.final_accuracy:.3f}</b> at epsilon {run.epsilon_limit:g}, delta {run.delta:g} "
        f"(unprotected FedAvg {run.baselines.fedavg_accuracy:.3f}, centralised "
        f"{run.baselines.centralised_accuracy:.3f}). Lineage: "
        f"<b class={verdict}>{_text(run.audit.verdict)}</b> over {run.audit.blocks} blocks.</p>",
        "<h2>Accuracy on held-out test records</h2>",
        _accuracy_plot(run),
        "<h2>Privacy budget spent</h2>",
        _budget_plot(run),
        "<h2>Rounds</h2>",
        _rounds_table(run),
        "<h2>Where the time goes</h2>",
        _stages_plot(run),
        "<h2>What each node gave</h2>",
        _nodes_table(run),
        "<h2>Lineage of the model, proven from the ledger's blocks</h2>",
        f"<pre>{_text(lineage)}</pre>",
    ]
    if run.audit.findings:
        parts.append(f"<ul>{''.join(f'<li>{_text(f)}</li>' for f in run.audit.findings)}</ul>")
    head = f"<meta charset=utf-8><title>MedFabric run</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


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
            r.update_bytes,
            r.ledger_bytes,
            f"{r.seconds:.1f}",
        )
        for r in run.rounds
    )
    return _table(header, rows)


def _nodes_table(run: RunRecord) -> str:
    header = (
        "hospital",
        "training, s",
        "encryption, s",
        "processor, s",
        "peak memory, MB",
        "sent, bytes",
        "received, bytes",
        "energy, J",
    )
    rows = (
        (
            n.hospital,
            f"{n.train_seconds:.2f}",
            f"{n.encrypt_seconds:.2f}",
            f"{n.cpu_seconds:.2f}",
            f"{n.peak_memory_mb:.0f}",
            f"{n.sent_bytes:,}",
            f"{n.received_bytes:,}",
            f"{n.energy_joules:.0f} ({n.energy})",
        )
        for n in run.nodes
    )
    return _table(header, rows)


def _accuracy_plot(run: RunRecord) -> str:
    figure, axes = _figure()
    numbers = [r.number for r in run.rounds]
    axes.plot(numbers, [r.accuracy for r in run.rounds], "o-", label="MedFabric, DP and encrypted")
    axes.plot(numbers, [r.fedavg_accuracy for r in run.rounds], "s--", label="unprotected FedAvg")
    axes.axhline(
        run.baselines.centralised_accuracy, color="grey", linestyle=":", label="centralised"
    )
    axes.set(xlabel="round", ylabel="test accuracy", ylim=(0.5, 1.0), xticks=numbers)
    axes.legend(loc="lower right")
    return _svg(figure)


def _budget_plot(run: RunRecord) -> str:
    figure, axes = _figure()
    numbers = [r.number for r in run.rounds]
    for hospital in run.network.hospitals:
        spent = [r.epsilon.get(hospital, 0.0) for r in run.rounds]
        axes.plot(numbers, spent, "o-", label=hospital, alpha=0.7)
    axes.axhline(run.epsilon_limit, color="red", linestyle=":", label="budget")
    axes.set(xlabel="round", ylabel="epsilon spent", ylim=(0, None), xticks=numbers)
    axes.legend(loc="lower right")
    return _svg(figure)


def _stages_plot(run: RunRecord) -> str:
    figure, axes = _figure()
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
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    # A Figure without pyplot: no display, no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return html.escape(str(value))
