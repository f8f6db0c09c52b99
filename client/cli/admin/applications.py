"""Applications and their own provenance records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from client.consortium import Consortium


@click.group()
def application() -> None:
    """Register applications' schemas; hang records on datasets, updates and models."""


@ledger_command(application, "register")
@click.argument("description", type=FILE)
def register(consortium: Consortium, description: Path) -> Any:
    """Register the schema in DESCRIPTION (JSON: application, version, title, definition)."""
    from chaincode.schema.applications import RegisterApplicationArgs

    return consortium.applications.register(read_model(description, RegisterApplicationArgs))


@ledger_command(application, "record")
@click.argument("record", type=FILE)
def record(consortium: Consortium, record: Path) -> Any:
    """Post the record in RECORD (JSON: application, version, record_id, subject, record).

    Records stay on the ledger for good: no personal data.
    """
    from chaincode.schema.applications import RecordArgs

    return consortium.applications.record(read_model(record, RecordArgs))


@ledger_command(application, "list")
def list_applications(consortium: Consortium) -> Any:
    """List all applications and their versions."""
    from client.consortium import every

    return [
        {
            "application": schema.application,
            "version": schema.version,
            "title": schema.title,
            "hospital": schema.msp_id,
            "schema": schema.definition_sha256,
        }
        for page in every(consortium.applications.page)
        for schema in page.schemas
    ]


@ledger_command(application, "show")
@click.argument("name")
@click.argument("version", type=int)
def show_application(consortium: Consortium, name: str, version: int) -> Any:
    """Show one version of an application's schema."""
    return consortium.applications.get(application=name, version=version)


@ledger_command(application, "records")
@click.argument("name")
@click.argument("msp_id")
@click.option("--access", metavar="ID", help="A recorded access to another hospital's lineage.")
def records(consortium: Consortium, name: str, msp_id: str, access: str | None) -> Any:
    """List the records of a hospital by an application."""
    bookmark, found = "", list[Any]()
    while True:
        page = consortium.applications.records(
            application=name, msp_id=msp_id, access=access, bookmark=bookmark
        )
        found += page.records
        if not (bookmark := page.bookmark):
            return found
