"""``medfabric node``: what a trainer node's operator runs."""

from __future__ import annotations

from pathlib import Path

import click

_CONFIG = click.Path(path_type=Path, dir_okay=False)


@click.group()
def node() -> None:
    """Take part in training: run a node's agent, look at its data."""


@node.command()
@click.argument("config", type=_CONFIG)
@click.option("--once", is_flag=True, help="Do what is due now, then exit.")
@click.option("--verbose", "-v", is_flag=True, help="Say more of what happens.")
def run(config: Path, once: bool, verbose: bool) -> None:
    """Run the agent of the node that CONFIG (a node.json) describes, until stopped."""
    from trainer.node.main import run as run_agent

    run_agent(config, once=once, verbose=verbose)
