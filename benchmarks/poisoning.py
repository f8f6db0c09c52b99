"""How far dishonest hospitals bend a model: a fifth of 5, 10 and 20 hospitals, in every round.

Every attack under every defence: those of encrypted sums one by one and all together ("ours"), all
with half the clip or with votes by class, and rules that need every update in the clear. Simulated
records of deterioration; epsilon 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks import _federation as f

if TYPE_CHECKING:
    from trainer.defences import Setting
    from trainer.poisoning import Outcome

APPLICATION, RUNS, SIZES = "deterioration", 3, (5, 10, 20)
OURS = "all"
NARROW, PERCENT = "all, half the clip", 50

Found = dict[str, list["Outcome"]]
"""Of every defence the outcomes of all seeds."""


def rows() -> list[dict[str, Any]]:
    """Every attack against every defence."""
    import torch

    torch.set_num_threads(1)
    return [
        row
        for size in SIZES
        for name, found in _outcomes(size).items()
        for row in _attacked(size, name, found)
    ]


def _outcomes(size: int) -> dict[str, Found]:
    """Of every attack."""
    from trainer.defences import DEFENCES
    from trainer.poisoning import ATTACKS, run

    found: dict[str, Found] = {name: {one: [] for one in (*DEFENCES, NARROW)} for name in ATTACKS}
    for seed in range(RUNS):
        setting, test = _setting(size, seed)
        for name, attack in ATTACKS.items():
            attackers = frozenset() if name == "none" else frozenset(range(size // 5))
            attacked = replace(setting, attackers=attackers)
            narrow = replace(attacked, clip_percent=PERCENT)
            outcomes = run(attacked, test, attack, DEFENCES)
            outcomes |= run(narrow, test, attack, {NARROW: DEFENCES[OURS]})
            for defence, outcome in outcomes.items():
                found[name][defence].append(outcome)
    return found


def _setting(size: int, seed: int) -> tuple[Setting, Any]:
    """Honest hospitals, and the test records."""
    from trainer.defences import Setting

    federation = f.Federation.of(APPLICATION, seed, hospitals=size)
    setting = Setting(
        model=federation.model,
        training=federation.training,
        privacy=federation.privacy(),
        hospitals=federation.hospitals,
        validation=federation.validations,
        attackers=frozenset(),
        seed=seed,
        least_group=2 if size < 6 else 3,
    )
    return setting, federation.test


def _attacked(size: int, name: str, found: Found) -> Iterator[dict[str, Any]]:
    where = f"{size} hospitals, {name}"
    yield from _measured(f"{where}: test accuracy", "accuracy", found, "higher", "accuracy")
    if name == "backdoor":
        what = f"{where}: triggered records given the target"
        yield from _measured(what, "backdoor", found, "lower", "share")
    what = f"{where}: rounds without a new model, of {_rounds()}"
    better = "lower" if name == "none" else ""
    yield from _measured(what, "refused", _encrypted(found), better, "rounds")
    if name != "none":
        what = f"{where}: an attacker's weight at the end, beside an honest hospital's"
        yield from _measured(what, "weight", _encrypted(found), "lower", "share")


def _measured(
    what: str, field: str, found: Found, better: str, unit: str
) -> Iterator[dict[str, Any]]:
    means = {name: f.mean([getattr(one, field) for one in ones]) for name, ones in found.items()}
    for name, mean in means.items():
        if name != OURS:
            yield f.row(what, means[OURS], mean, name, RUNS, better, unit)


def _encrypted(found: Found) -> Found:
    """Without the rules in the clear, which refuse nothing and weigh nobody."""
    return {name: ones for name, ones in found.items() if "in the clear" not in name}


def _rounds() -> int:
    from trainer import applications

    return applications.find(APPLICATION).tuned.rounds
