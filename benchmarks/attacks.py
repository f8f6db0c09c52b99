"""Who was trained on, as attackers find out: beside what no attacker exceeds under the privacy.

By losses (Yeom et al. 2018), on records made to be learned by heart; by likelihood ratios with
shadow models (LiRA, Carlini et al. 2022), on real records of breast cancer of which a tenth have
the wrong diagnosis, and on all of them. Models see half of 80 records each; without privacy they
are trained until they fit, with it by the application's terms. The column of the peer is what
theory allows at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks import _federation as f
from benchmarks._rows import alone

if TYPE_CHECKING:
    from chaincode.schema.plans import PrivacyTerms, TrainingTerms

EPSILONS = (0.5, 1.0, 3.0, 8.0)
MODELS = 256
POOL = 80
MISTAKEN = 0.01
SEEDS = (1, 2, 3)
_THEORY = "at most, by theory"
_ADVANTAGE = "advantage"
_FOUND = f"members found at {MISTAKEN:.0%} of others mistaken"


def rows() -> list[dict[str, Any]]:
    """By losses, then by likelihood ratios: without privacy, and at every epsilon."""
    return [*_by_losses(), *_by_likelihood(everyone=False), *_by_likelihood(everyone=True)]


def _by_losses() -> Iterator[dict[str, Any]]:
    import numpy as np

    from trainer import attacks, presets
    from trainer.applications.application import Tuned
    from trainer.data.records import Records
    from trainer.models import registry

    def memorable(seed: int) -> Records:
        draw = np.random.default_rng(seed)
        features = draw.uniform(-1, 1, (40, 200)).astype(np.float32)
        return Records(features, draw.integers(0, 2, 40))

    tuned = Tuned(rounds=1, steps=60, batch=20, learning_rate=1.0, clip=1.0)
    training: TrainingTerms = presets.training(tuned, 40)
    model = registry.build("logistic", {"features": 200, "classes": 2})
    members, others = memorable(1), memorable(2)
    what = f"by losses, records made to be learned: {_ADVANTAGE}"
    runs = len(SEEDS)
    naive = attacks.membership(model, members, others, training, None, runs)
    yield alone(f"{what} without privacy", naive, "", runs=runs)
    for epsilon in EPSILONS:
        privacy = presets.privacy(tuned, training, 40, round(epsilon * 1e6))
        ours = attacks.membership(model, members, others, training, privacy, runs)
        bound = attacks.bound(epsilon, presets.DELTA_NANO / 1e9)
        yield _row(f"{what} at epsilon {epsilon:g}", ours, bound, runs)


def _by_likelihood(*, everyone: bool) -> Iterator[dict[str, Any]]:
    from trainer import applications, attacks, lira, presets

    tuned = applications.find("breast-cancer").tuned
    plan = presets.training(tuned, POOL // 2)
    naive = plan.model_copy(
        update={
            "rounds": 1,
            "steps": 400,
            "batch_size": POOL // 2,
            "learning_rate_micro": 3_000_000,
        }
    )
    whom = "all records" if everyone else "misdiagnosed records"
    for way, place in (("online", 0), ("offline", 1)):
        found = _guesses(everyone, naive, None, place)
        for what, ours in zip((_ADVANTAGE, _FOUND), found, strict=True):
            yield alone(f"LiRA {way}, {whom}: {what} without privacy", ours, "", runs=len(SEEDS))
    for epsilon in EPSILONS:
        privacy = presets.privacy(tuned, plan, POOL // 2, round(epsilon * 1e6))
        delta = presets.DELTA_NANO / 1e9
        bounds = attacks.bound(epsilon, delta), lira.most_found(epsilon, delta, MISTAKEN)
        found = _guesses(everyone, plan, privacy, 0)
        for what, ours, bound in zip((_ADVANTAGE, _FOUND), found, bounds, strict=True):
            what = f"LiRA online, {whom}: {what} at epsilon {epsilon:g}"
            yield _row(what, ours, bound, len(SEEDS))


def _guesses(
    everyone: bool, training: TrainingTerms, privacy: PrivacyTerms | None, place: int
) -> tuple[float, float]:
    """Mean advantage, and share found, over the seeds."""
    import numpy as np

    from trainer import lira

    guesses = []
    for seed in SEEDS:
        records, wrong = lira.ward(POOL, seed)
        attacked = np.ones_like(wrong) if everyone else wrong
        both = lira.attack(
            records, attacked, training, privacy, models=MODELS, targets=MODELS // 2, seed=seed
        )
        guesses.append(both[place])
    return f.mean([one.advantage for one in guesses]), f.mean(
        [one.found(MISTAKEN) for one in guesses]
    )


def _row(what: str, ours: float, bound: float, runs: int) -> dict[str, Any]:
    return f.row(what, ours, bound, _THEORY, runs, "lower", "", "ratio at most 1")
