"""Results as a page: one HTML file that loads nothing from elsewhere, plots as inline SVG."""

from __future__ import annotations

import html
import io
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chaincode.schema.errors import Code, MedFabricError
from client.files import write_whole

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{padding:.3rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid #eee}
td{overflow-wrap:break-word}.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
th.n{white-space:normal}
code{font-size:.85rem;word-break:break-all}
pre{background:#f6f6f6;padding:1rem;overflow:auto;font-size:.8rem}
.note{background:#fff7e0;padding:.6rem 1rem;border-left:4px solid #e0a800}
.ok{color:#17692b}.bad{color:#a31515}svg{max-width:100%;height:auto}
"""
_HASH = re.compile(r"\b[0-9a-f]{64}\b")
_NUMBER = re.compile(r"[+-]?\d[\d.,/]*(e[+-]?\d+)?%?( .{1,20})?")


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page of parts that are HTML already."""
    meta = '<meta charset=utf-8><meta name=viewport content="width=device-width">'
    head = f"{meta}<title>{text(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"


def write(path: Path, page: str) -> None:
    """Write a page that its owner alone reads: reports hold exact figures of a hospital's records.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    try:
        write_whole(path, page.encode(), mode=0o600)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot write {path}: {error.strerror}; name another place"
        ) from None


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain values; columns of numbers stand to the right, hashes are cut and whole in
    their titles."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = list(zip(*cells, strict=True)) or [()] * len(header)
    marks = [" class=n" if _numbers(column) else "" for column in columns]

    def line(name: str, row: Sequence[str]) -> str:
        found = zip(marks, row, strict=True)
        return "<tr>" + "".join(f"<{name}{mark}>{_short(one)}</{name}>" for mark, one in found)

    return f"<table>{line('th', header)}{''.join(line('td', row) for row in cells)}</table>"


def _short(cell: str) -> str:
    """A cell with its hashes cut; whole ones make a table wider than its page."""
    return _HASH.sub(lambda found: f"<abbr title={found[0]}>{found[0][:12]}…</abbr>", text(cell))


def _numbers(column: Sequence[str]) -> bool:
    """Whether each is a number, a unit or remark behind it at most, or nothing."""
    return any(column) and all(not cell or _NUMBER.fullmatch(cell) for cell in column)


def text(value: object) -> str:
    """A value that is no HTML."""
    return html.escape(str(value))


def figure(columns: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, or a tuple of axes side by side."""
    # Where home is read-only it tells at length of the cache that it makes elsewhere.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # A Figure without pyplot: no display, no global state.
    from matplotlib.figure import Figure

    made = Figure(figsize=(8, 3.2), layout="constrained")
    return made, made.subplots(1, columns)


def doubling(axes: Any, values: Sequence[float]) -> None:
    """A logarithmic x axis that is marked at these values alone."""
    axes.set_xscale("log")
    axes.set_xticks(values, [f"{value:g}" for value in values])
    # Matplotlib's own marks between powers of ten would be written over these.
    axes.set_xticks([], minor=True)


def svg(made: Any) -> str:
    """A figure as an element of the page."""
    buffer = io.StringIO()
    made.savefig(buffer, format="svg", metadata={"Date": None})
    drawn = buffer.getvalue()
    return drawn[drawn.index("<svg") :]
