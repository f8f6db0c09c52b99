"""Runs one benchmark and writes ``benchmarks/results/NAME.json``: machine, date and rows.

A benchmark is a module with ``rows() -> list[dict]``; each row has the fields of :data:`FIELDS`.
Every number is measured in this run; none is typed by hand.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

FIELDS = ("what", "ours", "peer", "peer_name", "unit", "ratio", "better", "aim", "runs")
MANY_PEERS = 4
"""With more beside one figure they have columns instead of rows."""
RESULTS = Path(__file__).parent / "results"


def main(name: str) -> int:
    if not (Path(__file__).parent / f"{name}.py").exists() or name.startswith("_"):
        print(f"no benchmark named {name}; there are: {', '.join(_names())}", file=sys.stderr)
        return 2
    rows = importlib.import_module(f"benchmarks.{name}").rows()
    for row in rows:
        if tuple(sorted(row)) != tuple(sorted(FIELDS)):
            print(f"a row of {name} has the fields {sorted(row)}", file=sys.stderr)
            return 1
    RESULTS.mkdir(exist_ok=True)
    result = {"name": name, "date": _today(), "machine": _machine(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))
    return 0


def table(result: dict[str, Any]) -> str:
    """A result as a Markdown table, as the documentation shows it."""
    machine = result["machine"]
    measured = (
        f"Measured on {result['date']}: {machine['cores']} cores, {machine['processor']}, "
        f"Python {machine['python']}."
    )
    by_what = groupby(result["rows"], key=lambda row: row["what"])
    groups = [list(rows) for _, rows in by_what]
    if max(map(len, groups)) > MANY_PEERS:
        return f"{measured}\n\n{_matrices(groups)}"
    lines = [
        measured,
        "",
        "| what | ours | peer | unit | ours / peer | better | aim | runs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        peer = "" if row["peer"] is None else f"{number(row['peer'])} ({row['peer_name']})"
        ratio = "" if row["ratio"] is None else number(row["ratio"])
        lines.append(
            f"| {row['what']} | {number(row['ours'])} | {peer} | {row['unit']} | {ratio} "
            f"| {row['better']} | {row['aim'] or ''} | {row['runs']} |"
        )
    return "\n".join(lines)


def _matrices(groups: list[list[dict[str, Any]]]) -> str:
    """Peers as columns: a table for each unit and set of peers."""
    tables: dict[tuple[str, ...], list[str]] = {}
    for rows in groups:
        one, peers = rows[0], [row["peer_name"] for row in rows]
        head = f"| what | ours | {' | '.join(peers)} | unit | better | runs |"
        lines = tables.setdefault((one["unit"], *peers), [head, "|---" * (len(peers) + 5) + "|"])
        cells = " | ".join(number(row["peer"]) for row in rows)
        lines.append(
            f"| {one['what']} | {number(one['ours'])} | {cells} | {one['unit']} "
            f"| {one['better']} | {one['runs']} |"
        )
    return "\n\n".join("\n".join(lines) for lines in tables.values())


def number(value: Any) -> str:
    """A figure with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _names() -> list[str]:
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem[0] != "_")


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
