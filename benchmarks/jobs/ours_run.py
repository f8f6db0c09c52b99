"""The job on the devnet, with everything on; seconds on standard output, as JSON.

``python ours_run.py wide|small FOLDER``: from the start of the process to the last round.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

BEGIN = time.monotonic()
ROUNDS = 5

if TYPE_CHECKING:
    from chaincode.schema.rounds import RoundView
    from demo.run import Run


def main(application: str, folder: Path) -> None:
    """Train, prove, and say when each round was published."""
    from demo.outcome import conclude
    from demo.run import Options, prepared, train
    from network.topology import Kind

    published: list[float] = []

    def ended(_: Run, view: RoundView) -> None:
        if view.round.status != "PUBLISHED":
            raise RuntimeError(f"round {view.round.number}: {view.round.reason}")
        published.append(time.monotonic() - BEGIN)

    options = Options(folder, Kind.DEVNET, rounds=ROUNDS, application=application)
    with prepared(options, lambda _: None) as run:
        train(run, lambda _: None, ended)
        result, _ = conclude(run, lambda _: None)
    if result.audit.verdict != "proven":
        raise RuntimeError(f"the audit says {result.audit.verdict}")
    print(
        json.dumps(
            {
                "seconds": published[-1],
                "first": published[0],
                "accuracy": result.final_accuracy,
                "memory_mb": result.peak_memory_mb,
            }
        )
    )


if __name__ == "__main__":
    main({"wide": "wdbc-wide", "small": "breast-cancer"}[sys.argv[1]], Path(sys.argv[2]))
