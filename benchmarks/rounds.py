"""A whole training on the devnet, and on real Fabric where it is found: stages, bytes, proof."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from demo.record import RunRecord
from network.topology import Kind

ROUNDS = 5


def rows() -> list[dict[str, Any]]:
    """Run the demonstration on each network and compare."""
    from network import binaries

    devnet = _run(Kind.DEVNET)
    fabric = _run(Kind.FABRIC) if binaries.present() else None
    ours = _figures(devnet)
    peer = _figures(fabric) if fabric else {}
    name = f"real Fabric {fabric.network.version}" if fabric else ""
    return [
        {
            "what": what,
            "ours": value,
            "peer": peer.get(what),
            "peer_name": name if what in peer else "",
            "unit": _unit(what),
            "ratio": value / peer[what] if peer.get(what) else None,
            "better": "higher" if "proven" in what else "lower",
            "aim": _AIMS.get(what, ""),
            "runs": ROUNDS,
        }
        for what, value in ours.items()
    ]


_AIMS = {"whole run": "120 (devnet), 180 (Fabric)", "peak memory": "3000 (devnet)"}


def _unit(what: str) -> str:
    if "bytes" in what:
        return "bytes"
    if "memory" in what:
        return "MB"
    return "transactions per s" if "proven" in what else "s"


def _figures(run: RunRecord) -> dict[str, float]:
    # The first round holds the agents' start: importing torch takes longer than a round.
    steady = run.rounds[1:]
    tasks = [stage.task for stage in steady[0].stages]
    stages = {
        f"stage {task}, slowest hospital": statistics.median(
            stage.seconds for round_ in steady for stage in round_.stages if stage.task == task
        )
        for task in tasks
    }
    nodes = len(run.network.hospitals)
    return {
        "bringing the network up": next(
            t.seconds for t in run.timings if t.stage == "bringing the network up"
        ),
        **stages,
        "round": statistics.median(round_.seconds for round_ in steady),
        "first round, with the agents' start": run.rounds[0].seconds,
        "bytes per update": float(run.rounds[0].update_bytes),
        "ledger bytes per node and round": statistics.median(
            round_.ledger_bytes / nodes for round_ in steady
        ),
        "proven by the auditor": run.audit.transactions / run.audit.seconds,
        "whole run": run.seconds,
        "peak memory": run.peak_memory_mb,
    }


def _run(kind: Kind) -> RunRecord:
    from demo.outcome import conclude
    from demo.run import Options, prepared, train

    with tempfile.TemporaryDirectory() as folder:
        options = Options(Path(folder) / "run", kind, rounds=ROUNDS)
        with prepared(options, lambda _: None) as run:
            train(run, lambda _: None, lambda *_: None)
            result, _ = conclude(run, lambda _: None)
    return result
