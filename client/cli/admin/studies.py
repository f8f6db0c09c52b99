"""Studies: statistics of records that their holder cannot read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli import options
from client.cli.session import FILE, agreed, ledger_command, read_model

if TYPE_CHECKING:
    from client.consortium import Consortium


@click.group()
def study() -> None:
    """Agree on a study of encrypted records, consent to it, read what it found."""


@ledger_command(study, "fit")
@click.argument("terms", type=FILE)
@click.option("--epsilon", type=click.FloatRange(1e-6, 1000), help="Choose the least noise for it.")
@options.delta
def fit(consortium: Consortium, terms: Path, epsilon: float | None, delta: float) -> Any:
    """Print the study in TERMS (JSON) with as much flooding as its plan's key has room for, and
    with the noise that tells no more than EPSILON of a patient."""
    from chaincode.schema import studies
    from chaincode.schema.encryption import EncryptionTerms

    wanted = read_model(terms, studies.StudyTerms)
    if epsilon is not None:
        try:
            wanted = studies.calibrated(wanted, round(epsilon * 1e6), round(delta * 1e9))
        except ValueError as error:
            raise MedFabricError(Code.STUDY_INVALID, f"{error}; change the study") from None
    plan = consortium.plans.get(plan_id=wanted.plan_id).plan.terms
    encryption = plan.encryption
    if isinstance(encryption, EncryptionTerms) and not (wrong := studies.problem(wanted)):
        fitted = studies.fitted(wanted, encryption, plan.key_parts)
        if fitted is not None:
            return fitted
        wrong = "the plan's key has no room for these sums; take fewer levels or records"
    raise MedFabricError(Code.STUDY_INVALID, wrong or f"{wanted.plan_id} has no collective key")


@ledger_command(study, "propose")
@click.argument("terms", type=FILE)
def propose(consortium: Consortium, terms: Path) -> Any:
    """Propose the study whose terms are in TERMS (JSON)."""
    from chaincode.schema.studies import StudyTerms

    return consortium.studies.propose(read_model(terms, StudyTerms))


@ledger_command(study, "vote")
@click.argument("study_id")
@options.vote
@click.option("--terms", metavar="SHA256", help="Vote only on exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def vote(
    consortium: Consortium, study_id: str, approve: bool, terms: str | None, reason: str
) -> Any:
    """Vote on a study, once."""
    from chaincode.schema.consortium import Subject

    shown = consortium.studies.get(study_id=study_id).study
    return consortium.charter.vote(
        subject=Subject.STUDY,
        subject_id=study_id,
        subject_sha256=agreed(shown, "study", terms),
        approve=approve,
        reason=reason,
    )


@ledger_command(study, "consent")
@click.argument("study_id")
@click.argument("dataset_id")
@click.option("--withdraw", is_flag=True, help="Take consent back, until the records are summed.")
@click.option("--terms", metavar="SHA256", help="Consent only to exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def consent(
    consortium: Consortium,
    study_id: str,
    dataset_id: str,
    withdraw: bool,
    terms: str | None,
    reason: str,
) -> Any:
    """Consent that the dataset's records are encrypted for the study and handed to its holder.

    The sums it asks for are then told to everybody: exactly, or with the noise that its terms say.
    """
    shown = consortium.studies.get(study_id=study_id).study
    return consortium.studies.consent(
        study_id=study_id,
        dataset_id=dataset_id,
        terms_sha256=agreed(shown, "study", terms),
        given=not withdraw,
        reason=reason,
    )


@ledger_command(study, "limit")
@click.argument("dataset_id")
@click.option("--most", type=click.IntRange(0, 64), required=True, help="Exact studies in all.")
@click.option(
    "--apart",
    type=click.IntRange(5, 2**24),
    default=5,
    show_default=True,
    help="By how many records two studies differ, at least.",
)
def limit(consortium: Consortium, dataset_id: str, most: int, apart: int) -> Any:
    """Limit the studies without noise that sum a dataset's records: how many, and by how many
    records their choices differ at least."""
    return consortium.studies.limit(dataset_id=dataset_id, most_studies=most, least_apart=apart)


@ledger_command(study, "uses")
@click.argument("dataset_id")
def uses(consortium: Consortium, dataset_id: str) -> Any:
    """Show which records of a dataset studies without noise have summed."""
    return consortium.studies.uses(dataset_id=dataset_id)


@ledger_command(study, "advance")
@click.argument("study_id")
def advance(consortium: Consortium, study_id: str) -> Any:
    """Carry out what the votes decided; the nodes' agents do the rest."""
    return consortium.studies.advance(study_id=study_id)


@ledger_command(study, "show")
@click.argument("study_id")
def show_study(consortium: Consortium, study_id: str) -> Any:
    """Show a study, who consented, handed over, attested and shared, and its result."""
    return consortium.studies.get(study_id=study_id)


@ledger_command(study, "findings")
@click.argument("study_id")
def show_findings(consortium: Consortium, study_id: str) -> Any:
    """Compute what follows from a study's sums: means, correlations, regressions."""
    from client.findings import findings

    view = consortium.studies.get(study_id=study_id)
    if view.result is None:
        raise MedFabricError(
            Code.NOT_YET, f"study {study_id} is {view.study.status}: it has found nothing yet"
        )
    return findings(view.study.terms, view.result.sums)


@ledger_command(study, "list")
def list_studies(consortium: Consortium) -> Any:
    """List all studies."""
    from client.consortium import every

    return [
        {
            "study": found.study_id,
            "title": found.terms.title,
            "status": found.status,
            "holder": found.terms.holder,
            "records": found.records,
            "terms": found.terms_sha256,
        }
        for page in every(consortium.studies.page)
        for found in page.studies
    ]
