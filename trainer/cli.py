"""``medfabric node``: what a trainer node's operator runs."""

from __future__ import annotations

from pathlib import Path

import click

from client.cli.output import json_option, show

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def node() -> None:
    """Take part in training: run a node's agent, look at its data."""


@node.command()
@click.argument("config", type=_FILE)
@click.option("--once", is_flag=True, help="Do what is due now, then exit.")
@click.option("--verbose", "-v", is_flag=True, help="Say more of what happens.")
def run(config: Path, once: bool, verbose: bool) -> None:
    """Run the agent of the node that CONFIG (a node.json) describes, until stopped."""
    from trainer.node.main import run as run_agent

    run_agent(config, once=once, verbose=verbose)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("terms", type=_FILE)
@json_option
def data(config: Path, terms: Path, as_json: bool) -> None:
    """Counts and hashes of CONFIG's records, for registering them as a dataset.

    TERMS is a JSON file with a plan's data terms: features with their bounds, label, classes. No
    record is shown.
    """
    from trainer.node.main import describe_data

    show(describe_data(config, terms), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.option("--architecture", default="logistic", show_default=True)
@click.option("--features", type=click.IntRange(1), required=True)
@click.option("--classes", type=click.IntRange(2), required=True)
@click.option("--hidden", type=click.IntRange(1), help="Width of a multilayer perceptron.")
@json_option
def base(
    config: Path, architecture: str, features: int, classes: int, hidden: int | None, as_json: bool
) -> None:
    """Put a base model into CONFIG's content store; prints a plan's model terms."""
    from trainer.node.main import base_model_terms

    settings = {"features": features, "classes": classes}
    if hidden is not None:
        settings["hidden"] = hidden
    show(base_model_terms(config, architecture, settings), as_json=as_json)
