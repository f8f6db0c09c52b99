"""What was spent of the patients' privacy, and what a plan would spend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.output import json_option, show
from client.cli.session import ledger_command

if TYPE_CHECKING:
    from client.consortium import Consortium

AT_LEAST_ONE = click.IntRange(min=1)


@click.group()
def privacy() -> None:
    """See what was spent of every budget; plan what to spend."""


@ledger_command(privacy, "report")
def report(consortium: Consortium) -> Any:
    """Every dataset's account. Datasets are disjoint: the consortium's loss is the largest."""
    from client.consortium import every

    accounts = [a for page in every(consortium.datasets.privacy) for a in page.accounts]
    return {
        "largest_epsilon": max((a.epsilon_micro for a in accounts), default=0) / 1_000_000,
        "accounts": [
            {
                "dataset": account.dataset_id,
                "hospital": account.msp_id,
                "epsilon": account.epsilon_micro / 1_000_000,
                "budget": account.budget_epsilon_micro / 1_000_000,
                "delta": account.delta_nano / 1_000_000_000,
                "updates": sum(spending.updates for spending in account.plans),
                "plans": ",".join(spending.plan_id for spending in account.plans),
            }
            for account in accounts
        ],
    }


@privacy.command("plan")
@click.option("--samples", type=AT_LEAST_ONE, required=True, help="Of the smallest dataset.")
@click.option("--batch-size", type=AT_LEAST_ONE, required=True, help="Expected size of a batch.")
@click.option("--steps", type=AT_LEAST_ONE, required=True, help="Optimiser steps per round.")
@click.option("--rounds", type=AT_LEAST_ONE, required=True, help="Rounds of the plan.")
@click.option("--epsilon", type=click.FloatRange(min=0, min_open=True), required=True)
@click.option("--delta", type=click.FloatRange(1e-9, 0.5), default=1e-5, show_default=True)
@json_option
def plan_budget(
    samples: int,
    batch_size: int,
    steps: int,
    rounds: int,
    epsilon: float,
    delta: float,
    as_json: bool,
) -> None:
    """The noise multiplier that keeps a plan within epsilon, as the ledger will account for it."""
    from chaincode.schema import accounting

    target, delta_nano = round(epsilon * 1_000_000), round(delta * 1_000_000_000)
    try:
        noise = accounting.calibrate(batch_size, samples, steps * rounds, target, delta_nano)
        spent = [
            accounting.epsilon_micro(
                accounting.rdp_pico(batch_size, samples, noise, steps * after), delta_nano
            )
            for after in (1, rounds)
        ]
    except ValueError as error:
        raise MedFabricError(Code.BAD_ARGUMENT, f"{error}; change the plan") from None
    result = {
        "noise_multiplier_micro": noise,
        "sampling_rate": batch_size / samples,
        "epsilon_after_first_round": spent[0] / 1_000_000,
        "epsilon_after_last_round": spent[1] / 1_000_000,
    }
    show(result, as_json=as_json)
