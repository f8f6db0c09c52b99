"""Training plans and their rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from client.consortium import Consortium


@click.group()
def plan() -> None:
    """Agree what is trained: propose, vote, advance, abort."""


@click.group("round")
def round_() -> None:
    """See how a plan's rounds go."""


@ledger_command(plan, "propose")
@click.argument("terms", type=FILE)
def propose(consortium: Consortium, terms: Path) -> Any:
    """Propose the plan whose terms are in TERMS (JSON)."""
    from chaincode.schema.plans import PlanTerms

    return consortium.plans.propose(read_model(terms, PlanTerms))


@ledger_command(plan, "vote")
@click.argument("plan_id")
@click.option(
    "--approve/--reject", required=True, default=None, help="The vote; a hospital has one."
)
@click.option("--terms", metavar="SHA256", help="Vote only on exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def vote(
    consortium: Consortium, plan_id: str, approve: bool, terms: str | None, reason: str
) -> Any:
    """Vote on a plan, once."""
    from chaincode.schema.consortium import Subject

    return consortium.charter.vote(
        subject=Subject.PLAN,
        subject_id=plan_id,
        subject_sha256=agreed_terms(consortium, plan_id, terms),
        approve=approve,
        reason=reason,
    )


@ledger_command(plan, "advance")
@click.argument("plan_id")
def advance(consortium: Consortium, plan_id: str) -> Any:
    """Carry out what the votes decided; opens the key ceremony."""
    return consortium.plans.advance(plan_id=plan_id)


@ledger_command(plan, "abort")
@click.argument("plan_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def abort(consortium: Consortium, plan_id: str, reason: str) -> Any:
    """Stop one's own plan for good."""
    return consortium.plans.abort(plan_id=plan_id, reason=reason)


@ledger_command(plan, "show")
@click.argument("plan_id")
def show_plan(consortium: Consortium, plan_id: str) -> Any:
    """Show a plan's terms, votes and key ceremony."""
    view = consortium.plans.get(plan_id=plan_id)
    shown: dict[str, Any] = view.model_dump(mode="json")
    try:
        ceremony = consortium.ceremonies.get(plan_id=plan_id).ceremony
    except MedFabricError as error:
        if error.code != Code.NOT_FOUND:
            raise
        return shown
    return {**shown, "ceremony": ceremony.model_dump(mode="json")}


@ledger_command(plan, "list")
def list_plans(consortium: Consortium) -> Any:
    """List all plans."""
    from client.consortium import every

    return [
        {
            "plan": found.terms.plan_id,
            "title": found.terms.title,
            "status": found.status,
            "rounds": f"{found.rounds_opened}/{found.terms.training.rounds}",
            "epsilon": found.terms.privacy.epsilon_micro / 1_000_000,
            "terms": found.terms_sha256,
        }
        for page in every(consortium.plans.page)
        for found in page.plans
    ]


@ledger_command(round_, "show")
@click.argument("plan_id")
@click.argument("number", type=click.IntRange(min=1), required=False)
def show_round(consortium: Consortium, plan_id: str, number: int | None) -> Any:
    """Show a round and all that was contributed to it; without NUMBER, the newest."""
    if number is None:
        number = consortium.plans.get(plan_id=plan_id).plan.rounds_opened
        if number == 0:
            raise MedFabricError(
                Code.NOT_FOUND, f"plan {plan_id} has no round yet; see `admin plan show {plan_id}`"
            )
    return consortium.rounds.get(plan_id=plan_id, number=number)


def agreed_terms(consortium: Consortium, plan_id: str, expected: str | None) -> str:
    """The hash of the plan's terms as this hospital's peer shows them, recomputed.

    Raises:
        MedFabricError: ``TERMS_MISMATCH`` where they are not the expected ones.
    """
    shown = consortium.plans.get(plan_id=plan_id).plan
    sha256 = shown.terms.sha256
    if shown.terms_sha256 != sha256 or expected not in (None, sha256):
        raise MedFabricError(
            Code.TERMS_MISMATCH,
            f"the terms of {plan_id} have SHA-256 {sha256}, not {expected or shown.terms_sha256}; "
            f"read them with `admin plan show {plan_id}`",
        )
    return sha256
