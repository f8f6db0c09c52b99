"""The hospital's nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.session import FOLDER, ledger_command

if TYPE_CHECKING:
    from chaincode.schema.consortium import Node
    from client.consortium import Consortium


@click.group()
def node() -> None:
    """Register the hospital's nodes; renew, rest, suspend, resume and revoke them."""


@ledger_command(node, "register")
@click.argument("node_identity", type=FOLDER)
@click.option("--device", default="server", show_default=True, help="Its class of machine.")
@click.option("--dynamic", is_flag=True, help="The node comes and goes.")
def register(consortium: Consortium, node_identity: Path, device: str, dynamic: bool) -> Any:
    """Register the node whose identity is in NODE_IDENTITY, with its name, roles and key."""
    from client.identity import Identity

    identity = Identity.load(node_identity)
    return consortium.nodes.register(
        node_id=identity.name,
        roles=identity.roles,
        public_key_sha256=identity.public_key_sha256,
        device=device,
        dynamic=dynamic,
    )


@ledger_command(node, "renew")
@click.argument("node_identity", type=FOLDER)
@click.option("--reason", default="", help="Stays on the ledger.")
def renew(consortium: Consortium, node_identity: Path, reason: str) -> Any:
    """Bind a node to the key of its new identity in NODE_IDENTITY; the old key is void."""
    from client.identity import Identity

    identity = Identity.load(node_identity)
    return consortium.nodes.renew(
        node_id=identity.name, public_key_sha256=identity.public_key_sha256, reason=reason
    )


@ledger_command(node, "rest")
@click.argument("node_id")
@click.option("--reason", default="", help="Stays on the ledger.")
def rest(consortium: Consortium, node_id: str, reason: str) -> Any:
    """Let a node rest: it takes no part in rounds that open from now on."""
    return consortium.nodes.rest(node_id=node_id, reason=reason)


@ledger_command(node, "wake")
@click.argument("node_id")
@click.option("--reason", default="", help="Stays on the ledger.")
def wake(consortium: Consortium, node_id: str, reason: str) -> Any:
    """End a node's rest."""
    return consortium.nodes.wake(node_id=node_id, reason=reason)


@ledger_command(node, "leave")
@click.argument("node_id")
@click.option("--reason", default="", help="Stays on the ledger.")
def leave(consortium: Consortium, node_id: str, reason: str) -> Any:
    """Let a node leave; it can be registered again."""
    return consortium.nodes.leave(node_id=node_id, reason=reason)


@ledger_command(node, "history")
@click.argument("msp_id")
@click.argument("node_id")
def history(consortium: Consortium, msp_id: str, node_id: str) -> Any:
    """Show every status and key that a node of the hospital MSP_ID ever had."""
    from client.consortium import every

    pages = every(consortium.nodes.history, msp_id=msp_id, node_id=node_id)
    return [
        {
            "number": change.number,
            "status": change.status,
            "key": change.public_key_sha256,
            "at": change.changed_at,
            "by": change.changed_by,
            "reason": change.reason,
        }
        for page in pages
        for change in page.changes
    ]


@ledger_command(node, "suspend")
@click.argument("node_id")
@click.option("--reason", default="", help="Stays on the ledger.")
def suspend(consortium: Consortium, node_id: str, reason: str) -> Any:
    """Suspend a node of one's hospital; it can be resumed."""
    return consortium.nodes.suspend(node_id=node_id, reason=reason)


@ledger_command(node, "resume")
@click.argument("node_id")
@click.option("--reason", default="", help="Stays on the ledger.")
def resume(consortium: Consortium, node_id: str, reason: str) -> Any:
    """Resume a suspended node."""
    return consortium.nodes.resume(node_id=node_id, reason=reason)


@ledger_command(node, "revoke")
@click.argument("node_id")
@click.option("--reason", required=True, help="Stays on the ledger.")
def revoke(consortium: Consortium, node_id: str, reason: str) -> Any:
    """Revoke a node for good."""
    return consortium.nodes.revoke(node_id=node_id, reason=reason)


@ledger_command(node, "list")
@click.option("--hospital", metavar="MSP", help="Nodes of this hospital only.")
def list_nodes(consortium: Consortium, hospital: str | None) -> Any:
    """List nodes, of all hospitals or of one, and by which complaint one is suspended."""
    from client.consortium import every

    pages = list(every(consortium.nodes.page, msp_id=hospital))
    rows = [found for page in pages for found in page.nodes]
    suspended = {(s.msp_id, s.node_id): s for page in pages for s in page.suspensions}

    def by_vote(node: Node) -> dict[str, Any]:
        found = suspended.get((node.msp_id, node.node_id))
        return {"suspended by": found and found.complaint_id, "until": found and found.until}

    return [
        {
            "hospital": found.msp_id,
            "node": found.node_id,
            "roles": ",".join(found.roles),
            "device": found.device,
            "dynamic": found.dynamic,
            "status": found.status,
            "reason": found.reason,
            **(by_vote(found) if suspended else {}),
        }
        for found in rows
    ]
