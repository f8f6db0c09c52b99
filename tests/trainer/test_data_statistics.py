"""What a hospital may keep of its dataset as a private record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.private import Statistics
from client.cli.main import cli
from trainer.data.statistics import statistics

TERMS = DataTerms(
    application="test",
    features=(
        Feature(name="age", low_micro=0, high_micro=100_000_000),
        Feature(name="dose", low_micro=-1_000_000, high_micro=1_000_000),
    ),
    label="outcome",
    classes=("well", "ill", "unknown"),
)
TEXT = "outcome,dose,age\nill,0.5,25\nwell,-7,130\nill,0.25,40\n"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.csv"
    path.write_text(TEXT)
    return path


def test_values_are_those_of_the_file_not_scaled_or_clipped(records: Path) -> None:
    found = statistics(records, TERMS)

    assert found.samples == 3
    assert [(c.name, c.samples) for c in found.classes] == [("well", 1), ("ill", 2), ("unknown", 0)]
    age, dose = found.features
    assert (age.low_micro, age.high_micro, age.mean_micro) == (25_000_000, 130_000_000, 65_000_000)
    assert (dose.low_micro, dose.high_micro) == (-7_000_000, 500_000)
    # population deviation of 25, 130, 40
    assert age.deviation_micro == 46_368_092


def test_records_that_are_none_are_refused(records: Path) -> None:
    records.write_text(TEXT.replace("40", "forty"))

    with pytest.raises(MedFabricError) as caught:
        statistics(records, TERMS)

    assert caught.value.code == Code.DATA_VALUE


def test_command_prints_what_the_admin_keeps(records: Path, tmp_path: Path) -> None:
    node = {
        "connection": "connection.json",
        "identity": "users/node1",
        "home": "home",
        "store": {"kind": "directory", "folder": "content"},
        "datasets": [{"dataset_id": "wards", "file": "records.csv"}],
    }
    config, terms = tmp_path / "node.json", tmp_path / "terms.json"
    config.write_text(json.dumps(node))
    terms.write_text(TERMS.model_dump_json())

    result = CliRunner().invoke(cli, ["node", "statistics", str(config), str(terms), "--json"])

    assert result.exit_code == 0, result.output
    assert Statistics.model_validate_json(result.stdout) == statistics(records, TERMS)
