"""The catalogue of failures names tests that exist and provoke them, and every code there is."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from chaincode.schema.errors import Code

ROOT = Path(__file__).parents[1]
CATALOGUE = (ROOT / "docs" / "failures.md").read_text()
ENTRIES = re.split(r"^### ", CATALOGUE, flags=re.MULTILINE)[1:]


@cache
def sources_in(file: str) -> dict[str, str]:
    """The source of a file's tests by their names, parameters too."""
    source = (ROOT / file).read_text()
    lines = source.splitlines()
    found = {}
    for one in ast.walk(ast.parse(source)):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([one.lineno, *(each.lineno for each in one.decorator_list)])
            found[one.name] = "\n".join(lines[first - 1 : one.end_lineno])
    return found


def named(entry: str) -> list[tuple[str, str]]:
    """The tests that an entry names: file, name."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", entry)


def test_every_entry_is_complete_and_names_a_test_that_exists():
    for entry in ENTRIES:
        title = entry.splitlines()[0]
        for field in ("Symptom", "Cause", "Detection", "Fix", "Test"):
            assert f"\n- {field}: " in entry, title
        assert named(entry), title
        for file, name in named(entry):
            assert name in sources_in(file), title


def test_every_code_has_an_entry_whose_test_names_it():
    sources: dict[str, str] = defaultdict(str)
    for entry in ENTRIES:
        sources[entry[:7]] += "".join(sources_in(file)[name] for file, name in named(entry))

    unprovoked = [
        code
        for code in Code
        if not re.search(rf"{code.value}|Code\.{code.name}\b", sources[code.value])
    ]

    assert unprovoked == []
