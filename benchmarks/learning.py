"""What federated learning with privacy reaches on our applications, and what privacy costs.

Terms were chosen on hospitals' validation records of other seeds than these; test records are
evaluated once per training. All but the breast cancer and diabetes records are simulated. The mean
is over six: diabetes progression, a continuum cut in the middle, and skin lesions are apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
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
PLOT = Path(__file__).parents[1] / "docs" / "reference" / "learning.svg"

_TEST = "test accuracy at epsilon 3"
_row = partial(f.row, runs=RUNS)


def rows() -> list[dict[str, Any]]:
    """Every application; then accuracy against epsilon, and epsilon against rounds."""
    from trainer import applications

    found = [row for name in applications.NAMES for row in _application(name)]
    protected = [
        row["ours"]
        for row in found
        if row["what"].endswith(_TEST) and row["what"].split(" ")[0] in SIX
    ]
    found.append(
        _row(
            f"all six: {_TEST}, mean",
            f.mean(protected),
            None,
            None,
            aim="> 0.89",
        )
    )
    swept = {name: _sweep(name) for name in ("breast-cancer", "deterioration", "ecg")}
    found += [
        _row(f"{name}: test accuracy at epsilon {epsilon:g}", accuracy, points[-1], "epsilon 8")
        for name, points in swept.items()
        for epsilon, accuracy in zip(EPSILONS, points, strict=True)
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
    _plot(swept, spent)
    return found


def _application(name: str) -> Iterator[dict[str, Any]]:
    from trainer.simulation import pooled

    private, train, plain, central, local = ([] for _ in range(5))  # type: ignore[var-annotated]
    skewed: dict[str, list[float]] = {partition: [] for partition in SKEWED}
    for seed in range(RUNS):
        federation = f.Federation.of(name, seed)
        weights, _ = federation.private()
        private.append(federation.accuracy(weights))
        train.append(federation.accuracy(weights, pooled(federation.hospitals)))
        plain.append(federation.accuracy(federation.plain()))
        central.append(federation.accuracy(federation.centralised()))
        alone = [federation.plain([records]) for records in federation.hospitals]
        local.append(f.mean([federation.accuracy(one) for one in alone]))
        for partition, accuracies in skewed.items():
            other = f.Federation.of(name, seed, partition)
            accuracies.append(other.accuracy(other.private()[0]))
    about = f"{name} ({'simulated' if federation.application.simulated else 'real'} records)"
    aim = "> 0.85"
    yield _row(
        f"{about}: {_TEST}",
        f.mean(private),
        f.mean(plain),
        "unprotected FedAvg",
        aim=aim,
    )
    yield _row(f"{name}: the same", f.mean(private), f.mean(central), "centralised training")
    yield _row(f"{name}: the same", f.mean(private), f.mean(local), "each hospital alone, plain")
    yield _row(
        f"{name}: spread of it (standard deviation)",
        f.spread(private),
        f.spread(plain),
        "unprotected FedAvg",
        better="lower",
    )
    yield _row(f"{name}: training accuracy at epsilon 3", f.mean(train), None, None, aim="> 0.90")
    for partition, how in SKEWED.items():
        yield _row(
            f"{name}: hospitals not identical ({how}), epsilon 3",
            f.mean(skewed[partition]),
            f.mean(private),
            "identical hospitals",
        )


def _sweep(name: str) -> list[float]:
    def accuracy(epsilon: float, seed: int) -> float:
        federation = f.Federation.of(name, seed)
        privacy = federation.privacy(round(epsilon * 1e6))
        return federation.accuracy(federation.private(privacy)[0])

    return [f.mean([accuracy(epsilon, seed) for seed in range(RUNS)]) for epsilon in EPSILONS]


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

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, points in swept.items():
        left.plot(EPSILONS, points, "o-", label=name)
    left.set(xlabel="epsilon at delta 1e-5", ylabel="test accuracy", xscale="log")
    left.set_xticks(EPSILONS, [f"{epsilon:g}" for epsilon in EPSILONS])
    left.legend()
    right.plot(ROUNDS, spent, "o-")
    right.set(xlabel="rounds of the same noise", ylabel="epsilon spent")
    figure.savefig(PLOT, format="svg", metadata={"Date": None})
