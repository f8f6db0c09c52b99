"""Makes docs/reference/benchmarks.md, and the README's figures, from the results that the runs
left."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.__main__ import RESULTS, number, table

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "reference" / "benchmarks.md"
README = _ROOT / "README.md"
_BEGIN, _END = "<!-- figures: python -m benchmarks.tables -->\n", "<!-- end of figures -->"
_SHOWN = {
    "accuracy": {"test accuracy at epsilon 3"},
    "overhead": {"whole round"},
    "peers": None,
    "privacy": {"encrypted bytes per parameter", "pack and encrypt"},
}
"""Results, and which rows of them (None: all), that the README shows."""
_HEAD = """# Benchmarks

Made by `python -m benchmarks.tables` from `benchmarks/results/`, which `make bench-NAME` writes.
Ratios are of figures measured side by side in one run; a peer is named in its column.
"""


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        parts.append(f"## {result['name']}\n\n{table(result)}\n")
    return "\n".join(parts)


def figures(readme: str) -> str:
    """The README with its table made anew."""
    lines = ["| | MedFabric | beside it | unit |", "|---|---|---|---|"]
    for name, shown in _SHOWN.items():
        for row in json.loads((RESULTS / f"{name}.json").read_text())["rows"]:
            if shown is None or row["what"] in shown:
                lines.append(
                    f"| {row['what']} | {number(row['ours'])} "
                    f"| {number(row['peer'])} ({row['peer_name']}) | {row['unit']} |"
                )
    before, _, rest = readme.partition(_BEGIN)
    return before + _BEGIN + "\n".join(lines) + "\n" + _END + rest.partition(_END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
    README.write_text(figures(README.read_text()))
