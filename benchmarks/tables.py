"""Makes docs/reference/benchmarks.md from the results that the runs left."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.__main__ import RESULTS, table

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"
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


if __name__ == "__main__":
    sys.exit(PAGE.write_text(page()) < 0)
