"""The consortium: its charter and its hospitals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli import options
from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from client.consortium import Consortium

SUBJECTS = click.Choice(["charter", "hospital", "expulsion", "rules", "recall", "lifting"])


@click.group("consortium")
def charter() -> None:
    """Found the consortium, admit and expel hospitals, change the rules of voting."""


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
    """Move to admit a further hospital, or one that left."""
    return consortium.charter.propose_hospital(msp_id=msp_id, name=name)


@ledger_command(charter, "propose-expulsion")
@click.argument("msp_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def propose_expulsion(consortium: Consortium, msp_id: str, reason: str) -> Any:
    """Move to expel a hospital; it has no vote on that."""
    return consortium.charter.propose_expulsion(msp_id=msp_id, reason=reason)


@ledger_command(charter, "propose-rules")
@click.argument("rules", type=FILE)
@click.option("--reason", default="", help="Stays on the ledger.")
def propose_rules(consortium: Consortium, rules: Path, reason: str) -> Any:
    """Move to put the voting rules in RULES (JSON) into force."""
    from chaincode.schema.voting import VotingRules

    return consortium.charter.propose_rules(rules=read_model(rules, VotingRules), reason=reason)


@ledger_command(charter, "leave")
@click.option("--reason", required=True, help="Stays on the ledger.")
def leave(consortium: Consortium, reason: str) -> Any:
    """Leave the consortium at once. Plans that need one's part of their key end."""
    return consortium.charter.leave(reason=reason)


@ledger_command(charter, "renew-policies")
def renew_policies(consortium: Consortium) -> Any:
    """Have the members of today endorse what one's hospital owns; a running validator does it by
    itself whenever members change."""
    from client import policies

    renewed, lost = policies.renew(consortium)
    return {"renewed": len(renewed), "lost": [policy.key for policy in lost]}


@ledger_command(charter, "vote")
@click.argument("subject", type=SUBJECTS)
@click.argument("subject_id")
@options.vote
@click.option("--terms", metavar="SHA256", help="Vote only on exactly this motion.")
@click.option("--reason", default="", help="Stays on the ledger.")
def vote(
    consortium: Consortium,
    subject: str,
    subject_id: str,
    approve: bool,
    terms: str | None,
    reason: str,
) -> Any:
    """Vote, once, on the charter (by its name), on a hospital's admission or expulsion (by its MSP
    id), or on the rules (named "rules")."""
    return consortium.charter.vote(
        subject=_subject(subject),
        subject_id=subject_id,
        subject_sha256=_terms(consortium, subject, subject_id, terms),
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
    """Show the votes on the charter or a motion."""
    return consortium.charter.ballot(subject=_subject(subject), subject_id=subject_id)


@ledger_command(charter, "motion")
@click.argument("subject", type=SUBJECTS)
@click.argument("subject_id")
def motion(consortium: Consortium, subject: str, subject_id: str) -> Any:
    """Show the newest motion on a subject: what the votes bind to."""
    return consortium.charter.motion(subject=_subject(subject), subject_id=subject_id)


@ledger_command(charter, "motions")
@click.option("--past", is_flag=True, help="Those that later ones have replaced.")
def list_motions(consortium: Consortium, past: bool) -> Any:
    """List the newest motion on every subject."""
    from client.consortium import every

    return [
        {
            "subject": found.terms.subject,
            "of": found.terms.subject_id,
            "status": found.status,
            "proposed_by": found.terms.proposed_by,
            "reason": found.terms.reason,
            "terms": found.terms_sha256,
        }
        for page in every(consortium.charter.motions, past=past)
        for found in page.motions
    ]


@ledger_command(charter, "show")
def show_consortium(consortium: Consortium) -> Any:
    """Show the consortium, its rules, its hospitals and their reputations."""
    from client.cli.admin.reputations import row

    view = consortium.charter.get()
    return {**dict(view), "reputations": [row(known) for known in view.reputations]}


def _subject(word: str) -> Any:
    from chaincode.schema.consortium import Subject

    return Subject(word)


def _terms(consortium: Consortium, subject: str, subject_id: str, expected: str | None) -> str:
    """What the vote binds to: the charter, or the motion as this hospital's peer shows it,
    recomputed.

    Raises:
        MedFabricError: ``TERMS_MISMATCH`` where it is not the expected one.
    """
    if subject == "charter":
        shown = sha256 = consortium.charter.get().consortium.charter_sha256
    else:
        found = consortium.charter.motion(subject=_subject(subject), subject_id=subject_id)
        shown, sha256 = found.terms_sha256, found.terms.sha256
    if shown != sha256 or expected not in (None, sha256):
        raise MedFabricError(
            Code.TERMS_MISMATCH,
            f"the motion on {subject} {subject_id} has SHA-256 {sha256}, not {expected or shown}; "
            f"read it with `admin consortium motion {subject} {subject_id}`",
        )
    return sha256
