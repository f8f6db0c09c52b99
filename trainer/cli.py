"""``medfabric node``: what a trainer node's operator runs."""

from __future__ import annotations

from pathlib import Path

import click

from client.cli.options import POSITIVE, numbers
from client.cli.output import json_option, show, warn
from trainer.inference.cli import infer

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_DATASET = click.option("--dataset", "dataset_id", help="Which of CONFIG's, where it has several.")


@click.group()
def node() -> None:
    """Take part in training: run a node's agent, look at its data."""


@node.command()
@click.argument("config", type=_FILE)
@click.option("--once", is_flag=True, help="Do what is due now, then exit.")
@click.option("--verbose", "-v", is_flag=True, help="Say more of what happens.")
def run(config: Path, once: bool, verbose: bool) -> None:
    """Run the agent of the node that CONFIG (a node.json) describes, until stopped."""
    from trainer.node.main import run as run_agent

    run_agent(config, once=once, verbose=verbose)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("terms", type=_FILE)
@_DATASET
@json_option
def data(config: Path, terms: Path, dataset_id: str | None, as_json: bool) -> None:
    """Counts and hashes of CONFIG's records, for registering them as a dataset.

    TERMS is a JSON file with a plan's data terms: features with their bounds, label, classes. No
    record is shown.
    """
    from trainer.node.main import describe_data

    show(describe_data(config, terms, dataset_id), as_json=as_json)


@node.command("data-report")
@click.argument("config", type=_FILE)
@click.argument("terms", type=_FILE, required=False)
@click.option("--plan", "plan_id", help="The terms of this plan on the ledger, instead of TERMS.")
@click.option("--out", type=_FILE, help="Write a page with plots here (HTML).")
@_DATASET
@json_option
def data_report(
    config: Path,
    terms: Path | None,
    plan_id: str | None,
    out: Path | None,
    dataset_id: str | None,
    as_json: bool,
) -> None:
    """CONFIG's records before the hospital consents: sizes, classes, what is missing, and how far
    they are from what the plan expects. Exact, so for the hospital alone.

    TERMS as for `data`. Bad records are refused, as before training.
    """
    from trainer.node.main import report_data

    if (terms is None) == (plan_id is None):
        raise click.UsageError("name either TERMS or --plan")
    show(report_data(config, terms, plan_id, out, dataset_id), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("plan_id")
@click.option("--out", type=_FILE, help="Write a page with plots here (HTML).")
@json_option
def report(config: Path, plan_id: str, out: Path | None, as_json: bool) -> None:
    """What came of a plan for CONFIG's hospital: its curve, confusion matrix and calibration on the
    hospital's own validation records, every hospital's accuracy, the privacy account, what the node
    gave, the lineage. Exact, so for the hospital alone. The agent may be running.
    """
    from client import pages
    from trainer.report import node as reports

    found = reports.report(config, plan_id)
    if out is not None:
        pages.write(out, reports.page(found))
    show(found if as_json else found.told(), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@json_option
def enclave(config: Path, as_json: bool) -> None:
    """What a plan says that has CONFIG's hospital attest by its node's enclave: what --json prints
    is one of a plan's `enclaves`.

    From a fresh report, and refused where the contracts would refuse it.
    """
    from chaincode.schema.enclaves import AMD_ROOTS
    from trainer.node.enclave import enclave_terms

    terms = enclave_terms(config)
    warn(
        "simulated: it protects nothing"
        if terms.simulated
        else f"the chain ends in AMD's root for {AMD_ROOTS[terms.root_sha256]}"
    )
    show(terms, as_json=as_json)


@node.command()
@click.argument("records", type=click.Path(path_type=Path, exists=True))
@click.argument("terms", type=_FILE)
@json_option
def expectation(records: Path, terms: Path, as_json: bool) -> None:
    """What other records should look like, if like RECORDS: for a plan's terms, as `expected`.

    RECORDS must be public or simulated: a plan is on the ledger.
    """
    from trainer.data.columns import expectation as made
    from trainer.data.files import load
    from trainer.node.main import read_terms

    wanted = read_terms(terms)
    show(made(load(records, wanted), wanted), as_json=as_json)


@node.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("terms", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="The CSV file to write.")
@json_option
def fhir(source: Path, terms: Path, out: Path, as_json: bool) -> None:
    """Make a table of the FHIR R4 resources in SOURCE: Bundles (.json), resources one a line
    (.ndjson), or a folder of them.

    TERMS as for `data`: they say what each column is made of. Refused where a resource is not
    valid, a unit is another, or a patient lacks what the plan has no value for.
    """
    from trainer.data.fhir import write
    from trainer.node.main import read_terms

    show(write(source, read_terms(terms), out), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("terms", type=_FILE)
@_DATASET
@json_option
def statistics(config: Path, terms: Path, dataset_id: str | None, as_json: bool) -> None:
    """Classes, ranges and means of CONFIG's records: exact, so for the hospital alone.

    What --json prints, `medfabric admin private keep statistics` takes. TERMS as for `data`.
    """
    from trainer.node.main import data_statistics

    show(data_statistics(config, terms, dataset_id), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("terms", type=_FILE)
@click.argument("release_id")
@click.option("--epsilon", type=POSITIVE, required=True, help="What it costs the dataset.")
@click.option("--out", type=_FILE, help="Where the table goes, once it is charged (CSV).")
@_DATASET
@json_option
def release(
    config: Path,
    terms: Path,
    release_id: str,
    epsilon: float,
    out: Path | None,
    dataset_id: str | None,
    as_json: bool,
) -> None:
    """Make a synthetic table RELEASE_ID of CONFIG's training records, under differential privacy,
    while its agent is stopped. TERMS as for `data`.

    The table stays here at first. What --json prints, `medfabric admin dataset release` takes and
    charges to the dataset's budget; the same command gives the table out then. It is made once.
    """
    from trainer.node.main import release_data

    micro = round(epsilon * 1e6)
    show(release_data(config, terms, release_id, micro, out, dataset_id), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("folder", type=_FOLDER)
@click.option("--for", "recipients", type=_FILE, multiple=True, help="A node's certificate.")
@_DATASET
@json_option
def seal(
    config: Path,
    folder: Path,
    recipients: tuple[Path, ...],
    dataset_id: str | None,
    as_json: bool,
) -> None:
    """Encrypt CONFIG's dataset into a new FOLDER, for this node and others.

    `medfabric node data` comes first. Name FOLDER as the data's file in CONFIG then, and delete the
    records that are not encrypted.
    """
    from trainer.node.main import seal_data

    show(seal_data(config, folder, recipients, dataset_id), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("folder", type=_FOLDER)
@click.option("--for", "recipients", type=_FILE, multiple=True, help="A node's certificate.")
@click.option("--new-key", is_flag=True, help="Encrypt anew: nobody else's key opens it then.")
@json_option
def reseal(
    config: Path, folder: Path, recipients: tuple[Path, ...], new_key: bool, as_json: bool
) -> None:
    """Seal FOLDER for further nodes; with --new-key, for these alone, as after a revocation."""
    from trainer.node.main import reseal_data

    show(reseal_data(config, folder, recipients, new_key=new_key), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("plan_id")
@json_option
def join(config: Path, plan_id: str, as_json: bool) -> None:
    """Take a place in a plan that admits nodes by rule, with CONFIG's first dataset of the
    plan's application."""
    from trainer.node.main import join_plan

    show(join_plan(config, plan_id), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("plan_id")
@json_option
def leave(config: Path, plan_id: str, as_json: bool) -> None:
    """Give CONFIG's place in a plan back; a round that is open still counts on the node."""
    from trainer.node.main import leave_plan

    show(leave_plan(config, plan_id), as_json=as_json)


@node.command("rest")
@click.argument("config", type=_FILE)
@click.option("--reason", default="", help="Stays on the ledger.")
@json_option
def rest_node(config: Path, reason: str, as_json: bool) -> None:
    """Let CONFIG's node rest: it takes no part in rounds that open from now on."""
    from trainer.node.main import rest

    show(rest(config, wake=False, reason=reason), as_json=as_json)


@node.command("wake")
@click.argument("config", type=_FILE)
@json_option
def wake_node(config: Path, as_json: bool) -> None:
    """End the rest of CONFIG's node."""
    from trainer.node.main import rest

    show(rest(config, wake=True, reason=""), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("architecture")
@click.option(
    "settings", "--set", multiple=True, metavar="NAME=NUMBER", help="A setting; once for each."
)
@json_option
def base(config: Path, architecture: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Put a base model of ARCHITECTURE into CONFIG's content store; prints a plan's model terms.

    `medfabric node check-model` says of an architecture what it needs.
    """
    from trainer.node.main import base_model_terms

    show(base_model_terms(config, architecture, numbers("--set", settings)), as_json=as_json)


@node.command()
@click.argument("config", type=_FILE)
@click.argument("address")
@click.argument("model_id")
@click.option("--out", type=_FILE, required=True, help="Where the personal model goes.")
@click.option("--layer", "layers", multiple=True, help="Train this layer alone; once for each.")
@click.option("--steps", type=click.IntRange(1), help="Other than the plan's.")
@click.option("--batch", type=click.IntRange(1), help="Other than the plan's.")
@click.option("--rate", type=click.FloatRange(1e-6, 1000), help="Learning rate.")
@click.option(
    "--share",
    "epsilon",
    type=click.FloatRange(1e-3, 1000),
    help="Train with differential privacy of this epsilon, and publish an enciphered copy.",
)
@click.option("--key-file", type=_FILE, help="Where to keep the content key of a shared model.")
@click.option("--tell-gain", is_flag=True, help="Record on the ledger what the model gained.")
@json_option
def personalise(
    config: Path,
    address: str,
    model_id: str,
    out: Path,
    layers: tuple[str, ...],
    steps: int | None,
    batch: int | None,
    rate: float | None,
    epsilon: float | None,
    key_file: Path | None,
    tell_gain: bool,
    as_json: bool,
) -> None:
    """Train the global model at ADDRESS on for CONFIG's own patients, while its agent is stopped.

    The model stays here, but for --share; the ledger records MODEL_ID, its hash and its parent.
    Prints what it gained on this hospital's test records, or where it has none on its validation
    records.
    """
    from trainer.node.main import personalise_model
    from trainer.node.personal import Wish

    if (epsilon is None) is not (key_file is None):
        raise click.UsageError("--share and --key-file go together")

    micro = None if rate is None else round(rate * 1e6)
    given = {"steps": steps, "batch_size": batch, "learning_rate_micro": micro}
    changes = {name: value for name, value in given.items() if value is not None}
    wish = Wish(model_id, out, epsilon, key_file, tell_gain)
    made = personalise_model(config, address, wish, layers, changes)
    show(vars(made), as_json=as_json)


@node.command()
@json_option
def measure(as_json: bool) -> None:
    """Say what this machine can give to training: memory, cores, accelerator, energy.

    By it an admin chooses the class of device with which the node is registered, and a plan's
    proposer the batch and the steps of the class.
    """
    from trainer.node.machine import measure as measured

    show(vars(measured()), as_json=as_json)


@node.command("check-model")
@click.argument("architecture")
@click.option(
    "settings", "--set", multiple=True, metavar="NAME=NUMBER", help="A setting; once for each."
)
@click.option("--classes", type=click.IntRange(2), help="Where it is no setting of the model's.")
@click.option("--layer", "layers", multiple=True, help="Train this layer alone; once for each.")
@json_option
def check_model(
    architecture: str,
    settings: tuple[str, ...],
    classes: int | None,
    layers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say which layers of ARCHITECTURE differential privacy or encryption cannot take, and what to
    put instead. Ends with exit code 7 where training would be refused.

    Names its layers, and the bytes of an update of those that are trained (all, without --layer) in
    a plan of four hospitals: encrypted, and masked by secret sharing.
    """
    from trainer.models.check import refuse
    from trainer.node.models import check_architecture

    found, facts = check_architecture(architecture, numbers("--set", settings), classes, layers)
    show({**facts, "findings": [vars(finding) for finding in found]}, as_json=as_json)
    refuse(architecture, found)


@node.command()
@click.argument("name")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Others repeat by it."
)
@click.option(
    "--consortia",
    type=click.IntRange(20),
    default=400,
    show_default=True,
    help="How many to simulate for training; half as many more set the flag.",
)
@click.option("--out", type=_FILE, required=True, help="Where to write its terms (JSON).")
@json_option
def classifier(name: str, seed: int, consortia: int, out: Path, as_json: bool) -> None:
    """Train the classifier NAME of malicious nodes on simulated histories, for `admin classifier`.

    The same seed and number give the same bytes: whoever votes on a classifier can repeat it.
    """
    from trainer.reputation.export import write

    show(write(name, seed, consortia, out), as_json=as_json)


@node.command()
@click.argument("application")
@click.option("--epsilon", "epsilons", type=POSITIVE, multiple=True, help="Once for each.")
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs each."
)
@click.option(
    "--hospitals",
    type=click.IntRange(2, 64),
    default=4,
    show_default=True,
    help="Among which the records are split.",
)
@click.option("--rounds", type=click.IntRange(1), help="Else those that it is tuned for.")
@json_option
def utility(
    application: str,
    epsilons: tuple[float, ...],
    seeds: int,
    hospitals: int,
    rounds: int | None,
    as_json: bool,
) -> None:
    """Train APPLICATION's plan at several epsilons on its own records, in this process.

    What --json prints, `medfabric admin budget patients --utility` draws. Nothing touches a ledger.
    """
    from trainer.utility import measure

    show(
        measure(application, epsilons or (1.0, 3.0, 8.0), seeds, hospitals, rounds), as_json=as_json
    )


@node.command("sum-study")
@click.argument("config", type=_FILE)
@click.argument("study_id")
@click.option(
    "--select",
    "ranges",
    multiple=True,
    required=True,
    metavar="DATASET:FIRST-LAST",
    help="Records by place, from FIRST on and before LAST; once for each range, in order.",
)
@json_option
def sum_study(config: Path, study_id: str, ranges: tuple[str, ...], as_json: bool) -> None:
    """Choose which records a study is of, as its holder, and add them in the cipher domain.

    Once; while the agent is stopped. A study that leaves no choice is summed by the agent.
    """
    from trainer.node.main import sum_study as summed

    show(summed(config, study_id, [_range(one) for one in ranges]), as_json=as_json)


def _range(given: str) -> tuple[str, int, int]:
    dataset_id, _, places = given.rpartition(":")
    first, _, last = places.partition("-")
    if not (dataset_id and first.isdigit() and last.isdigit()):
        raise click.BadParameter("write DATASET:FIRST-LAST", param_hint="--select")
    return dataset_id, int(first), int(last)


node.add_command(infer)
