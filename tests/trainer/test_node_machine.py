"""What a node measures: the least of what machine, control group and limits allow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from chaincode.schema.errors import Code, MedFabricError
from trainer.node import machine

_LIMITED = """
import os, resource, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
from client.cli.main import main
sys.argv = ["medfabric", "node", "measure", "--json"]
main()
"""


def measured(*command: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_weak_machine_is_measured_as_one() -> None:
    told = measured("-c", _LIMITED)

    assert told["memory_mb"] == 1024
    assert told["cores"] == 1
    assert told["energy"] in ("measured", "estimated")
    assert told["accelerator"] in ("none", "cuda", "mps")


@pytest.mark.parametrize(
    ("cpu", "memory", "cores", "mb"),
    [("50000 100000", "268435456", 0.5, 256), ("max 100000", "max", None, None)],
)
def test_a_control_group_limits_what_a_node_has(
    tmp_path: Path, cpu: str, memory: str, cores: float | None, mb: int | None
) -> None:
    from trainer.node.machine import measure

    (tmp_path / "cpu.max").write_text(cpu)
    (tmp_path / "memory.max").write_text(memory)

    limited = measure(cgroup=tmp_path)
    free = measure(cgroup=tmp_path / "absent")

    assert limited.cores == (free.cores if cores is None else cores)
    assert limited.memory_mb == (free.memory_mb if mb is None else mb)


def test_energy_is_called_measured_where_a_counter_tells_it(tmp_path: Path) -> None:
    from trainer.node.machine import measure

    assert measure(counters=tmp_path).energy == "estimated"
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("17")
    assert measure(counters=tmp_path).energy == "measured"


def test_an_accelerator_that_is_not_here_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(MedFabricError, match="torch finds none here") as refused:
        machine.check("cuda")

    assert refused.value.code == Code.NODE_CONFIG
    for named in ("cpu", "auto"):
        machine.check(named)
