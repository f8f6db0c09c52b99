"""An attacker's agent: what it has learned it turns round and makes ten times as large."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from trainer.node import learner, main, rounds
from trainer.training import Trained

_train = learner.train


def _turned(*args: Any, **options: Any) -> Trained:
    trained = _train(*args, **options)
    return dataclasses.replace(trained, delta=-10 * trained.delta)


learner.train = _turned  # type: ignore[attr-defined]
# An honest node keeps such an update to itself.
rounds.refuse_exploded = lambda *_: None

if __name__ == "__main__":
    main.run(Path("node.json"))
