"""Published models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.output import warn
from client.cli.session import FILE, ledger_command
from client.cli.stores import content_store, store_options

if TYPE_CHECKING:
    from chaincode.schema.rounds import Model
    from client.consortium import Consortium


@click.group()
def model() -> None:
    """Find published models and download them by their ledger address."""


@ledger_command(model, "list")
def list_models(consortium: Consortium) -> Any:
    """List all published models, plan by plan."""
    from client.consortium import every

    listed = [found for page in every(consortium.models.page) for found in page.models]
    return [
        {
            "address": found.model.sha256,
            "plan": found.plan_id,
            "round": found.round,
            "accuracy": round(found.correct / found.total, 4) if found.total else None,
            "bytes": found.model.size_bytes,
            "status": found.status.value,
        }
        for found in sorted(listed, key=lambda model: (model.plan_id, model.round))
    ]


@ledger_command(model, "show")
@click.argument("address")
def show_model(consortium: Consortium, address: str) -> Any:
    """Show a model's record: parents, aggregate, metrics, and whether it was recalled."""
    found = consortium.models.get(sha256=address)
    _warn(found)
    return found


@ledger_command(model, "deprecate")
@click.argument("address")
@click.option("--reason", required=True, help="Stays on the ledger.")
@click.option("--successor", metavar="ADDRESS", help="The model to use instead.")
def deprecate(consortium: Consortium, address: str, reason: str, successor: str | None) -> Any:
    """Say that a model of one's own plan should give way to a better one."""
    return consortium.models.deprecate(sha256=address, reason=reason, successor_sha256=successor)


@ledger_command(model, "propose-recall")
@click.argument("address")
@click.option("--reason", required=True, help="Stays on the ledger.")
def propose_recall(consortium: Consortium, address: str, reason: str) -> Any:
    """Move to recall a model; hospitals vote by `admin consortium vote recall ADDRESS`."""
    return consortium.models.propose_recall(sha256=address, reason=reason)


@ledger_command(model, "recall-derived")
@click.argument("address")
def recall_derived(consortium: Consortium, address: str) -> Any:
    """Recall a model that was trained on from a recalled one; that needs no vote."""
    return consortium.models.recall_derived(sha256=address)


@ledger_command(model, "queries")
@click.argument("address")
def queries(consortium: Consortium, address: str) -> Any:
    """List who asked this model privately, and who answered what, by hashes."""
    from client.consortium import every

    return [
        {
            "query": one.inquiry.query_sha256,
            "asked_by": f"{one.inquiry.msp_id}/{one.inquiry.node_id}",
            "asked_at": one.inquiry.asked_at,
            "answers": {f"{a.msp_id}/{a.node_id}": a.answer_sha256 for a in one.inferences},
        }
        for page in every(consortium.inferences.page, model_sha256=address)
        for one in page.inquiries
    ]


@ledger_command(model, "loans")
@click.argument("plan_id")
def loans(consortium: Consortium, plan_id: str) -> Any:
    """List who lent whom a model of PLAN_ID's architecture, and who scored records by it."""
    from client.consortium import every

    return [
        {
            "lent": one.loan.lent_sha256,
            "model": one.loan.model_sha256,
            "lent_by": f"{one.loan.msp_id}/{one.loan.node_id}",
            "lent_to": one.loan.borrower,
            "lent_at": one.loan.lent_at,
            "scores": [
                {
                    "scores": each.scores_sha256,
                    "scored_by": f"{each.msp_id}/{each.node_id}",
                    "records": each.records,
                }
                for each in one.scorings
            ],
        }
        for page in every(consortium.inferences.loans, plan_id=plan_id)
        for one in page.loans
    ]


@ledger_command(model, "get")
@click.argument("address")
@store_options
@click.option("--out", type=FILE, required=True, help="Where to write the model.")
def get(
    consortium: Consortium,
    address: str,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
    out: Path,
) -> Any:
    """Download the model with this ledger ADDRESS and check that it is the one."""
    content = content_store(store, ipfs, secret_file)
    found = consortium.models.get(sha256=address)
    if found.model.sha256 != address:
        raise MedFabricError(
            Code.CONTENT_TAMPERED, "the peer named another model; audit the hospital's peer"
        )
    content.get_file(found.model, out)
    _warn(found)
    return {"address": address, "file": str(out), "bytes": found.model.size_bytes}


def _warn(model: Model) -> None:
    if model.status.value == "CURRENT":
        return
    words = f"warning: model {model.model.sha256} is {model.status.value}: {model.reason}"
    if model.successor_sha256:
        words += f"; use {model.successor_sha256}"
    warn(words)
