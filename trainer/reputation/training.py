"""Trains the classifier on simulated histories and exports it in whole numbers.

The model is a logistic regression over steps: each trait is cut where only so many in a thousand
honest nodes still lie above, and log-odds are added for each cut that a node's value reaches. Every
weight is at least 0: nobody looks better for a fault. A weight is the sum of one shared by all
traits, which says what it means to be as unusual as that, and one of the trait's own, held smaller
(the shared and own weights of Daume, "Frustratingly Easy Domain Adaptation", 2007, with traits for
domains). An attack that was never seen shows in a trait that no seen attack had touched; the shared
weights are what is known of it.

The flag is set on honest nodes of consortia that the classifier was not trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from chaincode.schema import canonical
from chaincode.schema.classifiers import ClassifierTerms, Curve, Trait, traits
from chaincode.schema.errors import Code, MedFabricError
from trainer.reputation.behaviour import ATTACKS, Kind
from trainer.reputation.histories import simulate

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
TRAITS = tuple(Trait)
TAILS = tuple(Fraction(1, n) for n in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000))
"""How many of the honest nodes lie at or above each cut."""
_MICRO = 1_000_000


@dataclass(frozen=True)
class Recipe:
    """All that a training run depends on, beside this program and its libraries.

    ``false_positives``: the share of honest nodes of the calibration consortia that may be flagged.
    Penalties are of squared weights, beside a mean log-loss in which malicious and honest nodes
    count the same in total.
    """

    seed: int = 1
    consortia: int = 400
    calibration: int = 200
    attacks: tuple[str, ...] = tuple(kind.value for kind in ATTACKS)
    shared_penalty: str = "1/5000"
    own_penalty: str = "1/200"
    false_positives: str = "1/100"

    @property
    def sha256(self) -> str:
        """Stands on the ledger beside the classifier."""
        return canonical.sha256(asdict(self) | {"attacks": list(self.attacks)})


@dataclass(frozen=True)
class Nodes:
    """Of n nodes: ``values``, int64[n, traits] in the order of TRAITS; ``scores_milli``; what each
    is; and the number of the consortium that each belongs to."""

    values: Integers
    scores_milli: Integers
    kinds: tuple[Kind, ...]
    consortia: Integers

    @property
    def malicious(self) -> NDArray[np.bool_]:
        return np.array([kind is not Kind.HONEST for kind in self.kinds], bool)

    def only(self, chosen: NDArray[np.bool_]) -> Nodes:
        """Some of them."""
        kinds = tuple(kind for kind, here in zip(self.kinds, chosen, strict=True) if here)
        return Nodes(self.values[chosen], self.scores_milli[chosen], kinds, self.consortia[chosen])

    def without(self, kind: Kind) -> Nodes:
        """The nodes of all consortia in which nobody attacked in this way."""
        struck = [c for c, k in zip(self.consortia, self.kinds, strict=True) if k is kind]
        return self.only(~np.isin(self.consortia, struck))


@dataclass(frozen=True)
class Model:
    """As fitted, in floating point. ``cuts``: int64[traits, tails]; ``weights``: float64 of the
    same shape, of each cut that a value reaches; ``bias``: log-odds below all cuts."""

    cuts: Integers
    weights: Floats
    bias: float

    def log_odds(self, values: Integers) -> Floats:
        """Of many nodes: float64[n]."""
        return np.asarray(
            _reached(values, self.cuts).reshape(len(values), -1) @ self.weights.ravel() + self.bias
        )


def observe(seed: Sequence[int], consortia: int, kinds: Sequence[Kind]) -> Nodes:
    """Simulate so many consortia and read every node's traits. No kinds: all are honest."""
    values, scores, found, numbers = [], [], [], []
    for number in range(consortia):
        consortium = simulate(np.random.default_rng([*seed, number]), kinds)
        for member in consortium.members:
            known = consortium.reputation(member)
            values.append(list(traits(known.tallies).values()))
            scores.append(known.score_milli)
            found.append(member.profile.kind)
            numbers.append(number)
    whole = [np.array(column, np.int64) for column in (values, scores, numbers)]
    return Nodes(whole[0], whole[1], tuple(found), whole[2])


def train(recipe: Recipe, name: str) -> ClassifierTerms:
    """Simulate, fit, calibrate, export. The same recipe gives the same classifier.

    Raises:
        MedFabricError: ``TRAINING_REFUSED`` where too few nodes are simulated to learn from.
    """
    kinds = [Kind(attack) for attack in recipe.attacks]
    known = observe((recipe.seed, 0), recipe.consortia, kinds)
    fresh = observe((recipe.seed, 1), recipe.calibration, kinds)
    return export(recipe, fit(recipe, known), fresh, name)


def fit(recipe: Recipe, known: Nodes) -> Model:
    """The model with the least penalised loss.

    Raises:
        MedFabricError: ``TRAINING_REFUSED`` where all nodes are honest, or none is.
    """
    malicious = known.malicious
    if malicious.all() or not malicious.any():
        raise MedFabricError(
            Code.TRAINING_REFUSED, "there is nobody to tell apart; simulate more consortia"
        )
    honest = known.values[~malicious]
    cuts = np.array([[_cut(column, tail) for tail in TAILS] for column in honest.T], np.int64)
    steps = _reached(known.values, cuts)
    columns = np.concatenate([steps.sum(axis=1), steps.reshape(len(steps), -1)], axis=1)
    penalty = np.full(columns.shape[1], float(Fraction(recipe.own_penalty)))
    penalty[: len(TAILS)] = float(Fraction(recipe.shared_penalty))
    bias, *found = _least_loss(columns, malicious, penalty)
    shared, own = np.array(found[: len(TAILS)]), np.array(found[len(TAILS) :])
    return Model(cuts, own.reshape(cuts.shape) + shared, bias)


def export(recipe: Recipe, model: Model, fresh: Nodes, name: str) -> ClassifierTerms:
    """In millionths; the flag stands where it flags few enough of the fresh honest nodes."""
    bias, curves = round(model.bias * _MICRO), _curves(model)
    scores = score_micro(bias, curves, fresh.values[~fresh.malicious])
    return ClassifierTerms(
        classifier_id=name,
        bias_micro=bias,
        curves=curves,
        flag_micro=threshold(scores, Fraction(recipe.false_positives)),
        trained_on=f"{recipe.consortia} simulated consortia",
        simulated=True,
        recipe_sha256=recipe.sha256,
    )


def score_micro(bias: int, curves: Sequence[Curve], values: Integers) -> Integers:
    """Scores of many nodes in whole numbers: what the contract computes for one."""
    total = np.full(len(values), bias, np.int64)
    for curve in curves:
        column = values[:, TRAITS.index(curve.trait)]
        steps = np.searchsorted(np.array(curve.cuts, np.int64), column, side="right")
        total += np.array(curve.values_micro, np.int64)[steps]
    return total


def threshold(scores: Integers, share: Fraction) -> int:
    """The least whole number that at most this share of the scores reach."""
    allowed = int(share * len(scores))
    return int(np.sort(scores)[::-1][allowed]) + 1


def _cut(column: Integers, tail: Fraction) -> int:
    """The least value above 0 that at most this share reach; of tails thinner than one node, some
    way beyond all of them."""
    if tail * len(column) >= 1:
        return max(1, threshold(column, tail))
    beyond = 1 + (1 / (tail * len(column)) - 1) / 10
    return min(1000, max(1, int(int(column.max()) * beyond) + 1))


def _reached(values: Integers, cuts: Integers) -> Floats:
    """1 where a node's value reaches a cut: float64[n, traits, tails]."""
    return (values[:, :, None] >= cuts[None]).astype(np.float64)


def _least_loss(columns: Floats, malicious: NDArray[np.bool_], penalty: Floats) -> list[float]:
    """Bias, and the weights, none negative, of a penalised logistic regression."""
    from scipy.optimize import minimize

    weight = np.where(malicious, 0.5 / malicious.sum(), 0.5 / (~malicious).sum())
    sign = np.where(malicious, -1.0, 1.0)

    def loss(point: Floats) -> tuple[float, Floats]:
        bias, weights = point[0], point[1:]
        margin = sign * (columns @ weights + bias)
        slope = weight * sign / (1 + np.exp(-margin))
        value = weight @ np.logaddexp(0, margin) + penalty @ weights**2
        return value, np.concatenate([[slope.sum()], columns.T @ slope + 2 * penalty * weights])

    start = np.zeros(columns.shape[1] + 1)
    bounds = [(None, None)] + [(0, None)] * columns.shape[1]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return [float(value) for value in found.x]


def _curves(model: Model) -> tuple[Curve, ...]:
    curves = []
    for trait, cuts, weights in zip(TRAITS, model.cuts, model.weights, strict=True):
        jumps: Counter[int] = Counter()
        for cut, weight in zip(cuts, weights, strict=True):
            jumps[int(cut)] += round(float(weight) * _MICRO)
        steps = sorted((cut, jump) for cut, jump in jumps.items() if jump)
        levels = accumulate((jump for _, jump in steps), initial=0)
        curve = Curve(trait=trait, cuts=tuple(cut for cut, _ in steps), values_micro=tuple(levels))
        curves.append(curve)
    return tuple(curve for curve in curves if curve.cuts)
