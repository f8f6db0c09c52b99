"""Published models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, FOLDER, ledger_command

if TYPE_CHECKING:
    from client.consortium import Consortium
    from client.content import ContentStore


@click.group()
def model() -> None:
    """Find published models and download them by their ledger address."""


@ledger_command(model, "list")
def list_models(consortium: Consortium) -> Any:
    """List all published models."""
    from client.consortium import every

    return [
        {
            "address": found.model.sha256,
            "plan": found.plan_id,
            "round": found.round,
            "accuracy": round(found.correct / found.total, 4) if found.total else None,
            "bytes": found.model.size_bytes,
        }
        for page in every(consortium.models.page)
        for found in page.models
    ]


@ledger_command(model, "show")
@click.argument("address")
def show_model(consortium: Consortium, address: str) -> Any:
    """Show a model's record: parents, aggregate, metrics."""
    return consortium.models.get(sha256=address)


@ledger_command(model, "get")
@click.argument("address")
@click.option("--store", type=FOLDER, help="The folder that the hospitals share.")
@click.option("--ipfs", metavar="MULTIADDR", help="The RPC port of one's IPFS node.")
@click.option("--secret-file", type=FILE, help="The bearer secret of that port.")
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
    content = _store(store, ipfs, secret_file)
    found = consortium.models.get(sha256=address)
    if found.model.sha256 != address:
        raise MedFabricError(
            Code.CONTENT_TAMPERED, "the peer named another model; audit the hospital's peer"
        )
    content.get_file(found.model, out)
    return {"address": address, "file": str(out), "bytes": found.model.size_bytes}


def _store(store: Path | None, ipfs: str | None, secret_file: Path | None) -> ContentStore:
    if (store is None) == (ipfs is None):
        raise click.UsageError("name either --store DIR or --ipfs MULTIADDR")
    from client.content import DirectoryStore, KuboStore

    if store is not None:
        return DirectoryStore(store)
    if secret_file is None:
        raise click.UsageError("--ipfs needs --secret-file")
    try:
        secret = secret_file.read_text().strip()
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot read {secret_file}: {error.strerror}; name another file"
        ) from None
    return KuboStore(str(ipfs), secret)
