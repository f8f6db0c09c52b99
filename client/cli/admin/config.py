"""``medfabric admin config``: changes of the channel, signed hospital by hospital."""

from __future__ import annotations

from pathlib import Path

import click

from client.cli.output import json_option, show
from client.cli.session import FILE, connection_of, connection_option, identity_option


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
@identity_option
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
@identity_option
@connection_option
@json_option
def submit(change: Path, identity: Path, connection: Path | None, as_json: bool) -> None:
    """Have the signed CHANGE ordered, and wait until it is in force."""
    from client import configuration
    from client.connection import Connection
    from client.identity import Identity

    signed = configuration.read(change)
    found = Connection.load(connection_of(identity, connection))
    block = configuration.submit(signed, found, Identity.load(identity))
    show({**configuration.describe(signed), "block": block.header.number}, as_json=as_json)
