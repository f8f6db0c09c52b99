"""``medfabric admin budget``: epsilon against rounds, noise, batch or hospitals, and utility."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli import options
from client.cli.options import AT_LEAST_ONE, POSITIVE
from client.cli.output import json_option, show
from client.cli.session import FILE

if TYPE_CHECKING:
    from client.budget import Plan
    from client.budget_page import Measured
    from client.hospital_budget import Plan as HospitalPlan


Sought = TypeVar("Sought")


@click.group()
def budget() -> None:
    """Plan what is spent of patients' privacy, and what is told of whole hospitals."""


@budget.command()
@click.option("--samples", type=AT_LEAST_ONE, required=True, help="Of the smallest dataset.")
@click.option("--batch-size", type=AT_LEAST_ONE, help="Expected size of a batch; else the largest.")
@click.option("--steps", type=AT_LEAST_ONE, required=True, help="Optimiser steps per round.")
@click.option("--rounds", type=AT_LEAST_ONE, help="Rounds of the plan; else the most.")
@click.option("--noise", type=POSITIVE, help="The noise multiplier; else the least.")
@click.option("--epsilon", type=POSITIVE, help="What the plan may spend; else what it spends.")
@options.delta
@click.option("--hospitals", type=AT_LEAST_ONE, default=4, show_default=True, help="Of the plan.")
@click.option("--parameters", type=AT_LEAST_ONE, required=True, help="Of the model.")
@click.option("--utility", type=FILE, help="Measured by `medfabric node utility --json`.")
@click.option("--plot", type=FILE, help="Where to write all that as a page with plots.")
@json_option
def patients(
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
    start = planner.Plan(
        samples=samples,
        batch_size=batch_size or 1,
        steps=steps,
        rounds=rounds or 1,
        noise_micro=round((noise or 1) * 1_000_000),
        delta_nano=round(delta * 1_000_000_000),
    )
    solve: dict[str, Callable[[planner.Plan, int], planner.Plan]] = {
        "--noise": planner.with_noise,
        "--rounds": planner.with_rounds,
        "--batch-size": planner.with_batch,
    }

    plan, result = _solved(given, solve, start, lambda plan: _result(plan, hospitals, parameters))
    measured = _measured(utility)
    if measured is not None:
        result["measured"] = measured.model_dump()
    if plot is not None:
        from client import budget_page

        budget_page.write(plan, hospitals, parameters, measured, plot)
        result["plot"] = str(plot)
    show(result, as_json=as_json)


@budget.command()
@click.option("--quorum", type=click.IntRange(2, 1024), help="Updates of a round; else the least.")
@click.option(
    "--colluding",
    type=click.IntRange(0, 63),
    default=1,
    show_default=True,
    help="Hospitals that may put together what they know.",
)
@click.option("--rounds", type=AT_LEAST_ONE, help="Rounds of the plan; else the most.")
@click.option("--noise", type=POSITIVE, help="Deviation of each hospital's, in norms of an update.")
@click.option("--epsilon", type=POSITIVE, help="What the plan may tell; else what it tells.")
@options.delta
@click.option("--parameters", type=AT_LEAST_ONE, required=True, help="Of the model.")
@click.option(
    "--norm-levels",
    type=click.IntRange(1, 2**31 - 1),
    default=2**16,
    show_default=True,
    help="The largest norm of an update, in levels of the clip.",
)
@click.option("--plot", type=FILE, help="Where to write all that as a page with plots.")
@json_option
def hospitals(
    quorum: int | None,
    colluding: int,
    rounds: int | None,
    noise: float | None,
    epsilon: float | None,
    delta: float,
    parameters: int,
    norm_levels: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """What a plan that hides hospitals tells of one, as the ledger will account for it.

    Leave out what is asked for: one of --noise, --rounds, --quorum or --epsilon. The other three
    say what it must be.
    """
    from client import hospital_budget as planner

    given = {"--noise": noise, "--rounds": rounds, "--quorum": quorum, "--epsilon": epsilon}
    start = planner.Plan(
        quorum=quorum or colluding + 1,
        colluding=colluding,
        parameters=parameters,
        rounds=rounds or 1,
        norm_levels=norm_levels,
        noise_levels=round((noise or 1) * norm_levels),
        delta_nano=round(delta * 1_000_000_000),
    )
    solve: dict[str, Callable[[planner.Plan, int], planner.Plan]] = {
        "--noise": planner.with_noise,
        "--rounds": planner.with_rounds,
        "--quorum": planner.with_quorum,
    }
    plan, result = _solved(given, solve, start, _told)
    if plot is not None:
        from client import hospital_budget_page

        hospital_budget_page.write(plan, plot)
        result["plot"] = str(plot)
    show(result, as_json=as_json)


def _solved(
    given: Mapping[str, float | None],
    solve: Mapping[str, Callable[[Sought, int], Sought]],
    start: Sought,
    tell: Callable[[Sought], dict[str, Any]],
) -> tuple[Sought, dict[str, Any]]:
    """The plan with the one number that was left out, and what is told of it."""
    asked = [name for name, value in given.items() if value is None]
    if len(asked) != 1:
        raise click.UsageError(f"leave out exactly one of {', '.join(given)}")
    target = round((given["--epsilon"] or 0) * 1_000_000)
    try:
        plan = solve[asked[0]](start, target) if asked[0] in solve else start
        return plan, tell(plan)
    except ValueError as error:
        raise MedFabricError(Code.BAD_ARGUMENT, f"{error}; change the plan") from None


def _told(plan: HospitalPlan) -> dict[str, Any]:
    from client import hospital_budget as planner

    return {
        "noise": plan.noise,
        "norm_levels": plan.norm_levels,
        "noise_levels": plan.noise_levels,
        "rounds": plan.rounds,
        "quorum": plan.quorum,
        "epsilon_after_first_round": plan.epsilon_micro(1) / 1_000_000,
        "epsilon_after_last_round": plan.epsilon_micro() / 1_000_000,
        "signal_over_noise": round(planner.drift(plan), 3),
        "at_other_epsilons": [
            {
                "epsilon": epsilon,
                "noise": other.noise,
                "signal_over_noise": round(planner.drift(other), 3),
            }
            for epsilon, other in planner.trade(plan)
        ],
    }


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
