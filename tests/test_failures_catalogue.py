"""The catalogue of failures names tests that exist, and every code there is."""

from __future__ import annotations

import re
from pathlib import Path

from chaincode.schema.errors import Code

ROOT = Path(__file__).parents[1]
CATALOGUE = (ROOT / "docs" / "failures.md").read_text()
ENTRIES = re.split(r"^### ", CATALOGUE, flags=re.MULTILINE)[1:]


def test_every_entry_is_complete_and_names_a_test_that_exists():
    for entry in ENTRIES:
        for field in ("Symptom", "Cause", "Detection", "Fix", "Test"):
            assert f"\n- {field}: " in entry, entry.splitlines()[0]
        for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", entry):
            assert re.search(rf"^\s*(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_code_has_an_entry():
    named = {entry[:7] for entry in ENTRIES}

    assert {code.value for code in Code} <= named
