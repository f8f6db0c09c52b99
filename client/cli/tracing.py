"""Queries of the provenance graph on the ledger, as commands of ``medfabric audit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, ledger_command

if TYPE_CHECKING:
    from chaincode.schema.provenance import Act
    from client.consortium import Consortium
    from client.provenance import Graph, LedgerSource

_ACCESS = click.option(
    "--access", metavar="ID", help="A recorded access to other hospitals' lineage."
)


@click.group()
def tracing() -> None:
    """Ask the ledger who came from what."""


@ledger_command(tracing, "access")
@click.argument("hospitals", nargs=-1, required=True)
@click.option("--purpose", required=True, help="Why; it stays on the ledger.")
def access(consortium: Consortium, hospitals: tuple[str, ...], purpose: str) -> Any:
    """Record that you will read the lineage of HOSPITALS (MSP ids), and why.

    Prints the access's ID, which queries take for a quarter of an hour.
    """
    opened = consortium.provenance.open_access(hospitals=hospitals, purpose=purpose)
    return {"access": opened.access, "until": opened.accesses[0].until}


@ledger_command(tracing, "accesses")
@click.argument("hospital")
def accesses(consortium: Consortium, hospital: str) -> Any:
    """List who recorded an access to a HOSPITAL's lineage (MSP id), and why."""
    bookmark, found = "", []
    while True:
        page = consortium.provenance.accesses(hospital=hospital, bookmark=bookmark)
        found += [
            {
                "reader": f"{one.node_id} of {one.msp_id}",
                "purpose": one.purpose,
                "opened": one.opened_at,
                "until": one.until,
            }
            for one in page.accesses
        ]
        if not (bookmark := page.bookmark):
            return found


@ledger_command(tracing, "ancestors")
@click.argument("name")
@_ACCESS
def ancestors(consortium: Consortium, name: str, access: str | None) -> Any:
    """Tell what NAME (model/ADDRESS, round/PLAN/00001, ...) came from, all the way back."""
    from client.provenance import walk

    return _told(walk(_source(consortium, access), name))


@ledger_command(tracing, "descendants")
@click.argument("name")
@_ACCESS
def descendants(consortium: Consortium, name: str, access: str | None) -> Any:
    """Tell what came of NAME, all the way down."""
    from client.provenance import walk

    return _told(walk(_source(consortium, access), name, ancestors=False, descendants=True))


@ledger_command(tracing, "models")
@click.argument("dataset_id")
@_ACCESS
def models(consortium: Consortium, dataset_id: str, access: str | None) -> Any:
    """List the models that learned from a dataset."""
    from client.provenance import models_from

    return [{"address": a} for a in models_from(_source(consortium, access), dataset_id)]


@ledger_command(tracing, "signed")
@click.argument("msp_id")
@click.argument("node_id")
@_ACCESS
def signed(consortium: Consortium, msp_id: str, node_id: str, access: str | None) -> Any:
    """List everything that a node (or an admin) of a hospital ever signed."""
    bookmark, found = "", []
    while True:
        page = consortium.provenance.signed(
            msp_id=msp_id, node_id=node_id, access=access, bookmark=bookmark
        )
        found += [_row(act) for act in page.acts]
        if not (bookmark := page.bookmark):
            return found


@ledger_command(tracing, "prov")
@click.argument("name")
@click.option("--descendants", is_flag=True, help="Also what came of it.")
@click.option("--out", type=FILE, required=True, help="Where to write the document.")
@_ACCESS
def prov(
    consortium: Consortium, name: str, descendants: bool, out: Path, access: str | None
) -> Any:
    """Write as PROV-JSON where NAME came from, as one's peer tells it (`audit export` proves it
    from blocks)."""
    from client.provenance import walk

    graph = walk(_source(consortium, access), name, descendants=descendants)
    return write_prov(graph, out)


def write_prov(graph: Graph, out: Path) -> dict[str, Any]:
    """Write a graph's PROV-JSON document, and say what is in it.

    Raises:
        MedFabricError: ``FILE_UNUSABLE`` where it cannot be written.
    """
    from client.files import write_whole
    from client.provenance import prov_json

    try:
        write_whole(out, json.dumps(prov_json(graph), indent=1, ensure_ascii=False).encode())
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot write {out}: {error.strerror}; name another file"
        ) from None
    return {
        "file": str(out),
        "elements": len(graph.elements),
        "relations": len(graph.edges),
        "transactions": len(graph.acts),
    }


def _source(consortium: Consortium, access: str | None) -> LedgerSource:
    from client.provenance import LedgerSource

    return LedgerSource(consortium, access)


def _told(graph: Graph) -> dict[str, Any]:
    edges = sorted(graph.edges, key=lambda e: (e.source, e.relation, e.target))
    return {
        "elements": [
            {"name": name, "is": element.type.value, "says": element.says}
            for name, element in sorted(graph.elements.items())
        ],
        "relations": [
            {"from": e.source, "relation": e.relation.value, "to": e.target} for e in edges
        ],
        "transactions": [
            _row(act) for act in sorted(graph.acts.values(), key=lambda act: (act.at, act.tx_id))
        ],
    }


def _row(act: Act) -> dict[str, Any]:
    return {
        "at": act.at,
        "transaction": act.tx_id,
        "what": act.function,
        "signer": f"{act.node_id} of {act.msp_id}",
        "wrote": ", ".join(act.wrote),
    }
