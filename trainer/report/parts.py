"""Parts of a report's page; each gives HTML of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from client.pages import figure, svg, table, text
from trainer.report.ledger import Account, Link, Share
from trainer.report.quality import Quality
from trainer.report.resources import Resources


def confusion(found: Quality) -> str:
    """Which classes are taken for which."""
    rows = [
        (name, *counts, f"{recall:.3f}")
        for name, counts, recall in zip(found.classes, found.confusion, found.recall, strict=True)
    ]
    taken = [f"taken for {name}" for name in found.classes]
    return table(("records of", *taken, "recall"), rows)


def calibration(found: Quality) -> str:
    """Reliability diagram: how often predictions of a confidence are right."""
    drawn, axes = figure()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="confidence deserved")
    bins = found.calibration
    sizes = [12 + 240 * b.records / found.records for b in bins]
    axes.scatter(
        [b.confidence for b in bins], [b.accuracy for b in bins], s=sizes, label="this model"
    )
    for one in bins:
        axes.annotate(
            str(one.records),
            (one.confidence, one.accuracy),
            (5, -10),
            textcoords="offset points",
            fontsize="x-small",
        )
    axes.set(xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1.06), ylim=(-0.05, 1.1))
    axes.legend(loc="upper left")
    told = (
        f"<p>Expected calibration error {found.calibration_error:.3f} over {found.records} "
        "records; numbers at the points are records.</p>"
    )
    return svg(drawn) + told


def fairness(found: Sequence[Share]) -> str:
    """How the model does for each hospital."""
    known = [one.accuracy for one in found if one.accuracy is not None]
    if not known:
        return "<p>No round published a model.</p>"
    rows = [
        (one.hospital, one.total, "" if one.accuracy is None else f"{one.accuracy:.3f}")
        for one in found
    ]
    gap = f"<p>Best less worst hospital: {max(known) - min(known):.3f}.</p>"
    return table(("hospital", "validation records", "accuracy"), rows) + gap


def accounts(found: Iterable[Account]) -> str:
    """What each dataset has spent of its privacy budget, and what is left."""
    rows = [
        (a.hospital, a.dataset_id, f"{a.spent:.3f}", f"{a.budget:g}", f"{a.left:.3f}", a.delta)
        for a in found
    ]
    header = ("hospital", "dataset", "epsilon spent", "budget", "left", "delta")
    return table(header, rows)


def resources(found: Iterable[tuple[str, Resources]]) -> str:
    """What each node gave."""
    header = (
        "node",
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
            name,
            f"{n.train_seconds:.2f}",
            f"{n.encrypt_seconds:.2f}",
            f"{n.cpu_seconds:.2f}",
            f"{n.peak_memory_mb:.0f}",
            f"{n.sent_bytes:,}",
            f"{n.received_bytes:,}",
            f"{n.energy_joules:.0f} ({n.energy})",
        )
        for name, n in found
    )
    return table(header, rows)


_STEP, _TOP, _MIDDLE, _BOTTOM, _HEIGHT = 150, 40, 130, 250, 280
_BOX = 'width="120" height="34" rx="5" fill="{fill}" stroke="#555"'


def picture(found: Sequence[Link]) -> str:
    """The lineage drawn: datasets below, rounds above them, models on top, in order of time."""
    if not found:
        return "<p>No round has ended.</p>"
    datasets = sorted({name for link in found for name in link.datasets})
    width = _STEP * max(len(found) + 1, len(datasets))
    places = {name: _STEP // 2 + number * _STEP for number, name in enumerate(datasets)}
    at = {found[0].base: _STEP // 2}
    lines, boxes = [], [_box(at[found[0].base], _TOP, f"base {found[0].base[:8]}", "#e6e6e6")]
    for number, link in enumerate(found, 1):
        here = _STEP // 2 + number * _STEP
        lines += [_line(places[name], _BOTTOM, here, _MIDDLE) for name in link.datasets]
        lines.append(_line(at[link.base], _TOP, here, _MIDDLE))
        given = link.model is not None
        boxes.append(_box(here, _MIDDLE, f"round {link.round}", "#fff7e0" if given else "#f3d6d6"))
        if link.model is not None:
            at[link.model] = here
            lines.append(_line(here, _MIDDLE, here, _TOP))
            boxes.append(_box(here, _TOP, f"model {link.model[:8]}", "#d9ecdc"))
    common = _common(datasets)
    boxes += [
        _box(places[name], _BOTTOM, name.removeprefix(common), "#dce6f3", name) for name in datasets
    ]
    body = "".join([*lines, *boxes])
    failed = any(link.model is None for link in found)
    return (
        f'<svg viewBox="0 0 {width} {_HEIGHT}" width="{width}" font-size="12" '
        f'text-anchor="middle" role="img" aria-label="lineage">{body}</svg>'
        + ("<p>Red rounds failed: their updates went into no model.</p>" if failed else "")
    )


def _line(x: int, y: int, to_x: int, to_y: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="#bbb"/>'


def _common(names: Sequence[str]) -> str:
    """How all names begin, up to a hyphen; boxes have no room for it."""
    if len(names) < 2:
        return ""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*names, strict=False))
    head, hyphen, _ = "".join(column[0] for column in columns).rpartition("-")
    return head + hyphen


def _box(x: int, y: int, words: str, fill: str, whole: str = "") -> str:
    shown = words if len(words) <= 18 else f"{words[:17]}…"
    title = f"<title>{text(whole)}</title>" if whole else ""
    return (
        f"<g>{title}"
        f'<rect x="{x - 60}" y="{y - 17}" {_BOX.format(fill=fill)}/>'
        f'<text x="{x}" y="{y + 4}">{text(shown)}</text></g>'
    )
