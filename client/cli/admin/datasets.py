"""The hospital's datasets, its consent and its budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.session import FILE, ledger_command, read_model

if TYPE_CHECKING:
    from chaincode.schema.datasets import DatasetView
    from client.consortium import Consortium

EPSILON = click.FloatRange(min=0, min_open=True)


@click.group()
def dataset() -> None:
    """Offer the hospital's datasets: register, consent, withdraw, set budgets."""


@ledger_command(dataset, "register")
@click.argument("description", type=FILE)
@click.option("--name", help="What people call it.")
@click.option("--budget", type=EPSILON, help="Epsilon that all plans together may spend on it.")
@click.option("--delta", type=click.FloatRange(1e-9, 0.5), help="At which delta.")
@click.option("--simulated/--real", default=None, help="Whether patients are behind the records.")
def register(
    consortium: Consortium,
    description: Path,
    name: str | None,
    budget: float | None,
    delta: float | None,
    simulated: bool | None,
) -> Any:
    """Register the dataset that DESCRIPTION tells of: what `medfabric node data --json` printed, of
    which the options say the rest, or all of it. No record leaves the hospital."""
    from chaincode.schema.datasets import RegisterDatasetArgs

    rest = {
        "name": name,
        "simulated": simulated,
        "budget_epsilon_micro": None if budget is None else round(budget * 1_000_000),
        "delta_nano": None if delta is None else round(delta * 1_000_000_000),
    }
    given = {field: value for field, value in rest.items() if value is not None}
    todo = "correct it, or say --name, --budget, --delta, and --simulated or --real"
    return consortium.datasets.register(read_model(description, RegisterDatasetArgs, given, todo))


@ledger_command(dataset, "release")
@click.argument("description", type=FILE)
def release(consortium: Consortium, description: Path) -> Any:
    """Charge the release that DESCRIPTION tells of (JSON; `medfabric node release` makes both it
    and the table, which the node gives out once it is charged)."""
    from chaincode.schema.datasets import ReleaseArgs

    return consortium.datasets.release(read_model(description, ReleaseArgs))


@ledger_command(dataset, "consent")
@click.argument("dataset_id")
@click.argument("plan_id")
@click.option("--terms", metavar="SHA256", help="Consent only to exactly these terms.")
@click.option("--reason", default="", help="Stays on the ledger.")
def consent(
    consortium: Consortium, dataset_id: str, plan_id: str, terms: str | None, reason: str
) -> Any:
    """Consent that the plan trains on the dataset."""
    from client.cli.admin.plans import agreed_terms

    sha256 = agreed_terms(consortium, plan_id, terms)
    return consortium.datasets.consent(
        dataset_id=dataset_id, plan_id=plan_id, terms_sha256=sha256, reason=reason
    )


@ledger_command(dataset, "withdraw")
@click.argument("dataset_id")
@click.argument("plan_id")
@click.option("--reason", default="", help="Stays on the ledger.")
def withdraw(consortium: Consortium, dataset_id: str, plan_id: str, reason: str) -> Any:
    """Withdraw consent: no further update from this dataset; the past stays."""
    from client.cli.admin.plans import agreed_terms

    sha256 = agreed_terms(consortium, plan_id, None)
    return consortium.datasets.withdraw(
        dataset_id=dataset_id, plan_id=plan_id, terms_sha256=sha256, reason=reason
    )


@ledger_command(dataset, "budget")
@click.argument("dataset_id")
@click.argument("epsilon", type=EPSILON)
def budget(consortium: Consortium, dataset_id: str, epsilon: float) -> Any:
    """Set what all plans together may spend on the dataset; not below what is spent."""
    return consortium.datasets.set_budget(
        dataset_id=dataset_id, budget_epsilon_micro=round(epsilon * 1_000_000)
    )


@ledger_command(dataset, "show")
@click.argument("dataset_id")
def show_dataset(consortium: Consortium, dataset_id: str) -> Any:
    """Show a dataset and its privacy account."""
    return consortium.datasets.get(dataset_id=dataset_id)


@ledger_command(dataset, "list")
def list_datasets(consortium: Consortium) -> Any:
    """List all datasets."""
    from client.consortium import every

    return [row(view) for page in every(consortium.datasets.page) for view in page.datasets]


def row(view: DatasetView) -> dict[str, Any]:
    """A dataset in one line."""
    return {
        "dataset": view.dataset.dataset_id,
        "hospital": view.dataset.msp_id,
        "name": view.dataset.name + (" (simulated)" if view.dataset.simulated else ""),
        "samples": view.dataset.train_samples,
        "epsilon": view.account.epsilon_micro / 1_000_000,
        "budget": view.account.budget_epsilon_micro / 1_000_000,
    }
