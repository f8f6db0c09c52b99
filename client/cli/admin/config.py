"""``medfabric admin config``: changes of the channel, signed hospital by hospital."""

from __future__ import annotations

from pathlib import Path

import click

from client.cli.output import json_option, show
from client.cli.session import FILE, FOLDER

_IDENTITY = click.option(
    "--identity",
    type=FOLDER,
    envvar="MEDFABRIC_IDENTITY",
    required=True,
    help="The admin's folder, users/admin (or MEDFABRIC_IDENTITY).",
)


@click.group()
def config() -> None:
    """Agree to changes of the channel's configuration that others prepared."""


@config.command("show")
@click.argument("change", type=FILE)
@json_option
def show_change(change: Path, as_json: bool) -> None:
    """What the prepared CHANGE would modify, and which hospitals' signatures it carries."""
    from client import configuration

    show(configuration.describe(configuration.read(change)), as_json=as_json)


@config.command()
@click.argument("change", type=FILE)
@_IDENTITY
@json_option
def sign(change: Path, identity: Path, as_json: bool) -> None:
    """Add this hospital's agreement to the file CHANGE. Needs no network."""
    from client import configuration
    from client.identity import Identity

    signed = configuration.sign(configuration.read(change), Identity.load(identity))
    configuration.write(signed, change)
    show(configuration.describe(signed), as_json=as_json)


@config.command()
@click.argument("change", type=FILE)
@_IDENTITY
@click.option("--connection", type=FILE, envvar="MEDFABRIC_CONNECTION", required=True)
@json_option
def submit(change: Path, identity: Path, connection: Path, as_json: bool) -> None:
    """Have the signed CHANGE ordered, and wait until it is in force."""
    from client import configuration
    from client.connection import Connection
    from client.identity import Identity

    signed = configuration.read(change)
    block = configuration.submit(signed, Connection.load(connection), Identity.load(identity))
    show({**configuration.describe(signed), "block": block.header.number}, as_json=as_json)
