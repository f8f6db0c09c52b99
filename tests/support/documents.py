"""Examples in the documentation, to be run."""

from __future__ import annotations

import re
from pathlib import Path

_EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(path: Path) -> list[str]:
    """The Python examples of a page, each at the lines where it stands in the page."""
    page = path.read_text(encoding="utf-8")
    return [
        "\n" * page.count("\n", 0, found.start(1)) + found[1] for found in _EXAMPLE.finditer(page)
    ]
