"""Nodes: registered, suspended, resumed and revoked by their own hospital."""

from __future__ import annotations

from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, states
from chaincode.schema.base import PageArgs
from chaincode.schema.consortium import (
    Node,
    NodeArgs,
    NodePage,
    NodeStatus,
    NodeStatusArgs,
    RegisterNodeArgs,
)
from chaincode.schema.errors import Code, MedFabricError


class NodeContract:
    """A node belongs to the hospital whose admin registers it; no argument can say otherwise."""

    @transaction("node:Register")
    def register(self, context: Context, args: RegisterNodeArgs) -> Node:
        known = context.find(keys.node(context.msp_id, args.node_id), Node)
        if known is not None:
            raise MedFabricError(
                Code.EXISTS, f"node {args.node_id} is {known.status} already; name another"
            )
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
        )
        return self._write(context, node, "node.registered")

    @transaction("node:Suspend")
    def suspend(self, context: Context, args: NodeStatusArgs) -> Node:
        return self._move(context, args, NodeStatus.SUSPENDED, "node.suspended")

    @transaction("node:Resume")
    def resume(self, context: Context, args: NodeStatusArgs) -> Node:
        return self._move(context, args, NodeStatus.ACTIVE, "node.resumed")

    @transaction("node:Revoke")
    def revoke(self, context: Context, args: NodeStatusArgs) -> Node:
        return self._move(context, args, NodeStatus.REVOKED, "node.revoked")

    @transaction("node:Get")
    def get(self, context: Context, args: NodeArgs) -> Node:
        return context.get(keys.node(args.msp_id, args.node_id), Node)

    @transaction("node:List")
    def list(self, context: Context, args: PageArgs) -> NodePage:
        nodes, bookmark = context.page("node", (), Node, args.page_size, args.bookmark)
        return NodePage(nodes=nodes, bookmark=bookmark)

    def _move(self, context: Context, args: NodeStatusArgs, to: NodeStatus, event: str) -> Node:
        node = context.get(keys.node(context.msp_id, args.node_id), Node)
        states.check(states.NODE, node.status, to)
        changed = {"status": to, "reason": args.reason, "changed_at": context.now}
        return self._write(context, node.model_copy(update=changed), event)

    def _write(self, context: Context, node: Node, event: str) -> Node:
        context.put_owned(keys.node(node.msp_id, node.node_id), node, node.msp_id)
        context.emit(event, msp_id=node.msp_id, subject=node.node_id)
        return node
