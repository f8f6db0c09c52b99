"""The consortium: its charter and its hospitals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import ledger_command

if TYPE_CHECKING:
    from client.consortium import Consortium

SUBJECTS = click.Choice(["charter", "hospital"])


@click.group("consortium")
def charter() -> None:
    """Found the consortium, admit hospitals, see who belongs to it."""


@ledger_command(charter, "found")
@click.argument("name")
@click.option(
    "--hospital",
    "hospitals",
    multiple=True,
    required=True,
    metavar="MSP=NAME",
    help="A founding hospital; one's own too. Repeat it.",
)
def found(consortium: Consortium, name: str, hospitals: tuple[str, ...]) -> Any:
    """Propose the charter; the others vote on it, then anybody advances it."""
    pairs = [hospital.partition("=") for hospital in hospitals]
    founders = tuple({"msp_id": msp_id, "name": said or msp_id} for msp_id, _, said in pairs)
    return consortium.charter.found(name=name, hospitals=founders)


@ledger_command(charter, "propose-hospital")
@click.argument("msp_id")
@click.argument("name")
def propose_hospital(consortium: Consortium, msp_id: str, name: str) -> Any:
    """Propose to admit a further hospital."""
    return consortium.charter.propose_hospital(msp_id=msp_id, name=name)


@ledger_command(charter, "vote")
@click.argument("subject", type=SUBJECTS)
@click.argument("subject_id")
@click.option(
    "--approve/--reject", required=True, default=None, help="The vote; a hospital has one."
)
@click.option("--reason", default="", help="Stays on the ledger.")
def vote(consortium: Consortium, subject: str, subject_id: str, approve: bool, reason: str) -> Any:
    """Vote on the charter (by its name) or on a hospital (by its MSP id), once."""
    return consortium.charter.vote(
        subject=_subject(subject),
        subject_id=subject_id,
        subject_sha256=_terms(consortium, subject, subject_id),
        approve=approve,
        reason=reason,
    )


@ledger_command(charter, "advance")
@click.argument("subject", type=SUBJECTS)
@click.argument("subject_id")
def advance(consortium: Consortium, subject: str, subject_id: str) -> Any:
    """Carry out what the votes decided."""
    return consortium.charter.advance(subject=_subject(subject), subject_id=subject_id)


@ledger_command(charter, "ballot")
@click.argument("subject", type=SUBJECTS)
@click.argument("subject_id")
def ballot(consortium: Consortium, subject: str, subject_id: str) -> Any:
    """Show the votes on the charter or a hospital."""
    return consortium.charter.ballot(subject=_subject(subject), subject_id=subject_id)


@ledger_command(charter, "show")
def show_consortium(consortium: Consortium) -> Any:
    """Show the consortium, its hospitals and their reputations."""
    return consortium.charter.get()


def _subject(word: str) -> Any:
    from chaincode.schema.consortium import Subject

    return Subject(word)


def _terms(consortium: Consortium, subject: str, subject_id: str) -> str:
    """What the vote binds to: the charter, or the hospital as it was proposed."""
    from chaincode.schema import canonical
    from chaincode.schema.consortium import ProposeHospitalArgs

    view = consortium.charter.get()
    if subject == "charter":
        return view.consortium.charter_sha256
    for hospital in view.hospitals:
        if hospital.msp_id == subject_id:
            proposal = ProposeHospitalArgs(msp_id=hospital.msp_id, name=hospital.name)
            return canonical.sha256(proposal)
    raise MedFabricError(Code.NOT_FOUND, f"nobody has proposed {subject_id}; propose it first")
