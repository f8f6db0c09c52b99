"""What a duty takes: measured where the machine tells, else estimated and called so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.node.resources import ESTIMATED_WATTS, Meter


@pytest.fixture
def counters(tmp_path: Path) -> Path:
    for name, value in (("intel-rapl:0", 5_000), ("intel-rapl:1", 1_000), ("intel-rapl:0:0", 77)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
    return tmp_path


def test_energy_is_that_of_all_packages_where_the_machine_counts_it(counters: Path) -> None:
    meter = Meter.start(counters)
    (counters / "intel-rapl:0" / "energy_uj").write_text("2005000\n")
    (counters / "intel-rapl:1" / "energy_uj").write_text("1001000\n")

    facts = meter.facts(counters)

    assert (facts["energy"], facts["energy_mj"]) == ("measured", 3000)
    assert facts["cpu_ms"] >= 0
    assert facts["peak_kb"] > 1000


@pytest.mark.parametrize("broken", ["gone", "not a number", "started again"])
def test_energy_is_estimated_and_called_so_where_the_machine_does_not_tell(
    counters: Path, broken: str
) -> None:
    meter = Meter.start(counters)
    text = {"gone": "", "not a number": "?", "started again": "0"}[broken]
    (counters / "intel-rapl:0" / "energy_uj").write_text(text)
    sum(i * i for i in range(300_000))

    facts = meter.facts(counters)

    assert facts["energy"] == "estimated"
    assert facts["energy_mj"] == pytest.approx(facts["cpu_ms"] * ESTIMATED_WATTS, rel=0.2, abs=20)


def test_peak_memory_is_the_process_own_and_not_of_who_started_it() -> None:
    large = bytearray(b"x") * 2**28
    tell = "from trainer.node.resources import Meter; print(Meter.start().facts()['peak_kb'])"

    told = subprocess.run([sys.executable, "-c", tell], capture_output=True, check=True)

    assert 0 < int(told.stdout) < len(large) // 1024
