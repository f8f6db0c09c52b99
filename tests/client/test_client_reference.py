"""The client's reference documentation is made from its docstrings and up to date."""

from __future__ import annotations

import re
from pathlib import Path

from client import gateway
from client.reference import PAGE, client_page, main

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_the_committed_page_is_what_the_docstrings_say():
    committed = (REFERENCE / PAGE).read_text(encoding="utf-8")

    assert committed == client_page(), "run: python -m client.reference docs/reference"


def test_the_page_is_written_into_a_folder(tmp_path):
    main(tmp_path)

    assert (tmp_path / PAGE).read_text(encoding="utf-8") == client_page()


def test_all_that_the_gateway_gives_is_in_it():
    headings = re.findall(r"^### [\w.]+\.(\w+)$", client_page(), re.MULTILINE)

    assert set(gateway.__all__) <= set(headings)
    assert len(headings) == len(set(headings))
