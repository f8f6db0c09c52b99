"""``medfabric audit``: what an auditor needs, with neither torch nor Fabric's programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.output import Exit, json_option, show
from client.cli.session import connection_of, connection_option, identity_option
from client.cli.tracing import tracing, write_prov

if TYPE_CHECKING:
    from client.audit.proof import Ledger, Verdict

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_BLOCKS = click.argument("folder", type=_FOLDER)
_GENESIS = click.option(
    "--genesis",
    type=_FILE,
    required=True,
    help="The channel's genesis block, obtained from a party that you trust.",
)
_HEIGHT = click.option("--height", type=int, help="How many blocks there must be, if known.")


@click.group()
def audit() -> None:
    """Prove from the ledger's blocks what was trained, by whom, on what."""


@audit.command()
@_BLOCKS
@identity_option
@connection_option
@json_option
def fetch(folder: Path, identity: Path, connection: Path | None, as_json: bool) -> None:
    """Bring the blocks that FOLDER lacks from a hospital's peer."""
    from client import blocks
    from client.connection import Connection
    from client.identity import Identity

    found = Connection.load(connection_of(identity, connection))
    height = blocks.fetch(found, Identity.load(identity), folder)
    show({"folder": str(folder), "blocks": height}, as_json=as_json)


@audit.command()
@_BLOCKS
@_GENESIS
@_HEIGHT
@click.option("--model", type=_FILE, help="A model file that must be on the ledger.")
@json_option
def verify(
    folder: Path, genesis: Path, height: int | None, model: Path | None, as_json: bool
) -> None:
    """Prove the blocks in FOLDER from the genesis block; exit code 5 where they do not hold."""
    verdict, ledger = _prove(folder, genesis, height)
    findings = [vars(finding) for finding in verdict.findings]
    if verdict.proven:
        findings += _deeper(ledger, model)
    result = {
        "verdict": "refuted" if findings else "proven",
        "blocks": verdict.blocks,
        "transactions": verdict.transactions,
        "valid": verdict.valid,
        "sha256": verdict.sha256,
        "findings": findings,
    }
    show(result, as_json=as_json)
    if findings:
        sys.exit(Exit.UNVERIFIED)


@audit.command()
@_BLOCKS
@click.argument("model")
@_GENESIS
@_HEIGHT
@json_option
def lineage(folder: Path, model: str, genesis: Path, height: int | None, as_json: bool) -> None:
    """Tell how MODEL (an address, or a file) came to be, from proven blocks alone."""
    from client.audit import lineage as lineages

    verdict, ledger = _prove(folder, genesis, height)
    if not verdict.proven:
        show({"verdict": "refuted", "findings": [vars(f) for f in verdict.findings]})
        sys.exit(Exit.UNVERIFIED)
    address = lineages.address_of(Path(model)) if Path(model).exists() else model
    found = lineages.of(ledger, address)
    if as_json:
        show(found, as_json=True)
    else:
        for line in lineages.text(found).splitlines():
            show(line)


@audit.command("model-card")
@_BLOCKS
@click.argument("model")
@_GENESIS
@_HEIGHT
@click.option("--out", type=_FILE, help="Write it here (Markdown) instead.")
@json_option
def model_card(
    folder: Path, model: str, genesis: Path, height: int | None, out: Path | None, as_json: bool
) -> None:
    """Make the model card of MODEL (an address, or a file) from proven blocks alone: each line with
    the block and the transaction that it follows from."""
    from client import pages
    from client.audit import card as cards
    from client.audit import lineage as lineages

    verdict, ledger = _prove(folder, genesis, height)
    if not verdict.proven:
        show({"verdict": "refuted", "findings": [vars(f) for f in verdict.findings]})
        sys.exit(Exit.UNVERIFIED)
    address = lineages.address_of(Path(model)) if Path(model).exists() else model
    card = cards.of(ledger, lineages.of(ledger, address))
    if out is not None:
        pages.write(out, cards.markdown(card))
    if as_json or out is not None:
        show(card if as_json else {"file": str(out)}, as_json=as_json)
    else:
        click.echo(cards.markdown(card))


@audit.command("export")
@_BLOCKS
@click.argument("name")
@_GENESIS
@_HEIGHT
@click.option("--descendants", is_flag=True, help="Also what came of it.")
@click.option("--out", type=_FILE, required=True, help="Where to write the document.")
@json_option
def export(
    folder: Path,
    name: str,
    genesis: Path,
    height: int | None,
    descendants: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Write as PROV-JSON where NAME came from, from proven blocks alone (`audit prov` asks the
    ledger)."""
    from client.audit.graph import Replay
    from client.provenance import walk

    verdict, ledger = _prove(folder, genesis, height)
    if not verdict.proven:
        show({"verdict": "refuted", "findings": [vars(f) for f in verdict.findings]})
        sys.exit(Exit.UNVERIFIED)
    graph = walk(Replay(ledger), name, descendants=descendants)
    show(write_prov(graph, out), as_json=as_json)


for command in tracing.commands.values():
    audit.add_command(command)


def _prove(folder: Path, genesis: Path, height: int | None) -> tuple[Verdict, Ledger]:
    from chaincode.schema.errors import Code, MedFabricError
    from client.audit import proof

    try:
        anchor = genesis.read_bytes()
    except OSError as error:
        raise MedFabricError(
            Code.GENESIS_OTHER, f"cannot read {genesis}: {error.strerror}; name the genesis block"
        ) from None
    return proof.prove(folder, anchor, height)


def _deeper(ledger: Ledger, model: Path | None) -> list[dict[str, Any]]:
    from chaincode.schema.errors import MedFabricError
    from client.audit import graph, handovers, reputations, rounds, studies
    from client.audit import lineage as lineages

    findings = [vars(finding) for finding in lineages.check_privacy(ledger)]
    findings += [vars(finding) for finding in graph.check(ledger)]
    findings += [vars(finding) for finding in reputations.check(ledger)]
    findings += [vars(finding) for finding in rounds.check(ledger)]
    findings += [vars(finding) for finding in handovers.check(ledger)]
    findings += [vars(finding) for finding in studies.check(ledger)]
    if model is not None:
        try:
            lineages.of(ledger, lineages.address_of(model))
        except MedFabricError as error:
            findings.append({"code": error.code, "message": error.message})
    return findings
