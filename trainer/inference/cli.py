"""``medfabric node infer``: predictions on encrypted images."""

from __future__ import annotations

from pathlib import Path

import click

from client.cli.output import json_option, show

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def infer() -> None:
    """Ask a published model about images that its server never sees; lend a model that stays
    unseen."""


@infer.command()
@click.argument("config", type=_FILE)
@click.argument("address")
@click.argument("images", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="Where to keep what opens the answer.")
@click.option("--out", type=_FILE, required=True, help="Where to write the query.")
@json_option
def ask(config: Path, address: str, images: Path, key: Path, out: Path, as_json: bool) -> None:
    """Encrypt IMAGES (NPZ: `features`, in the plan's units) for the model with this ADDRESS."""
    from trainer.inference.commands import ask_privately

    show(ask_privately(config, address, images, key, out), as_json=as_json)


@infer.command()
@click.argument("config", type=_FILE)
@click.argument("address")
@click.argument("query", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Where to write the answer.")
@json_option
def answer(config: Path, address: str, query: Path, out: Path, as_json: bool) -> None:
    """Answer the encrypted QUERY by the model with this ledger ADDRESS, without a key."""
    from trainer.inference.commands import answer_privately

    show(answer_privately(config, address, query, out), as_json=as_json)


@infer.command("open")
@click.argument("config", type=_FILE)
@click.argument("answer", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="What `ask` kept.")
@json_option
def open_(config: Path, answer: Path, key: Path, as_json: bool) -> None:
    """Decrypt an ANSWER to one's own query."""
    from trainer.inference.commands import open_privately

    show(open_privately(config, key, answer), as_json=as_json)


@infer.command("lend")
@click.argument("config", type=_FILE)
@click.argument("plan_id")
@click.argument("model", type=_FILE)
@click.option("--to", "borrower", required=True, help="The hospital that it is lent to (MSP id).")
@click.option("--key", type=_FILE, required=True, help="Where to keep what opens the scores.")
@click.option("--out", type=_FILE, required=True, help="Where to write the encrypted model.")
@json_option
def lend_(
    config: Path, plan_id: str, model: Path, borrower: str, key: Path, out: Path, as_json: bool
) -> None:
    """Encrypt a MODEL of PLAN_ID's architecture, for another hospital to score its records by. The
    ledger has who lent it to whom, and hashes."""
    from trainer.inference.loans import lend_model

    show(lend_model(config, plan_id, model, borrower, key, out), as_json=as_json)


@infer.command("score")
@click.argument("config", type=_FILE)
@click.argument("plan_id")
@click.argument("lent", type=_FILE)
@click.argument("records", type=_FILE)
@click.option("--out", type=_FILE, required=True, help="Where to write the encrypted scores.")
@json_option
def score_(config: Path, plan_id: str, lent: Path, records: Path, out: Path, as_json: bool) -> None:
    """Score RECORDS (NPZ: `features`, in the plan's units) by a model that was LENT encrypted."""
    from trainer.inference.loans import score_records

    show(score_records(config, plan_id, lent, records, out), as_json=as_json)


@infer.command("read")
@click.argument("config", type=_FILE)
@click.argument("scores", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="What `lend` kept.")
@json_option
def read_(config: Path, scores: Path, key: Path, as_json: bool) -> None:
    """Decrypt the SCORES of a model that one lent, for which a node stands on the ledger."""
    from trainer.inference.loans import read_scores

    show(read_scores(config, key, scores), as_json=as_json)
