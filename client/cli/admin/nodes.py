"""The hospital's nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.cli.session import FOLDER, ledger_command

if TYPE_CHECKING:
    from client.consortium import Consortium


@click.group()
def node() -> None:
    """Register the hospital's nodes; suspend, resume and revoke them."""


@ledger_command(node, "register")
@click.argument("node_identity", type=FOLDER)
@click.option("--device", default="server", show_default=True, help="What machine it is.")
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
def list_nodes(consortium: Consortium) -> Any:
    """List the nodes of all hospitals."""
    from client.consortium import every

    rows = [found for page in every(consortium.nodes.page) for found in page.nodes]
    return [
        {
            "hospital": found.msp_id,
            "node": found.node_id,
            "roles": ",".join(found.roles),
            "device": found.device,
            "status": found.status,
            "reason": found.reason,
        }
        for found in rows
    ]
