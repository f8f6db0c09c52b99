"""Local models shared with chosen nodes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chaincode.schema.errors import Code, MedFabricError
from client.cli.session import FILE, ledger_command
from client.cli.stores import content_store, store_options

if TYPE_CHECKING:
    from client.consortium import Consortium

_DAY = 24 * 3600


@click.group()
def sharing() -> None:
    """Share the hospital's own models with chosen nodes, enciphered."""


@ledger_command(sharing, "publish")
@click.argument("file", type=FILE)
@click.argument("model_id")
@click.option(
    "--kind",
    type=click.Choice(["personal", "encrypted"]),
    default="personal",
    show_default=True,
    help="A model trained on for one's own patients, or one for predictions on ciphertexts.",
)
@click.option("--base", metavar="ADDRESS", help="The global model that it was trained on from.")
@click.option(
    "--trained",
    type=FILE,
    help="JSON of a personal model's training with differential privacy: dataset_id, batch_size, "
    "noise_multiplier_micro, steps.",
)
@click.option("--key-file", type=FILE, required=True, help="Where to keep its content key.")
@store_options
def publish(
    consortium: Consortium,
    file: Path,
    model_id: str,
    kind: str,
    base: str | None,
    trained: Path | None,
    key_file: Path,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
) -> Any:
    """Store the hospital's own model in FILE enciphered and publish its record as MODEL_ID.

    Nobody can read it until it is granted to them. A personal model is charged to the privacy
    account of the dataset that it was trained on.
    """
    from pydantic import ValidationError

    from chaincode.schema.datasets import LocalTraining
    from chaincode.schema.sharing import LocalKind
    from client import sharing as local
    from client.files import write_whole

    content = content_store(store, ipfs, secret_file)
    if key_file.exists():
        raise _unusable(key_file, "it exists")
    try:
        whole = file.read_bytes()
        told = LocalTraining.model_validate_json(trained.read_bytes()) if trained else None
        record, key = local.publish(
            consortium,
            content,
            model_id,
            whole,
            kind=LocalKind(kind),
            base_sha256=base,
            trained=told,
        )
        write_whole(key_file, key.hex().encode(), mode=0o600)
    except OSError as error:
        raise _unusable(Path(str(error.filename or key_file)), str(error.strerror)) from None
    except ValidationError:
        assert trained is not None
        raise _unusable(trained, "it tells no training") from None
    return record


@ledger_command(sharing, "gains")
def gains(consortium: Consortium) -> Any:
    """What hospitals tell of how their own models do beside the global ones."""
    from client.consortium import every

    return {
        "gains": [
            {
                "model": f"local-model/{one.msp_id}/{one.model_id}",
                "base": one.base_sha256,
                **one.gain.model_dump(mode="json"),
            }
            for page in every(consortium.sharing.gains)
            for one in page.gains
        ]
    }


@ledger_command(sharing, "grant")
@click.argument("model_id")
@click.argument("msp_id")
@click.argument("node_id")
@click.argument("certificate", type=FILE)
@click.option("--key-file", type=FILE, required=True, help="The model's content key.")
@click.option(
    "--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="How long."
)
@store_options
def grant(
    consortium: Consortium,
    model_id: str,
    msp_id: str,
    node_id: str,
    certificate: Path,
    key_file: Path,
    days: int,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
) -> Any:
    """Let node NODE_ID of hospital MSP_ID, whose CERTIFICATE that is, fetch the model."""
    from client import sharing as local

    content = content_store(store, ipfs, secret_file)
    try:
        key, pem = bytes.fromhex(key_file.read_text().strip()), certificate.read_bytes()
    except OSError as error:
        raise _unusable(Path(str(error.filename)), str(error.strerror)) from None
    except ValueError:
        raise _unusable(key_file, "it holds no content key") from None
    return local.grant(
        consortium,
        content,
        model_id,
        key,
        recipient=(msp_id, node_id),
        certificate_pem=pem,
        until=int(time.time()) + days * _DAY,
    )


@ledger_command(sharing, "revoke")
@click.argument("model_id")
@click.argument("msp_id")
@click.argument("node_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def revoke(consortium: Consortium, model_id: str, msp_id: str, node_id: str, reason: str) -> Any:
    """Take a grant back. What was fetched already stays fetched."""
    return consortium.sharing.revoke(
        model_id=model_id, recipient_msp=msp_id, recipient_node=node_id, reason=reason
    )


@ledger_command(sharing, "receive")
@click.argument("msp_id")
@click.argument("model_id")
@click.option("--out", type=FILE, required=True, help="Where to write the model.")
@store_options
def receive(
    consortium: Consortium,
    msp_id: str,
    model_id: str,
    out: Path,
    store: Path | None,
    ipfs: str | None,
    secret_file: Path | None,
) -> Any:
    """Fetch a model that hospital MSP_ID granted to this identity; the ledger records it."""
    from client import sharing as local
    from client.files import write_whole

    content = content_store(store, ipfs, secret_file)
    whole = local.receive(consortium, content, msp_id, model_id)
    try:
        write_whole(out, whole, mode=0o600)
    except OSError as error:
        raise _unusable(out, str(error.strerror)) from None
    return {"file": str(out), "bytes": len(whole)}


@ledger_command(sharing, "receipts")
@click.argument("model_id")
def receipts(consortium: Consortium, model_id: str) -> Any:
    """List to whom a model of one's own was granted, and who fetched it when."""
    grants, mark = [], ""
    while True:
        granted = consortium.sharing.grants(model_id=model_id, bookmark=mark)
        grants += [
            {"node": f"{g.recipient_node} of {g.recipient_msp}", "status": g.status.value}
            for g in granted.grants
        ]
        if not (mark := granted.bookmark):
            break
    fetched, mark = [], ""
    while True:
        signed = consortium.sharing.receipts(model_id=model_id, bookmark=mark)
        fetched += [
            {"node": f"{r.recipient_node} of {r.recipient_msp}", "at": r.received_at}
            for r in signed.receipts
        ]
        if not (mark := signed.bookmark):
            break
    return {"grants": grants, "fetched": sorted(fetched, key=lambda row: row["at"])}


def _unusable(file: Path, why: str) -> MedFabricError:
    return MedFabricError(Code.FILE_UNUSABLE, f"{file}: {why}; name another file")
