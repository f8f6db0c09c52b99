"""The planner's page for plans that hide hospitals: epsilon against rounds, noise and hospitals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from client import pages
from client.hospital_budget import Plan, drift, trade
from client.pages import document, doubling, figure, svg, table


def write(plan: Plan, path: Path) -> None:
    """Write the page.

    Raises:
        MedFabricError: ``FILE_UNUSABLE``.
    """
    pages.write(path, document("What a plan tells of a hospital", _parts(plan)))


def _parts(plan: Plan) -> list[str]:
    return [
        "<h1>What a plan tells of a hospital</h1>",
        f"<p>{plan.rounds} rounds of at least {plan.quorum} updates, {plan.colluding} of them of "
        f"hospitals that collude; {plan.parameters} parameters; noise of {plan.noise:.3g} norms of "
        f"each hospital in every value: epsilon <b>{plan.epsilon_micro() / 1e6:.3f}</b> at delta "
        f"{plan.delta_nano / 1e9:g}, as the ledger accounts for it.</p>",
        "<h2>Epsilon against rounds and noise</h2>",
        _loss(plan),
        "<h2>Epsilon against hospitals</h2>",
        _hospitals(plan),
        "<h2>Expected utility against epsilon</h2>",
        "<p>Signal over noise: how far clipped updates can move the model in all rounds, over how "
        "far the noise moves it. Below 1 nothing is learned.</p>",
        _utility(plan),
        table(
            ("epsilon", "noise, in norms", "signal over noise"),
            ((f"{e:g}", f"{p.noise:.3g}", f"{drift(p):.2f}") for e, p in trade(plan)),
        ),
    ]


def _scaled(plan: Plan, factor: float) -> Plan:
    return replace(plan, noise_levels=max(1, round(plan.noise_levels * factor)))


def _loss(plan: Plan) -> str:
    drawn, (left, right) = figure(2)
    for factor in (0.5, 0.75, 1, 1.5, 2):
        other = _scaled(plan, factor)
        style = "-" if factor == 1 else "--"
        left.plot(*zip(*other.by_round(), strict=True), style, label=f"noise {other.noise:.3g}")
    left.set(xlabel="round", ylabel="epsilon", ylim=(0, None))
    left.legend(fontsize="x-small")
    noises = [_scaled(plan, 2 ** (step / 4)) for step in range(-6, 9)]
    right.plot([p.noise for p in noises], [p.epsilon_micro() / 1e6 for p in noises], "o-")
    right.axvline(plan.noise, color="grey", linestyle=":")
    right.set(xlabel="noise, in norms", ylabel="epsilon after the last round", yscale="log")
    return svg(drawn)


def _hospitals(plan: Plan) -> str:
    drawn, (left, right) = figure(2)
    quorums = sorted({max(plan.colluding + 1, plan.quorum << s) for s in range(5)})
    plans = [replace(plan, quorum=quorum) for quorum in quorums]
    left.plot(quorums, [p.epsilon_micro() / 1e6 for p in plans], "o-")
    left.set(xlabel="quorum", ylabel="epsilon at this noise", ylim=(0, None))
    for epsilon in (1.0, 3.0, 8.0):
        drifts = [drift(found) for p in plans for _, found in trade(p, (epsilon,))]
        right.plot(quorums[-len(drifts) :], drifts, "o-", label=f"epsilon {epsilon:g}")
    right.set(xlabel="quorum", ylabel="signal over noise", ylim=(0, None))
    doubling(left, quorums)
    doubling(right, quorums)
    right.legend(fontsize="x-small")
    return svg(drawn)


def _utility(plan: Plan) -> str:
    drawn, axes = figure()
    points = [(epsilon, drift(other)) for epsilon, other in trade(plan)]
    axes.plot(*zip(*points, strict=True), "o-")
    axes.set(xlabel="epsilon", ylabel="signal over noise", ylim=(0, None))
    doubling(axes, [epsilon for epsilon, _ in points])
    return svg(drawn)
