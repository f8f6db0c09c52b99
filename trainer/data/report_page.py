"""A data report as a page."""

from __future__ import annotations

from client.pages import document, figure, svg, table, text
from trainer.data.drift import DRIFTED, SHIFTED
from trainer.data.report import ColumnReport, DataReport

_ACROSS = 3
MOST_PLOTS = 60
"""Columns that are drawn: those furthest from what is expected first."""


def page(made: DataReport) -> str:
    """One HTML document that loads nothing from elsewhere."""
    parts = [
        f"<h1>Records for {text(made.application)}</h1>",
        f"<p><code>{text(made.file)}</code>: {made.records} records of {made.patients} patients."
        "</p>",
        "<p class=note>Exact figures of this hospital's own records: for the hospital alone.</p>",
        "<h2>What to look at</h2>",
        _findings(made),
        "<h2>Parts and classes</h2>",
        _classes(made),
        "<h2>Columns</h2>",
        _columns(made),
        f"<p>PSI below {SHIFTED} is no change, above {DRIFTED} a large one (Siddiqi 2006); what "
        "chance alone exceeds in no more than a twentieth of datasets of this size does not count "
        "(Yurdakul 2018). KS is the largest difference of the distribution functions at the bins' "
        "edges. Bins and expected shares are the plan's.</p>",
        "<h2>Distributions</h2>",
        *_plots(made),
    ]
    return document(f"Records for {made.application}", parts)


def _findings(made: DataReport) -> str:
    if not made.findings:
        return "<p class=ok>Nothing that stands out.</p>"
    return f"<ul class=bad>{''.join(f'<li>{text(one)}</li>' for one in made.findings)}</ul>"


def _classes(made: DataReport) -> str:
    names = list(next(iter(made.classes.values())))
    rows = [
        (part, made.parts[part], *(counts[name] for name in names))
        for part, counts in made.classes.items()
    ]
    tail = f"<p>Shares of the classes: {text(made.class_verdict)}"
    if made.class_drift is not None:
        tail += f" (PSI {made.class_drift.psi:.3f}, by chance {made.class_drift.psi_chance:.3f})"
    return table(("part", "records", *names), rows) + tail + ".</p>"


def _columns(made: DataReport) -> str:
    header = ("column", "missing", "least", "mean", "most", "beyond bounds", "PSI", "KS", "")
    return table(header, [_row(column) for column in made.columns])


def _row(column: ColumnReport) -> tuple[object, ...]:
    drift = column.drift
    index = "" if drift is None else f"{drift.psi:.3f} (chance {drift.psi_chance:.3f})"
    distance = drift and drift.ks and f"{drift.ks:.3f} (chance {drift.ks_chance:.3f})"
    return (
        column.name,
        column.missing,
        *(_number(value) for value in (column.low, column.mean, column.high)),
        "" if column.outside is None else f"{column.outside:.1%}",
        index,
        distance or "",
        column.verdict,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _plots(made: DataReport) -> list[str]:
    ranked = sorted(made.columns, key=lambda one: -(one.drift.psi if one.drift else 0.0))
    drawn = ranked[:MOST_PLOTS]
    parts = [_plot(drawn[start : start + _ACROSS]) for start in range(0, len(drawn), _ACROSS)]
    if len(ranked) > MOST_PLOTS:
        parts.append(f"<p>{len(ranked) - MOST_PLOTS} columns closer to it are not drawn.</p>")
    return parts


def _plot(columns: list[ColumnReport]) -> str:
    made, axes = figure(_ACROSS)
    for place in axes[len(columns) :]:
        place.set_axis_off()
    for place, column in zip(axes, columns, strict=False):
        at = range(len(column.bins))
        total = max(sum(number for _, number in column.bins), 1)
        place.bar(at, [number / total for _, number in column.bins], label="here")
        if column.expected:
            place.step(at, column.expected, where="mid", color="black", label="expected")
            place.legend(fontsize="x-small")
        place.set_title(column.name, fontsize="small")
        place.set_xticks(
            list(at), [name for name, _ in column.bins], rotation=90, fontsize="x-small"
        )
    return svg(made)
