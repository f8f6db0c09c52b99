"""The same job beside the peers, from start to trained model, in one run.

4 sites, 5 rounds, WDBC, an MLP 30-1800-1908-1, one local epoch of SGD 0.1 in batches of 32. NVIDIA
FLARE in its proof-of-concept mode, plain and with its homomorphic encryption; Flower's simulation,
which has neither encryption nor identities; ours with differential privacy, threshold encryption,
ledger and lineage. Peers get environments of their own, made when first asked for, in the user's
cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._package import JOBS, make

FLARE = ("nvflare[PT]==2.9.0", "tenseal", "torch", "scikit-learn")
FLOWER = ("flwr[simulation]==1.42.0", "torch", "scikit-learn")
_LIMIT = 900
_ENTRY_POINTS = """[medfabric.applications]
wdbc-wide = ours:WIDE
[medfabric.architectures]
wide-mlp = ours:ARCHITECTURE
"""


def rows() -> list[dict[str, Any]]:
    """Run everybody's job, one after the other."""
    flare, flower = _environment("flare", FLARE), _environment("flower", FLOWER)
    plain = _job(flare, "flare_job.py", "plain")["seconds"]
    encrypted = _job(flare, "flare_job.py", "encrypted")["seconds"]
    simulated = _job(flower, "flower_app.py", "wide")
    simulated_small = _job(flower, "flower_app.py", "small")
    ours, small = _ours("wide"), _ours("small")
    whole = "3.5M parameters, from start to the model of the last round"
    return [
        _row(whole, ours["seconds"], encrypted, "NVIDIA FLARE 2.9.0, encrypted", "<= 0.5"),
        _row(whole, ours["seconds"], plain, "NVIDIA FLARE 2.9.0, plain", "<= 1"),
        _row(whole, ours["seconds"], simulated["seconds"], "Flower 1.42.0's simulation"),
        _row(
            "small model, from start to the first round's model",
            small["first"],
            simulated_small["first"],
            "Flower 1.42.0's simulation",
            "<= 1",
        ),
        _row(
            "small model, from start to the model of the last round",
            small["seconds"],
            simulated_small["seconds"],
            "Flower 1.42.0's simulation",
        ),
    ]


def _row(what: str, ours: float, peer: float, name: str, aim: str = "") -> dict[str, Any]:
    return {
        "what": what,
        "ours": ours,
        "peer": peer,
        "peer_name": name,
        "unit": "s",
        "ratio": ours / peer,
        "better": "lower",
        "aim": aim,
        "runs": 1,
    }


def _environment(name: str, packages: tuple[str, ...]) -> Path:
    """The interpreter of a peer's own environment."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "medfabric" / "peers" / name
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
        subprocess.run([*uv, *packages], check=True)
        (folder / "ready").touch()
    return python


def _job(python: Path, script: str, *arguments: str) -> dict[str, Any]:
    """What a peer's job says of itself, in a folder and a home of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for file in JOBS.glob("*.py"):
            shutil.copy(file, folder)
        environment = {**os.environ, "HOME": folder, "NVFLARE_POC_WORKSPACE": f"{folder}/poc"}
        result = _run([str(python), script, *arguments], folder, environment)
    if result.get("status", "FINISHED:COMPLETED") != "FINISHED:COMPLETED":
        raise RuntimeError(f"{script}: {result}")
    return result


def _ours(size: str) -> dict[str, Any]:
    """Ours, where the wide model comes from a package of its own, as a user's would."""
    with tempfile.TemporaryDirectory() as folder:
        package = make(Path(folder), "ours", _ENTRY_POINTS)
        environment = {**os.environ, "PYTHONPATH": str(package)}
        command = [sys.executable, str(JOBS / "ours_run.py"), size, f"{folder}/run"]
        return _run(command, folder, environment)


def _run(command: list[str], folder: str, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RuntimeError(f"{command[1]} failed: {done.stdout[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found
