"""What federated learning with privacy reaches on our applications, and what privacy costs.

Terms were chosen on hospitals' validation records of other seeds than these; test records are
evaluated once per training. All but the breast cancer and diabetes records are simulated. The mean
is over six: diabetes progression, a continuum cut in the middle, and skin lesions are apart.
Ledger and provenance have no rows: they change no byte of a model. Seeds run in processes of their
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import _federation as f

RUNS = 5
EPSILONS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0)
ROUNDS = (1, 3, 6, 12, 24)
SIX = ("breast-cancer", "deterioration", "ecg", "fall", "fever", "symptoms")
SKEWED = {
    "dirichlet": "Dirichlet 0.5",
    "quantity": "sizes by Dirichlet 0.5",
    "feature-shift": "other patients",
}
OFTEN = 4
COMPARED = ("deterioration", "symptoms")
STRATEGIES = {"fedavg": "FedAvg", "fedsgd": "FedSGD", "fedprox": "FedProx"}
TUNING = (100, 101)
"""Seeds whose validation records choose between a strategy's candidates."""
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "learning.svg"

_TEST = "test accuracy at epsilon 3"
_row = partial(f.row, runs=RUNS)


def rows() -> list[dict[str, Any]]:
    """Every application; strategies; then accuracy against epsilon, and epsilon against rounds."""
    from trainer import applications

    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        one = {name: pool.map(_seed, [name] * RUNS, range(RUNS)) for name in applications.NAMES}
        compared = {
            (name, partition, strategy): pool.submit(_strategy, name, partition, strategy)
            for name in COMPARED
            for partition in ("identical", "dirichlet")
            for strategy in STRATEGIES
        }
        swept = {
            name: [pool.submit(_at_epsilon, name, epsilon) for epsilon in EPSILONS]
            for name in ("breast-cancer", "deterioration", "ecg")
        }
        found = [row for name, seeds in one.items() for row in _application(name, list(seeds))]
        protected = [
            row["ours"]
            for row in found
            if row["what"].endswith(_TEST) and row["what"].split(" ")[0] in SIX
        ]
        found.append(_row(f"all six: {_TEST}, mean", f.mean(protected), None, None, aim="> 0.89"))
        found += _strategies({place: made.result() for place, made in compared.items()})
        points = {name: [one.result() for one in made] for name, made in swept.items()}
    found += [
        _row(f"{name}: test accuracy at epsilon {epsilon:g}", accuracy, reached[-1], "epsilon 8")
        for name, reached in points.items()
        for epsilon, accuracy in zip(EPSILONS, reached, strict=True)
    ]
    spent = _guarantee()
    found += [
        _row(
            f"breast-cancer: epsilon after {number} rounds of the same noise",
            value,
            spent[0],
            "1 round",
            better="lower",
            unit="epsilon at delta 1e-5",
        )
        for number, value in zip(ROUNDS, spent, strict=True)
    ]
    _plot(points, spent)
    return found


def _seed(name: str, seed: int) -> dict[str, float]:
    """Test accuracies of one split; ``train`` is on training records."""
    from trainer.simulation import pooled

    federation = f.Federation.of(name, seed)
    weights, _ = federation.private()
    alone = [federation.plain([records]) for records in federation.hospitals]
    clip = f.value_clip(federation.training, federation.privacy(), federation.model)
    found = {
        "private": federation.accuracy(weights),
        "train": federation.accuracy(weights, pooled(federation.hospitals)),
        "plain": federation.accuracy(federation.plain()),
        "unclipped": federation.accuracy(federation.private(clip=float("inf"))[0]),
        "encrypted": federation.accuracy(federation.plain(clip=clip)),
        "central": federation.accuracy(federation.centralised()),
        "local": f.mean([federation.accuracy(one) for one in alone]),
    }
    for partition in SKEWED:
        other = f.Federation.of(name, seed, partition)
        found[partition] = other.accuracy(other.private()[0])
        if partition == "quantity":
            found["one-noise"] = other.accuracy(other.private(fitted=False)[0])
        if partition == "dirichlet":
            often = other.changed(**_often(other))
            found["often"] = often.accuracy(often.private()[0])
    return found


def _often(federation: f.Federation) -> dict[str, int]:
    """The same steps in OFTEN times as many rounds: the same privacy, less time to drift apart."""
    terms = federation.training
    return {"rounds": terms.rounds * OFTEN, "steps": max(1, terms.steps // OFTEN)}


def _application(name: str, seeds: list[dict[str, float]]) -> Iterator[dict[str, Any]]:
    from trainer import applications

    mean = {figure: f.mean([one[figure] for one in seeds]) for figure in seeds[0]}
    private, plain = ([one[figure] for one in seeds] for figure in ("private", "plain"))
    kind = "simulated" if applications.find(name).simulated else "real"
    reached = mean["private"]
    what = f"{name} ({kind} records): {_TEST}"
    yield _row(what, reached, mean["plain"], "unprotected FedAvg", aim="> 0.85")
    yield _row(f"{name}: the same", reached, mean["central"], "centralised training")
    yield _row(f"{name}: the same", reached, mean["local"], "each hospital alone, plain")
    yield _row(f"{name}: the same", reached, mean["unclipped"], "privacy without encryption")
    yield _row(f"{name}: the same", reached, mean["encrypted"], "encryption without privacy")
    yield _row(
        f"{name}: spread of it (standard deviation)",
        f.spread(private),
        f.spread(plain),
        "unprotected FedAvg",
        better="lower",
    )
    yield _row(f"{name}: training accuracy at epsilon 3", mean["train"], None, None, aim="> 0.90")
    for partition, how in SKEWED.items():
        what = f"{name}: hospitals not identical ({how}), epsilon 3"
        yield _row(what, mean[partition], reached, "identical hospitals")
    yield _row(
        f"{name}: sizes by Dirichlet 0.5, each its own noise",
        mean["quantity"],
        mean["one-noise"],
        "the smallest's noise for all",
    )
    yield _row(
        f"{name}: Dirichlet 0.5, {OFTEN} times the rounds of a {OFTEN}th of the steps",
        mean["often"],
        mean["dirichlet"],
        "the plan's rounds",
    )


def _strategy(name: str, partition: str, strategy: str) -> list[float]:
    """Test accuracies with the candidate that did best on validation records of other seeds."""

    def trained(federation: f.Federation, changes: dict[str, Any]) -> tuple[f.Federation, Any]:
        terms = federation.training
        if strategy == "fedsgd":
            changes = {**changes, "rounds": terms.rounds * terms.steps, "steps": 1}
        other = federation.changed(strategy=strategy, **changes)
        return other, other.private()[0]

    def validated(changes: dict[str, Any]) -> float:
        found = [trained(f.Federation.of(name, s, partition), changes) for s in TUNING]
        return f.mean([made.accuracy(weights, made.validation) for made, weights in found])

    best = max(_candidates(name, strategy), key=validated)
    found = [trained(f.Federation.of(name, seed, partition), best) for seed in range(RUNS)]
    return [made.accuracy(weights) for made, weights in found]


def _candidates(name: str, strategy: str) -> list[dict[str, Any]]:
    """The tuned learning rate and half of it; with FedProx two weights of its term each."""
    from trainer import applications

    rate = round(applications.find(name).tuned.learning_rate * 10**6)
    rates = [{"learning_rate_micro": one} for one in (rate, rate // 2)]
    if strategy != "fedprox":
        return [{**one, "settings": {}} for one in rates]
    # Times the learning rate: more than 2 and the term's own steps grow without end.
    return [
        {**one, "settings": {"mu": share * 10**6 // one["learning_rate_micro"]}}
        for one in rates
        for share in (10_000, 100_000)
    ]


def _strategies(found: dict[tuple[str, str, str], list[float]]) -> Iterator[dict[str, Any]]:
    for (name, partition, strategy), reached in found.items():
        averaged = found[name, partition, "fedavg"]
        how = "identical" if partition == "identical" else SKEWED[partition]
        what = f"{name}, {how}: {STRATEGIES[strategy]}, epsilon 3"
        other = strategy != "fedavg"
        peer = "FedAvg" if other else None
        yield _row(what, f.mean(reached), f.mean(averaged) if other else None, peer)
        yield _row(
            f"{what}, spread (standard deviation)",
            f.spread(reached),
            f.spread(averaged) if other else None,
            peer,
            better="lower",
        )


def _at_epsilon(name: str, epsilon: float) -> float:
    def accuracy(seed: int) -> float:
        federation = f.Federation.of(name, seed)
        return federation.accuracy(federation.private(round(epsilon * 1e6))[0])

    return f.mean([accuracy(seed) for seed in range(RUNS)])


def _guarantee() -> list[float]:
    """Epsilon after so many rounds, with the noise that six rounds need."""
    from chaincode.schema import accounting
    from trainer import presets

    federation = f.Federation.of("breast-cancer", 0)
    noise = federation.privacy().noise_multiplier_micro
    batch, steps = federation.training.batch_size, federation.training.steps
    spent = [
        accounting.rdp_pico(batch, federation.samples, noise, steps * number) for number in ROUNDS
    ]
    return [accounting.epsilon_micro(rdp, presets.DELTA_NANO) / 1e6 for rdp in spent]


def _plot(swept: dict[str, list[float]], spent: list[float]) -> None:
    from matplotlib.figure import Figure

    from client.pages import doubling

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in swept.items():
        left.plot(EPSILONS, points, "o-", label=name)
    left.set(xlabel="epsilon at delta 1e-5", ylabel="test accuracy")
    doubling(left, EPSILONS)
    left.legend()
    right.plot(ROUNDS, spent, "o-")
    right.set(xlabel="rounds of the same noise", ylabel="epsilon spent")
    figure.savefig(PLOT, format="svg", metadata={"Date": None})
