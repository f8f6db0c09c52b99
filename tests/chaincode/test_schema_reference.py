"""The reference documentation is made from the tables and up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaincode.schema.reference import PAGES, main, transactions_page
from chaincode.schema.transactions import TRANSACTIONS

DOCS = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_what_the_tables_say(name):
    committed = (DOCS / name).read_text(encoding="utf-8")

    assert committed == PAGES[name](), "run: python -m chaincode.schema.reference docs/reference"


def test_pages_are_written_into_a_folder(tmp_path):
    main(tmp_path)

    assert {page.name for page in tmp_path.iterdir()} == set(PAGES)


def test_every_link_leads_to_a_heading():
    page = transactions_page()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]

    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= set(anchors)
    assert len(anchors) == len(set(anchors))
    assert set(TRANSACTIONS) <= set(headings)
