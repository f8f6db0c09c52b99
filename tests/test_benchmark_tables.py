"""The documentation's tables are those of the results; no number is typed by hand."""

from __future__ import annotations

import json

from benchmarks.__main__ import FIELDS, RESULTS
from benchmarks.tables import PAGE, README, figures, page


def test_page_is_made_from_the_results() -> None:
    assert PAGE.read_text() == page()


def test_readme_s_figures_are_made_from_the_results() -> None:
    assert README.read_text() == figures(README.read_text())


def test_results_have_the_fields_of_a_row() -> None:
    for path in RESULTS.glob("*.json"):
        result = json.loads(path.read_text())
        assert {"name", "date", "machine", "rows"} <= result.keys()
        for row in result["rows"]:
            assert set(row) == set(FIELDS), path.name
