"""How far dishonest hospitals bend a model: a fifth of 5, 10 and 20 hospitals, in every round.

Ours (the encryption's range and the acceptance vote, on encrypted sums) beside plain averaging and
beside rules that need every update in the clear. Simulated records of deterioration; epsilon 3.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import _federation as f

if TYPE_CHECKING:
    from trainer.poisoning import Hospitals, Outcome

APPLICATION, RUNS, SIZES = "deterioration", 3, (5, 10, 20)
MAX_DROP = 0.1
"""As in the demonstration's plan."""

_row = partial(f.row, runs=RUNS)


def rows() -> list[dict[str, Any]]:
    """Every attack against every defence."""
    from trainer.poisoning import ATTACKS

    return [row for size in SIZES for attack in ATTACKS for row in _attacked(size, attack)]


def _attacked(size: int, name: str) -> Iterator[dict[str, Any]]:
    ours = [_outcome(size, name, seed, "ours") for seed in range(RUNS)]
    for rule in ("mean", "median", "trimmed mean", "krum"):
        theirs = [_outcome(size, name, seed, rule) for seed in range(RUNS)]
        label = "no defence" if rule == "mean" else f"{rule}, in the clear"
        yield _row(
            f"{size} hospitals, {name}: test accuracy",
            f.mean([one.accuracy for one in ours]),
            f.mean([one.accuracy for one in theirs]),
            label,
        )
        if name == "backdoor":
            yield _row(
                f"{size} hospitals, backdoor: triggered records given the target",
                f.mean([one.backdoor for one in ours]),
                f.mean([one.backdoor for one in theirs]),
                label,
                better="lower",
                unit="share",
            )
    yield _row(
        f"{size} hospitals, {name}: candidates voted down, of {_rounds()}",
        f.mean([one.rejected for one in ours]),
        None,
        None,
        better="lower" if name == "none" else "higher",
        unit="rounds",
    )


def _rounds() -> int:
    from trainer import applications

    return applications.find(APPLICATION).tuned.rounds


def _outcome(size: int, name: str, seed: int, defence: str) -> Outcome:
    from trainer import applications, poisoning, presets
    from trainer.models import registry

    application = applications.find(APPLICATION)
    hospitals, test = _hospitals(size, seed)
    model = registry.build(application.architecture, application.config)
    samples = min(map(len, hospitals.training))
    training = presets.training(application.tuned, samples)
    privacy = presets.privacy(application.tuned, training, samples)
    rules = {
        "mean": {},
        "median": {"combine": poisoning.median},
        "trimmed mean": {"combine": poisoning.trimmed_mean},
        "krum": {"combine": poisoning.krum},
        "ours": {"value_clip": f.value_clip(training, privacy), "max_drop": MAX_DROP},
    }
    attack = poisoning.ATTACKS[name]
    run = partial(poisoning.run, model, hospitals, test, attack, training, privacy, seed)
    return run(**rules[defence])


def _hospitals(size: int, seed: int) -> tuple[Hospitals, Any]:
    from trainer import applications
    from trainer.applications.files import load, write
    from trainer.data.records import VALIDATION_FRACTION, split
    from trainer.poisoning import Hospitals

    application = applications.find(APPLICATION)
    with tempfile.TemporaryDirectory() as folder:
        files = write(application, Path(folder), size, seed, sample_seed=seed)
        records, test = load(application, files)
    parts = [split(one, VALIDATION_FRACTION, seed) for one in records]
    training, validation = ([part[place] for part in parts] for place in (0, 1))
    return Hospitals(training, validation, frozenset(range(size // 5))), test
