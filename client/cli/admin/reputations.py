"""Reputations, complaints that bear on them, and classifiers that read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli import options
from client.cli.session import FILE, agreed, ledger_command, read_model

if TYPE_CHECKING:
    from chaincode.schema.classifiers import Classifier
    from chaincode.schema.reputation import Reputation
    from client.consortium import Consortium

SUBJECTS = click.Choice(["hospital", "node", "dataset", "model"])


@click.group()
def reputation() -> None:
    """See how hospitals, nodes, datasets and models have done."""


@click.group()
def complaint() -> None:
    """Complain about a hospital, node, dataset or model, and decide complaints."""


@click.group()
def classifier() -> None:
    """Agree on a classifier of malicious nodes; see what it makes of a node."""


@ledger_command(reputation, "list")
@click.argument("subject", type=SUBJECTS)
@click.option("--flagged", is_flag=True, help="Only those that the adopted classifier flags.")
def list_reputations(consortium: Consortium, subject: str, flagged: bool) -> Any:
    """List the reputations of one kind of SUBJECT, as far as anything is known."""
    from chaincode.schema.reputation import Rated
    from client.consortium import every

    return [
        row(found)
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

    found = consortium.reputations.get(subject=Rated(subject), subject_id=subject_id)
    shown: dict[str, Any] = found.model_dump(mode="json")
    tallies = [{"of": kind, **tally._asdict()} for kind, tally in found.tallies.items()]
    return {**shown, "tallies": tallies}


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
    from chaincode.schema.consortium import Subject

    shown = consortium.complaints.get(complaint_id=complaint_id)
    return consortium.charter.vote(
        subject=Subject.COMPLAINT,
        subject_id=complaint_id,
        subject_sha256=agreed(shown, "complaint", terms),
        approve=uphold,
        reason=reason,
    )


@ledger_command(complaint, "advance")
@click.argument("complaint_id")
def advance(consortium: Consortium, complaint_id: str) -> Any:
    """Carry out what the votes decided."""
    return consortium.complaints.advance(complaint_id=complaint_id)


@ledger_command(complaint, "propose-lifting")
@click.argument("complaint_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def propose_lifting(consortium: Consortium, complaint_id: str, reason: str) -> Any:
    """Move to end a suspension early; vote by `admin consortium vote lifting COMPLAINT_ID`."""
    return consortium.complaints.propose_lifting(complaint_id=complaint_id, reason=reason)


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


@ledger_command(classifier, "propose")
@click.argument("terms", type=FILE)
def propose(consortium: Consortium, terms: Path) -> Any:
    """Propose the classifier that `medfabric node classifier` wrote to TERMS."""
    from chaincode.schema.classifiers import ClassifierTerms

    return _brief(consortium.classifiers.propose(read_model(terms, ClassifierTerms)))


@ledger_command(classifier, "vote")
@click.argument("classifier_id")
@options.vote
@click.option("--terms", metavar="SHA256", help="Vote only on exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def vote_classifier(
    consortium: Consortium, classifier_id: str, approve: bool, terms: str | None, reason: str
) -> Any:
    """Vote on a classifier, once."""
    from chaincode.schema.consortium import Subject

    shown = consortium.classifiers.get(classifier_id=classifier_id)
    return consortium.charter.vote(
        subject=Subject.CLASSIFIER,
        subject_id=classifier_id,
        subject_sha256=agreed(shown, "classifier", terms),
        approve=approve,
        reason=reason,
    )


@ledger_command(classifier, "advance")
@click.argument("classifier_id")
def advance_classifier(consortium: Consortium, classifier_id: str) -> Any:
    """Carry out what the votes decided; the classifier before is retired."""
    return _brief(consortium.classifiers.advance(classifier_id=classifier_id))


@ledger_command(classifier, "show")
@click.argument("classifier_id")
def show_classifier(consortium: Consortium, classifier_id: str) -> Any:
    """Show a classifier whole: every trait's cuts and values."""
    return consortium.classifiers.get(classifier_id=classifier_id)


@ledger_command(classifier, "list")
def list_classifiers(consortium: Consortium) -> Any:
    """List all classifiers."""
    from client.consortium import every

    return [
        _brief(found) for page in every(consortium.classifiers.page) for found in page.classifiers
    ]


@ledger_command(classifier, "assess")
@click.argument("node")
def assess(consortium: Consortium, node: str) -> Any:
    """Show what the adopted classifier makes of NODE (MSP/node), trait by trait."""
    msp_id, _, node_id = node.partition("/")
    return consortium.classifiers.assess(msp_id=msp_id, node_id=node_id)


def _brief(found: Classifier) -> dict[str, Any]:
    return {
        "classifier": found.terms.classifier_id,
        "status": found.status,
        "by": found.proposed_by,
        "trained on": found.terms.trained_on,
        "recipe": found.terms.recipe_sha256,
        "terms": found.terms_sha256,
    }


def row(found: Reputation) -> dict[str, Any]:
    """A reputation as a list has it."""
    return {
        "name": found.subject_id,
        "score": found.score_milli / 1000,
        "rounds": found.rounds,
        "good": sum(tally.good for tally in found.tallies.values()),
        "bad": sum(tally.bad for tally in found.tallies.values()),
        "flagged": found.flagged,
        "factor": found.factor_milli / 1000,
    }
