"""Applications whose records are no table and no archive, from the hospitals' files to a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.training import ended, training, until

from demo.run import Run
from network.topology import Kind


@pytest.mark.parametrize(("application", "rounds"), [("kidney", 12), ("drowsiness", 1)])
def test_bundles_and_recordings_go_all_the_way_to_a_published_model(
    application: str, rounds: int, tmp_path: Path
) -> None:
    """Watched to the end of the first round. A plan of a single round would have so little noise,
    and thus so narrow a clip, that the kidney model's first candidate is often refused."""
    folder = tmp_path / "run"
    with training(folder, Kind.DEVNET, rounds, 120, hospitals=2, application=application) as run:
        view = until(run, 1, ended, seconds=200)
        data = json.loads((run.agents.home("hospital1") / "node.json").read_text())["datasets"][0]
        pages = [run.agents.home(slug) / "data-report.html" for slug in run.agents.names]

    assert view.round.status == "PUBLISHED", view.round.reason
    if application == "kidney":
        _compared(run, pages)
        bundle = json.loads(next((folder / "records" / "hospital1").iterdir()).read_text())
        assert {one["resource"]["resourceType"] for one in bundle["entry"]} == {
            "Patient",
            "Observation",
            "Condition",
        }
    else:
        assert (Path(data["file"]) / "index.csv").exists()
        assert run.drift == {}


def _compared(run: Run, pages: list[Path]) -> None:
    """Every hospital's report says that its records are as the plan expects."""
    assert set(run.drift) == {hospital.slug for hospital in run.hospitals}
    for verdicts in run.drift.values():
        assert {"age", "creatinine", "smoking", "classes"} <= set(verdicts)
        assert set(verdicts.values()) == {"as expected"}
    assert all(page.stat().st_mode & 0o077 == 0 for page in pages)
