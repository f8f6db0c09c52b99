"""How well malicious nodes are recognised by conduct: on kinds of attack never seen in training.

Everything is simulated. For each seed and each kind of attack a classifier is trained on consortia
without that kind, its flag set on others without it, and both are then tried on consortia with it.
Beside it, on the same nodes and with as many honest ones flagged when set: a threshold on every
trait (a node is flagged if any is as unusual as few honest nodes'), one on the score, and the same
classifier without what group tests found.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.classifiers import Trait
from trainer.reputation.behaviour import ATTACKS, Kind
from trainer.reputation.training import (
    TRAITS,
    Nodes,
    Recipe,
    export,
    fit,
    observe,
    score_micro,
    threshold,
)

SEEDS = (11, 12, 13, 14, 15)
TRAINING, CALIBRATION, TRIALS = 240, 120, 14
"""Consortia to learn from, to set flags on, and of each kind of attack to try on."""
ALLOWED = Fraction(1, 100)
"""Of the honest nodes that flags are set on."""
EVERY_TRAIT, SCORE = "a threshold on every trait", "a threshold on the score"
UNTESTED = "the same without quality"
_QUALITY = [trait in (Trait.QUALITY_EVER, Trait.QUALITY_RECENT) for trait in TRAITS]

Suspicion = Callable[[Nodes], NDArray[np.float64]]


@dataclass(frozen=True)
class Trial:
    """Of one seed, kind and way to tell: shares of nodes flagged; the last with as many honest
    nodes of the trials flagged as allowed."""

    recall: float
    false: float
    false_under_attack: float
    recall_at_allowed: float


def rows() -> list[dict[str, Any]]:
    """Means over the seeds; spreads are standard deviations of a seed's figure."""
    ways: dict[str, list[list[Trial]]] = {
        way: [] for way in ("ours", EVERY_TRAIT, SCORE, UNTESTED, "seen")
    }
    for seed in SEEDS:
        for way, trials in _seed(seed).items():
            ways[way].append(trials)
    return [*_overall(ways), *_by_kind(ways)]


def _seed(seed: int) -> dict[str, list[Trial]]:
    recipe = Recipe(seed=seed, consortia=TRAINING, calibration=CALIBRATION)
    known = observe((seed, 0), TRAINING, ATTACKS)
    fresh = observe((seed, 1), CALIBRATION, ATTACKS)
    trials = {kind: observe((seed, 2, n), TRIALS, (kind,)) for n, kind in enumerate(ATTACKS)}
    found: dict[str, list[Trial]] = {}
    seen = _classifier(recipe, known, fresh)
    for kind, nodes in trials.items():
        here, flags = known.without(kind), fresh.without(kind)
        ways = {
            "ours": _classifier(recipe, here, flags),
            EVERY_TRAIT: _every_trait(here),
            SCORE: lambda them: -them.scores_milli.astype(np.float64),
            UNTESTED: _untested(recipe, here, flags),
            "seen": seen,
        }
        for way, suspicion in ways.items():
            found.setdefault(way, []).append(_trial(suspicion, flags, nodes, trials))
    return found


def _classifier(recipe: Recipe, known: Nodes, fresh: Nodes) -> Suspicion:
    terms = export(recipe, fit(recipe, known), fresh, "trial")
    return lambda them: score_micro(terms.bias_micro, terms.curves, them.values).astype(np.float64)


def _untested(recipe: Recipe, known: Nodes, fresh: Nodes) -> Suspicion:
    """A classifier that is not told what group tests found."""
    blind = _classifier(recipe, _without_quality(known), _without_quality(fresh))
    return lambda them: blind(_without_quality(them))


def _without_quality(them: Nodes) -> Nodes:
    return replace(them, values=np.where(_QUALITY, 0, them.values))


def _every_trait(known: Nodes) -> Suspicion:
    """How unusual a node's most unusual trait is among honest nodes, and how far beyond them."""
    columns = np.sort(known.values[~known.malicious], axis=0).T

    def suspicion(them: Nodes) -> NDArray[np.float64]:
        below = [
            np.searchsorted(column, values, side="left") / len(column)
            + np.maximum(0, values - column[-1]) / 1000
            for column, values in zip(columns, them.values.T, strict=True)
        ]
        return np.asarray(np.max(below, axis=0))

    return suspicion


def _trial(suspicion: Suspicion, flags: Nodes, nodes: Nodes, trials: dict[Kind, Nodes]) -> Trial:
    flag = _least(suspicion(flags.only(~flags.malicious)))
    judged, malicious = suspicion(nodes), nodes.malicious
    attacked = np.isin(nodes.consortia, nodes.consortia[malicious]) & ~malicious
    honest = np.concatenate([suspicion(t.only(~t.malicious)) for t in trials.values()])
    return Trial(
        recall=float((judged[malicious] >= flag).mean()),
        false=float((judged[~malicious] >= flag).mean()),
        false_under_attack=float((judged[attacked] >= flag).mean()),
        recall_at_allowed=float((judged[malicious] >= _least(honest)).mean()),
    )


def _least(suspicions: NDArray[np.float64]) -> float:
    """The least value that at most the allowed share exceeds or reaches."""
    ranks = np.unique(suspicions, return_inverse=True)
    place = threshold(ranks[1].astype(np.int64), ALLOWED)
    return (
        float(ranks[0][place])
        if place < len(ranks[0])
        else float(np.nextafter(ranks[0][-1], np.inf))
    )


def _overall(ways: dict[str, list[list[Trial]]]) -> list[dict[str, Any]]:
    def row(what: str, field: str, peer: str, better: str, aim: str = "") -> dict[str, Any]:
        mine, theirs = (
            [statistics.fmean(getattr(t, field) for t in trials) for trials in ways[way]]
            for way in ("ours", peer)
        )
        name = "the same, trained on all kinds" if peer == "seen" else peer
        return _row(what, mine, theirs, name, better, aim)

    recall = f"malicious nodes recognised, mean of {len(ATTACKS)} kinds, each never seen"
    honest, attacked = "honest nodes flagged", "honest nodes flagged, where somebody attacks"
    return [
        row(recall, "recall", EVERY_TRAIT, "higher"),
        row(recall, "recall", SCORE, "higher"),
        row(recall, "recall", UNTESTED, "higher"),
        row(recall, "recall", "seen", "higher"),
        row(honest, "false", EVERY_TRAIT, "lower", "<= 0.02"),
        row(honest, "false", SCORE, "lower", "<= 0.02"),
        row(honest, "false", UNTESTED, "lower", "<= 0.02"),
        row(attacked, "false_under_attack", EVERY_TRAIT, "lower"),
        row(attacked, "false_under_attack", UNTESTED, "lower"),
        row(
            "malicious nodes recognised where 1 in 100 honest ones is flagged",
            "recall_at_allowed",
            EVERY_TRAIT,
            "higher",
        ),
        row(
            "malicious nodes recognised where 1 in 100 honest ones is flagged",
            "recall_at_allowed",
            UNTESTED,
            "higher",
        ),
    ]


def _by_kind(ways: dict[str, list[list[Trial]]]) -> list[dict[str, Any]]:
    def column(way: str, place: int) -> list[float]:
        return [trials[place].recall for trials in ways[way]]

    return [
        _row(f"{kind}, never seen", column("ours", n), column(peer, n), peer, "higher")
        for n, kind in enumerate(ATTACKS)
        for peer in (EVERY_TRAIT, UNTESTED)
    ]


def _row(
    what: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    better: str,
    aim: str = "",
) -> dict[str, Any]:
    mean, theirs = statistics.fmean(ours), statistics.fmean(peer)
    spreads = f"{statistics.stdev(ours):.3f} and {statistics.stdev(peer):.3f}"
    return {
        "what": what,
        "ours": mean,
        "peer": theirs,
        "peer_name": peer_name,
        "unit": f"share of nodes (spreads {spreads})",
        "ratio": mean / theirs if theirs else None,
        "better": better,
        "aim": aim,
        "runs": len(SEEDS),
    }
