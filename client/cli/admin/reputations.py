"""Reputations, and complaints that bear on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from chaincode.schema.reputation import Reputation
    from client.consortium import Consortium

SUBJECTS = click.Choice(["hospital", "node", "dataset", "model"])


@click.group()
def reputation() -> None:
    """See how hospitals, nodes, datasets and models have done."""


@click.group()
def complaint() -> None:
    """Complain about a hospital, node, dataset or model, and decide complaints."""


@ledger_command(reputation, "list")
@click.argument("subject", type=SUBJECTS)
@click.option("--flagged", is_flag=True, help="Only those that the adopted classifier flags.")
def list_reputations(consortium: Consortium, subject: str, flagged: bool) -> Any:
    """List the reputations of one kind of SUBJECT, as far as anything is known."""
    from chaincode.schema.reputation import Rated
    from client.consortium import every

    return [
        _row(found)
        for page in every(consortium.reputations.page, subject=Rated(subject))
        for found in page.reputations
        if found.flagged or not flagged
    ]


@ledger_command(reputation, "show")
@click.argument("subject", type=SUBJECTS)
@click.argument("subject_id")
def show_reputation(consortium: Consortium, subject: str, subject_id: str) -> Any:
    """Show a reputation and the evidence for it; a node is named MSP/node."""
    from chaincode.schema.reputation import Rated

    return consortium.reputations.get(subject=Rated(subject), subject_id=subject_id)


@ledger_command(complaint, "open")
@click.argument("terms", type=FILE)
def open_complaint(consortium: Consortium, terms: Path) -> Any:
    """Open the complaint whose terms are in TERMS (JSON)."""
    from chaincode.schema.reputation import ComplaintTerms

    return consortium.complaints.open(read_model(terms, ComplaintTerms))


@ledger_command(complaint, "vote")
@click.argument("complaint_id")
@click.option(
    "--uphold/--dismiss", required=True, default=None, help="The vote; a hospital has one."
)
@click.option("--terms", metavar="SHA256", help="Vote only on exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def vote(
    consortium: Consortium, complaint_id: str, uphold: bool, terms: str | None, reason: str
) -> Any:
    """Vote on a complaint, once; the accused hospital has no vote."""
    from chaincode.schema import canonical
    from chaincode.schema.consortium import Subject

    shown = consortium.complaints.get(complaint_id=complaint_id)
    sha256 = canonical.sha256(shown.terms)
    if shown.terms_sha256 != sha256 or terms not in (None, sha256):
        raise MedFabricError(
            Code.TERMS_MISMATCH,
            f"the terms of {complaint_id} have SHA-256 {sha256}, not "
            f"{terms or shown.terms_sha256}; read them with `admin complaint show`",
        )
    return consortium.charter.vote(
        subject=Subject.COMPLAINT,
        subject_id=complaint_id,
        subject_sha256=sha256,
        approve=uphold,
        reason=reason,
    )


@ledger_command(complaint, "advance")
@click.argument("complaint_id")
def advance(consortium: Consortium, complaint_id: str) -> Any:
    """Carry out what the votes decided."""
    return consortium.complaints.advance(complaint_id=complaint_id)


@ledger_command(complaint, "show")
@click.argument("complaint_id")
def show_complaint(consortium: Consortium, complaint_id: str) -> Any:
    """Show a complaint and the votes on it."""
    from chaincode.schema.consortium import Subject

    shown = consortium.complaints.get(complaint_id=complaint_id)
    ballot = consortium.charter.ballot(subject=Subject.COMPLAINT, subject_id=complaint_id)
    votes = [vote.model_dump(mode="json") for vote in ballot.votes]
    return {**shown.model_dump(mode="json"), "votes": votes}


@ledger_command(complaint, "list")
def list_complaints(consortium: Consortium) -> Any:
    """List all complaints."""
    from client.consortium import every

    return [
        {
            "complaint": found.terms.complaint_id,
            "about": f"{found.terms.subject} {found.terms.subject_id}",
            "status": found.status,
            "by": found.opened_by,
            "terms": found.terms_sha256,
        }
        for page in every(consortium.complaints.page)
        for found in page.complaints
    ]


def _row(found: Reputation) -> dict[str, Any]:
    return {
        "name": found.subject_id,
        "score": found.score_milli / 1000,
        "rounds": found.rounds,
        "good": sum(tally.good for tally in found.tallies.values()),
        "bad": sum(tally.bad for tally in found.tallies.values()),
        "flagged": found.flagged,
        "factor": found.factor_milli / 1000,
    }
