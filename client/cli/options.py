"""Options that several commands take, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence

import click


def _voted(_: click.Context, __: click.Parameter, value: bool | None) -> bool:
    # Some releases of click take a required flag that is not there for absent, others for False.
    if value is None:
        raise click.UsageError("say --approve or --reject")
    return value


AT_LEAST_ONE = click.IntRange(min=1)
POSITIVE = click.FloatRange(min=0, min_open=True)

aggregation = click.option(
    "--aggregation",
    type=click.Choice(["ckks", "ckks-tied", "secret-sharing"]),
    default="ckks",
    show_default=True,
    help="How updates are hidden and summed: encrypted, also proven to open, or masked.",
)
vote = click.option(
    "--approve/--reject", default=None, callback=_voted, help="The vote; a hospital has one."
)
steps = click.option("--steps", type=click.IntRange(1, 100_000), required=True, help="Per round.")
learning_rate = click.option(
    "--learning-rate", type=click.FloatRange(1e-6, 1000), required=True, help="Of local training."
)
momentum = click.option(
    "--momentum",
    type=click.FloatRange(0, 0.999999),
    default=0.0,
    show_default=True,
    help="Of local training.",
)
sample_clip = click.option(
    "--sample-clip",
    type=click.FloatRange(1e-6, 1000),
    default=1.0,
    show_default=True,
    help="The largest norm of one record's gradient.",
)
epsilon = click.option(
    "--epsilon",
    type=click.FloatRange(1e-6, 1000),
    required=True,
    help="What all rounds together may cost a dataset.",
)
delta = click.option(
    "--delta",
    type=click.FloatRange(1e-9, 0.5),
    default=1e-5,
    show_default=True,
    help="At which epsilon is meant.",
)


def numbers(option: str, given: Sequence[str]) -> dict[str, int]:
    """What an option that is given as NAME=NUMBER, once for each, says."""
    pairs = [each.partition("=") for each in given]
    try:
        return {name: int(value) for name, _, value in pairs}
    except ValueError:
        raise click.BadParameter("write NAME=NUMBER", param_hint=option) from None
