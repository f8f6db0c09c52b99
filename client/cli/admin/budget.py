"""``medfabric admin budget``: epsilon against rounds, noise, batch and expected utility."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.output import json_option, show
from client.cli.session import FILE

if TYPE_CHECKING:
    from client.budget import Plan
    from client.budget_page import Measured

AT_LEAST_ONE = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--samples", type=AT_LEAST_ONE, required=True, help="Of the smallest dataset.")
@click.option("--batch-size", type=AT_LEAST_ONE, help="Expected size of a batch; else the largest.")
@click.option("--steps", type=AT_LEAST_ONE, required=True, help="Optimiser steps per round.")
@click.option("--rounds", type=AT_LEAST_ONE, help="Rounds of the plan; else the most.")
@click.option("--noise", type=POSITIVE, help="The noise multiplier; else the least.")
@click.option("--epsilon", type=POSITIVE, help="What the plan may spend; else what it spends.")
@click.option("--delta", type=click.FloatRange(1e-9, 0.5), default=1e-5, show_default=True)
@click.option("--hospitals", type=AT_LEAST_ONE, default=4, show_default=True)
@click.option("--parameters", type=AT_LEAST_ONE, required=True, help="Of the model.")
@click.option("--utility", type=FILE, help="Measured by `medfabric node utility --json`.")
@click.option("--plot", type=FILE, help="Where to write all that as a page with plots.")
@json_option
def budget(
    samples: int,
    batch_size: int | None,
    steps: int,
    rounds: int | None,
    noise: float | None,
    epsilon: float | None,
    delta: float,
    hospitals: int,
    parameters: int,
    utility: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """What a plan spends of its patients' privacy, as the ledger will account for it.

    Leave out what is asked for: one of --noise, --rounds, --batch-size or --epsilon. The other
    three say what it must be.
    """
    from client import budget as planner

    given = {"--noise": noise, "--rounds": rounds, "--batch-size": batch_size, "--epsilon": epsilon}
    asked = [name for name, value in given.items() if value is None]
    if len(asked) != 1:
        raise click.UsageError(f"leave out exactly one of {', '.join(given)}")
    start = planner.Plan(
        samples=samples,
        batch_size=batch_size or 1,
        steps=steps,
        rounds=rounds or 1,
        noise_micro=round((noise or 1) * 1_000_000),
        delta_nano=round(delta * 1_000_000_000),
    )
    target = round((epsilon or 0) * 1_000_000)
    solve: dict[str, Callable[[planner.Plan, int], planner.Plan]] = {
        "--noise": planner.with_noise,
        "--rounds": planner.with_rounds,
        "--batch-size": planner.with_batch,
    }
    try:
        plan = solve[asked[0]](start, target) if asked[0] in solve else start
        result = _result(plan, hospitals, parameters)
    except ValueError as error:
        raise MedFabricError(Code.BAD_ARGUMENT, f"{error}; change the plan") from None
    measured = _measured(utility)
    if measured is not None:
        result["measured"] = measured.model_dump()
    if plot is not None:
        from client import budget_page

        budget_page.write(plan, hospitals, parameters, measured, plot)
        result["plot"] = str(plot)
    show(result, as_json=as_json)


def _result(plan: Plan, hospitals: int, parameters: int) -> dict[str, Any]:
    from client import budget as planner

    return {
        "noise_multiplier": plan.noise_micro / 1_000_000,
        "rounds": plan.rounds,
        "batch_size": plan.batch_size,
        "sampling_rate": plan.sampling_rate,
        "epsilon_after_first_round": plan.epsilon_micro(1) / 1_000_000,
        "epsilon_after_last_round": plan.epsilon_micro() / 1_000_000,
        "signal_over_noise": round(planner.drift(plan, hospitals, parameters), 3),
        "at_other_epsilons": [
            {
                "epsilon": epsilon,
                "noise_multiplier": other.noise_micro / 1_000_000,
                "signal_over_noise": round(planner.drift(other, hospitals, parameters), 3),
            }
            for epsilon, other in planner.trade(plan)
        ],
    }


def _measured(file: Path | None) -> Measured | None:
    if file is None:
        return None
    from client.budget_page import Measured
    from client.cli.session import read_model

    return read_model(file, Measured)
