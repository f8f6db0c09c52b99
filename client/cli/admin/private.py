"""What is nobody else's business: the hospital's private records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from chaincode.schema.private import RecordKind
    from client.consortium import Consortium

KIND = click.Choice(["inventory", "statistics"])


@click.group()
def private() -> None:
    """Keep inventories of nodes and statistics of datasets on the hospital's own peer.

    Others see a salted hash, by which they can verify a record that they are given.
    """


@ledger_command(private, "keep")
@click.argument("kind", type=KIND)
@click.argument("subject")
@click.argument("content", type=FILE)
def keep(consortium: Consortium, kind: str, subject: str, content: Path) -> Any:
    """Keep what CONTENT (JSON) says of the node or dataset SUBJECT; replaces an older record."""
    from chaincode.schema.private import Inventory, Statistics

    if kind == "inventory":
        return consortium.private.keep(subject, read_model(content, Inventory))
    return consortium.private.keep(subject, read_model(content, Statistics))


@ledger_command(private, "list")
@click.argument("kind", type=KIND)
def list_records(consortium: Consortium, kind: str) -> Any:
    """List the hospital's private records of a kind, with their hashes."""
    bookmark, found = "", []
    while True:
        page = consortium.private.page(kind=_kind(kind), bookmark=bookmark)
        found += [{"subject": record.subject, "sha256": record.sha256} for record in page.records]
        bookmark = page.bookmark
        if not bookmark:
            return found


@ledger_command(private, "show")
@click.argument("kind", type=KIND)
@click.argument("subject")
def show_record(consortium: Consortium, kind: str, subject: str) -> Any:
    """Show a private record of the hospital."""
    return consortium.private.get(kind=_kind(kind), subject=subject)


@ledger_command(private, "export")
@click.argument("kind", type=KIND)
@click.argument("subject")
@click.option("--out", type=FILE, required=True, help="Where to write the record.")
def export(consortium: Consortium, kind: str, subject: str, out: Path) -> Any:
    """Write a private record into a file, to hand it to another hospital."""
    from chaincode.schema import canonical
    from client.files import write_whole

    record = consortium.private.get(kind=_kind(kind), subject=subject)
    try:
        write_whole(out, canonical.dumps(record), mode=0o600)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot write {out}: {error.strerror}; name another file"
        ) from None
    return {"file": str(out), "sha256": record.sha256}


@ledger_command(private, "verify")
@click.argument("record", type=FILE)
def verify(consortium: Consortium, record: Path) -> Any:
    """Verify that RECORD, a file that a hospital handed on, is what it keeps."""
    from chaincode.schema.private import PrivateRecord

    return consortium.private.verify(read_model(record, PrivateRecord))


@ledger_command(private, "purge")
@click.argument("kind", type=KIND)
@click.argument("subject")
def purge(consortium: Consortium, kind: str, subject: str) -> Any:
    """Purge a private record and all its past from the hospital's peer, for good."""
    return consortium.private.purge(kind=_kind(kind), subject=subject)


def _kind(word: str) -> RecordKind:
    from chaincode.schema.private import RecordKind

    return RecordKind(word)
