"""The planner's page: epsilon against rounds, noise and batch, and utility against epsilon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from client import pages
from client.budget import Plan, drift, trade
from client.pages import document, doubling, figure, svg, table, text

Share = Annotated[float, Field(ge=0, le=1)]


class Accuracy(BaseModel):
    """At one epsilon; ``spread`` is the standard deviation over the seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    epsilon: Annotated[float, Field(gt=0)]
    noise_multiplier: Annotated[float, Field(gt=0)]
    accuracy: Share
    spread: Annotated[float, Field(ge=0, le=1)]


class Measured(BaseModel):
    """Test accuracy of an application's plan, trained on its own records in one process."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    application: str
    simulated: bool
    hospitals: int
    rounds: int
    steps: int
    batch_size: int
    seeds: int
    unprotected: Share
    points: tuple[Accuracy, ...]


def write(
    plan: Plan, hospitals: int, parameters: int, measured: Measured | None, path: Path
) -> None:
    """Write the page.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    pages.write(path, document("Privacy budget", _parts(plan, hospitals, parameters, measured)))


def _parts(plan: Plan, hospitals: int, parameters: int, measured: Measured | None) -> list[str]:
    noise, epsilon = plan.noise_micro / 1e6, plan.epsilon_micro() / 1e6
    parts = [
        "<h1>Privacy budget of a plan</h1>",
        f"<p>{plan.rounds} rounds of {plan.steps} steps, batches of {plan.batch_size} of "
        f"{plan.samples} records, noise multiplier {noise:g}: epsilon <b>{epsilon:.3f}</b> at "
        f"delta {plan.delta_nano / 1e9:g}, as the ledger accounts for it.</p>",
        "<h2>Epsilon against rounds and noise</h2>",
        _loss(plan),
        "<h2>Epsilon against the batch</h2>",
        _batches(plan),
        "<h2>Expected utility against epsilon</h2>",
        "<p>Signal over noise: how far clipped training can move the model in all rounds, over how "
        "far the noise moves it. Below 1 nothing is learned.</p>",
        _utility(plan, hospitals, parameters, measured),
        table(
            ("epsilon", "noise multiplier", "signal over noise"),
            (
                (f"{e:g}", f"{p.noise_micro / 1e6:g}", f"{drift(p, hospitals, parameters):.2f}")
                for e, p in trade(plan)
            ),
        ),
    ]
    if measured is not None:
        kind = "simulated" if measured.simulated else "real"
        about = (
            f"Accuracy: {measured.application} ({kind} records), {measured.hospitals} hospitals, "
            f"{measured.rounds} rounds of {measured.steps} steps, batch {measured.batch_size}, mean"
            f" of {measured.seeds} seeds; unprotected {measured.unprotected:.3f}."
        )
        parts.append(f"<p>{text(about)}</p>")
    return parts


def _loss(plan: Plan) -> str:
    drawn, (left, right) = figure(2)
    for factor in (0.5, 0.75, 1, 1.5, 2):
        noise = max(50_000, round(plan.noise_micro * factor))
        points = replace(plan, noise_micro=noise).by_round()
        style = "-" if factor == 1 else "--"
        left.plot(*zip(*points, strict=True), style, label=f"noise {noise / 1e6:.3g}")
    left.set(xlabel="round", ylabel="epsilon", ylim=(0, None))
    left.legend(fontsize="x-small")
    noises = [max(50_000, round(plan.noise_micro * 2 ** (step / 4))) for step in range(-6, 9)]
    spent = [replace(plan, noise_micro=noise).epsilon_micro() / 1e6 for noise in noises]
    right.plot([noise / 1e6 for noise in noises], spent, "o-")
    right.axvline(plan.noise_micro / 1e6, color="grey", linestyle=":")
    right.set(xlabel="noise multiplier", ylabel="epsilon after the last round", yscale="log")
    return svg(drawn)


def _batches(plan: Plan) -> str:
    drawn, axes = figure()
    largest = min(plan.samples, 4 * plan.batch_size)
    sizes = sorted({max(1, largest * part // 16) for part in range(1, 17)})
    spent = [replace(plan, batch_size=size).epsilon_micro() / 1e6 for size in sizes]
    axes.plot(sizes, spent, "o-")
    axes.axvline(plan.batch_size, color="grey", linestyle=":")
    axes.set(xlabel="expected batch", ylabel="epsilon after the last round", ylim=(0, None))
    return svg(drawn)


def _utility(plan: Plan, hospitals: int, parameters: int, measured: Measured | None) -> str:
    drawn, axes = figure()
    points = [(e, drift(other, hospitals, parameters)) for e, other in trade(plan)]
    axes.plot(*zip(*points, strict=True), "o-", label="signal over noise")
    axes.set(xlabel="epsilon", ylabel="signal over noise", ylim=(0, None))
    doubling(axes, [epsilon for epsilon, _ in points])
    if measured is not None:
        _accuracies(axes.twinx(), measured)
    return svg(drawn)


def _accuracies(axes: Any, measured: Measured) -> None:
    epsilons = [point.epsilon for point in measured.points]
    means = [point.accuracy for point in measured.points]
    spreads = [point.spread for point in measured.points]
    axes.errorbar(epsilons, means, yerr=spreads, fmt="s--", color="C1")
    axes.axhline(measured.unprotected, color="grey", linestyle=":")
    axes.set(ylabel="measured test accuracy")
