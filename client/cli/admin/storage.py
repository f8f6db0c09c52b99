"""Who keeps which content, and whether it answers for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.session import FILE, ledger_command
from client.cli.stores import content_store, store_options

if TYPE_CHECKING:
    from client.consortium import Consortium

_DAY = 24 * 3600


@click.group()
def storage() -> None:
    """Keep content, challenge others to prove that they do, answer and check."""


@ledger_command(storage, "hold")
@click.argument("file", type=FILE)
@click.option("--days", type=click.IntRange(1, 36_500), required=True, help="How long.")
@store_options
def hold(
    consortium: Consortium,
    file: Path,
    days: int,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
) -> Any:
    """Store FILE and say on the ledger that this hospital keeps it."""
    ref = content_store(store, ipfs, secret_file).put_file(file)
    return consortium.storage.hold(content=ref, until=int(time.time()) + days * _DAY)


@ledger_command(storage, "holders")
@click.argument("sha256")
def holders(consortium: Consortium, sha256: str) -> Any:
    """List who keeps the content with this hash, and until when."""
    bookmark, found = "", list[Any]()
    while True:
        page = consortium.storage.holders(sha256=sha256, bookmark=bookmark)
        found += [
            {"hospital": one.msp_id, "until": one.until, "cid": one.content.cid}
            for one in page.holdings
        ]
        if not (bookmark := page.bookmark):
            return found


@ledger_command(storage, "challenge")
@click.argument("holder")
@click.argument("sha256")
@click.option(
    "--hours", type=click.IntRange(1, 720), default=24, show_default=True, help="To answer."
)
def challenge(consortium: Consortium, holder: str, sha256: str, hours: int) -> Any:
    """Ask HOLDER (MSP id) to prove within some hours that it keeps the content."""
    return consortium.storage.challenge(holder=holder, sha256=sha256, answer_seconds=hours * 3600)


@ledger_command(storage, "challenges")
def challenges(consortium: Consortium) -> Any:
    """List all challenges and where they stand."""
    from client.consortium import every

    return [
        {
            "challenge": one.challenge,
            "holder": one.holder,
            "content": one.content.sha256,
            "status": one.status.value,
            "deadline": one.deadline,
        }
        for page in every(consortium.storage.challenges)
        for one in page.challenges
    ]


@ledger_command(storage, "answer")
@click.argument("challenge")
@store_options
def answer(
    consortium: Consortium,
    challenge: str,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
) -> Any:
    """Answer a challenge to this hospital from its own copy."""
    from client import possession

    return possession.answer(consortium, content_store(store, ipfs, secret_file), challenge)


@ledger_command(storage, "check")
@click.argument("challenge")
@store_options
def check(
    consortium: Consortium,
    challenge: str,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
) -> Any:
    """Check another hospital's answer from this one's copy."""
    from client import possession

    return possession.check(consortium, content_store(store, ipfs, secret_file), challenge)


@ledger_command(storage, "conclude")
@click.argument("challenge")
def conclude(consortium: Consortium, challenge: str) -> Any:
    """Draw the conclusion: missed, proven or refuted."""
    return consortium.storage.conclude(challenge=challenge)
