"""Nodes: registered, renewed, resting, suspended, revoked; every change is kept."""

from __future__ import annotations

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, states
from chaincode.schema.base import Role
from chaincode.schema.consortium import (
    Node,
    NodeArgs,
    NodePage,
    NodeStatus,
    NodeStatusArgs,
    RegisterNodeArgs,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.nodes import (
    EVERY_CHANGE,
    NodeChange,
    NodeChangePage,
    NodeHistoryArgs,
    NodeKey,
    NodePageArgs,
    RenewNodeArgs,
)
from chaincode.schema.reputation import Suspension


class NodeContract:
    """A node belongs to the hospital whose admin registers it; no argument can say otherwise."""

    @transaction("node:Register")
    def register(self, context: Context, args: RegisterNodeArgs) -> Node:
        known = context.find(keys.node(context.msp_id, args.node_id), Node)
        if known is not None and known.status is not NodeStatus.LEFT:
            raise MedFabricError(
                Code.EXISTS, f"node {args.node_id} is {known.status} already; name another"
            )
        if known is not None:
            states.check(states.NODE, known.status, NodeStatus.ACTIVE)
        if known is None or known.public_key_sha256 != args.public_key_sha256:
            _bind_key(context, args.node_id, args.public_key_sha256)
        node = Node(
            msp_id=context.msp_id,
            node_id=args.node_id,
            roles=tuple(sorted(set(args.roles))),
            dynamic=args.dynamic,
            device=args.device,
            public_key_sha256=args.public_key_sha256,
            status=NodeStatus.ACTIVE,
            reason="",
            registered_at=context.now,
            changed_at=context.now,
            changes=known.changes if known else 0,
        )
        return _change(context, node, "node.registered")

    @transaction("node:Renew")
    def renew(self, context: Context, args: RenewNodeArgs) -> Node:
        node = context.get(keys.node(context.msp_id, args.node_id), Node)
        if node.status in (NodeStatus.LEFT, NodeStatus.REVOKED):
            raise MedFabricError(
                Code.BAD_STATE, f"node {args.node_id} is {node.status}; register a node instead"
            )
        _bind_key(context, args.node_id, args.public_key_sha256)
        renewed = {"public_key_sha256": args.public_key_sha256, "reason": args.reason}
        return _change(context, node, "node.renewed", **renewed)

    @transaction("node:Rest")
    def rest(self, context: Context, args: NodeStatusArgs) -> Node:
        return _move(context, args, NodeStatus.RESTING, "node.resting")

    @transaction("node:Wake")
    def wake(self, context: Context, args: NodeStatusArgs) -> Node:
        return _move(context, args, NodeStatus.ACTIVE, "node.awake", only=NodeStatus.RESTING)

    @transaction("node:Leave")
    def leave(self, context: Context, args: NodeStatusArgs) -> Node:
        return _move(context, args, NodeStatus.LEFT, "node.left")

    @transaction("node:Suspend")
    def suspend(self, context: Context, args: NodeStatusArgs) -> Node:
        return _move(context, args, NodeStatus.SUSPENDED, "node.suspended")

    @transaction("node:Resume")
    def resume(self, context: Context, args: NodeStatusArgs) -> Node:
        return _move(context, args, NodeStatus.ACTIVE, "node.resumed", only=NodeStatus.SUSPENDED)

    @transaction("node:Revoke")
    def revoke(self, context: Context, args: NodeStatusArgs) -> Node:
        return _move(context, args, NodeStatus.REVOKED, "node.revoked")

    @transaction("node:Get")
    def get(self, context: Context, args: NodeArgs) -> Node:
        return context.get(keys.node(args.msp_id, args.node_id), Node)

    @transaction("node:List")
    def list(self, context: Context, args: NodePageArgs) -> NodePage:
        below = () if args.msp_id is None else (args.msp_id,)
        nodes, bookmark = context.page("node", below, Node, args.page_size, args.bookmark)
        wanted = [keys.suspension(node.msp_id, node.node_id) for node in nodes]
        known = context.existing(wanted, Suspension)
        standing = tuple(one for one in known if context.now < one.until)
        return NodePage(nodes=nodes, bookmark=bookmark, suspensions=standing)

    @transaction("node:History")
    def history(self, context: Context, args: NodeHistoryArgs) -> NodeChangePage:
        below = (args.msp_id, args.node_id)
        found = context.page("node-change", below, NodeChange, args.page_size, args.bookmark)
        return NodeChangePage(changes=found[0], bookmark=found[1])


def owned(context: Context, node_id: str) -> Node:
    """A node of the caller's hospital; the caller itself, unless an admin asks.

    Raises:
        MedFabricError: ``NOT_OWNER`` or ``NOT_FOUND``.
    """
    if Role.ADMIN not in context.roles and node_id != context.node_id:
        raise MedFabricError(
            Code.NOT_OWNER, f"{context.node_id} speaks for itself alone; ask the hospital's admin"
        )
    return context.get(keys.node(context.msp_id, node_id), Node)


def _move(
    context: Context,
    args: NodeStatusArgs,
    to: NodeStatus,
    event: str,
    only: NodeStatus | None = None,
) -> Node:
    """Move a node; ``only`` from one status, where others lead there by another transaction."""
    node = owned(context, args.node_id)
    if only is not None and node.status is not only:
        raise MedFabricError(
            Code.BAD_STATE, f"node {node.node_id} is {node.status}, not {only}; read it again"
        )
    states.check(states.NODE, node.status, to)
    return _change(context, node, event, status=to, reason=args.reason)


def _change(context: Context, node: Node, event: str, **changes: object) -> Node:
    """Write the node as changed and the change into its history."""
    number = node.changes + 1
    if number > EVERY_CHANGE:
        raise MedFabricError(
            Code.BAD_STATE, f"the history of {node.node_id} is full; register another name"
        )
    update = {**changes, "changed_at": context.now, "changes": number}
    changed = node.model_copy(update=update)
    entry = NodeChange(
        msp_id=node.msp_id,
        node_id=node.node_id,
        number=number,
        status=changed.status,
        public_key_sha256=changed.public_key_sha256,
        reason=changed.reason,
        changed_at=context.now,
        changed_by=context.node_id,
    )
    context.put_owned(keys.node(node.msp_id, node.node_id), changed, node.msp_id)
    context.put(keys.node_change(node.msp_id, node.node_id, number), entry)
    context.emit(event, msp_id=node.msp_id, subject=node.node_id)
    return changed


def _bind_key(context: Context, node_id: str, public_key_sha256: str) -> None:
    """Bind a key to a node for good: it never signs for another, nor again once it was replaced.

    Raises:
        MedFabricError: ``KEY_IN_USE``.
    """
    key = keys.node_key(context.msp_id, public_key_sha256)
    bound = context.find(key, NodeKey)
    if bound is not None:
        raise MedFabricError(
            Code.KEY_IN_USE, f"this key is, or was, that of {bound.node_id}; enrol with a new one"
        )
    entry = NodeKey(
        msp_id=context.msp_id,
        node_id=node_id,
        public_key_sha256=public_key_sha256,
        bound_at=context.now,
    )
    context.put(key, entry)
