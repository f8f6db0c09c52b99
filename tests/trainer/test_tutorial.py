"""The records and the terms of the tutorial on one's own records."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from chaincode.schema.data import DataTerms
from trainer.data.files import load
from trainer.models import registry
from trainer.node.main import read_terms

_PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "your-own-records.md"


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found
    return "\n".join(line.removeprefix("   ") for line in found[1].splitlines())


def test_the_tutorial_s_records_are_read_by_its_terms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, language in (("make.py", "python"), ("terms.json", "json")):
        (tmp_path / name).write_text(_block(language))
    runpy.run_path("make.py")

    terms: DataTerms = read_terms(tmp_path / "terms.json")
    records = load(tmp_path / "ward4.csv", terms)

    settings = dict(re.findall(r"--set (\w+)=(\d+)", _PAGE.read_text()))
    shape = registry.shape("logistic", {name: int(value) for name, value in settings.items()})
    assert len(records.labels) == 300
    assert terms.shape == shape
