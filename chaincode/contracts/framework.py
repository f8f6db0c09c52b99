"""What MedFabric's contracts add to the framework: its consortium, its nodes, whose keys are whose.

The row of a method's name in :data:`chaincode.schema.transactions.TRANSACTIONS` says who may call
it and what it takes and gives.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from chaincode.framework import Context as FrameworkContext
from chaincode.framework import transaction
from chaincode.framework.context import Asset
from chaincode.schema import canonical, forms, keys, meanings, stored
from chaincode.schema.base import Event, Language, Role
from chaincode.schema.consortium import (
    Consortium,
    ConsortiumStatus,
    Node,
    NodeStatus,
)
from chaincode.schema.declaration import Declaration
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.policies import Owned
from chaincode.schema.provenance import StoredAct, name_of
from chaincode.schema.reputation import Suspension
from chaincode.schema.transactions import Transaction
from chaincode.shim.endorsement import owner_and_majority
from chaincode.shim.stub import Stub, composite_key

__all__ = ["Context", "admit", "transaction"]

_LARGE = 2048
"""Bytes of an asset that is worth comparing with those parsed before."""


class Context(FrameworkContext):
    """One transaction as a contract of MedFabric sees it.

    ``msp_id`` and ``node_id`` are the caller's hospital and node, from its certificate.
    """

    def __init__(self, stub: Stub, roles: frozenset[str]) -> None:
        super().__init__(stub, roles)
        self.msp_id = stub.creator.msp_id
        self.node_id = stub.creator.common_name
        self.key_sha256 = stub.creator.public_key_sha256
        self.tx_id = stub.tx_id
        self._written: dict[keys.Key, bytes] = {}

    def put(self, key: keys.Key, asset: BaseModel) -> None:
        """Write an asset of the consortium; the chaincode's majority policy guards it.

        What it means in the provenance graph is recorded as the transaction ends.
        """
        super().put(key, asset)
        self._written[key] = canonical.brief(asset)

    def encoded(self, key: keys.Key, asset: BaseModel) -> bytes:
        """An asset as it is stored: without the fields that its key has."""
        return stored.value(key, asset)

    def decoded(self, key: keys.Key, value: bytes, model: type[Asset]) -> Asset:
        """The inverse of :meth:`encoded`. What is large and read again and again, as the terms of a
        plan of a thousand nodes are, is parsed once; assets are frozen."""
        parse = _parsed_before if len(value) >= _LARGE else _parsed
        asset: Asset = parse(key, value, model)
        return asset

    def post(self, key: keys.Key, post: Asset, event: str, **identifiers: Any) -> Asset:
        """Write a hospital's contribution under its own key, once, and say so by event. Whose it
        is, the transaction's signature says.

        Raises:
            MedFabricError: ``DUPLICATE_CONTRIBUTION``.
        """
        if self.find(key, type(post)) is not None:
            raise MedFabricError(
                Code.DUPLICATE_CONTRIBUTION, f"{self.msp_id} has posted this already; it stands"
            )
        self.put(key, post)
        self.emit(event, **identifiers)
        return post

    def put_owned(self, key: keys.Key, asset: Language, owner: str) -> None:
        """Write an asset of one hospital: later writes need its peer within the majority.

        Raises:
            ValueError: of a kind that no hospital would renew the policies of.
        """
        Owned(key[0])
        self.put(key, asset)
        policy = owner_and_majority(owner, self.consortium().hospitals)
        name = composite_key(*key)
        # Setting the same policy again would bar every other write of the key from this block.
        if self.stub.get_state_validation_parameter(name) != policy:
            self.stub.set_state_validation_parameter(name, policy)

    def emit(self, name: str, /, **identifiers: Any) -> None:
        """Set the transaction's event: identifiers only."""
        self.stub.set_event(name, canonical.brief(Event(**identifiers)))

    def finish(self, row: Declaration) -> None:
        """Record what the transaction did in the provenance graph.

        One act under its signer's key; for each element written a key that leads to the act, where
        the element itself does not; for each relation that is new a key that leads from where the
        element came from to it.
        """
        meant = (key for key in self._written if meanings.MEANINGS[key[0]] is not None)
        wanted = sorted(meant, key=name_of)
        before = self.values(wanted)
        for key, old in zip(wanted, before, strict=True):
            name = name_of(key)
            if not meanings.posted(name):
                self._link(keys.written(name, self.now, self.tx_id), [self.msp_id, self.node_id])
            stood = None if old is None else json.loads(stored.whole(key, old))
            known = () if stood is None else meanings.forward(name, stood)
            for edge in meanings.forward(name, json.loads(self._written[key])):
                if edge not in known:
                    self._link(keys.edge(edge.target, edge.relation, edge.source), 1)
        if self._written:
            wrote = list(zip(map(name_of, wanted), before, strict=True))
            act = StoredAct(
                function=row.name,
                made=tuple(name for name, old in wrote if old is None),
                changed=tuple(name for name, old in wrote if old is not None),
            )
            key = keys.act(self.msp_id, self.node_id, self.now, self.tx_id)
            self.stub.put_state(composite_key(*key), canonical.brief(act))

    def _link(self, key: keys.Key, value: Any) -> None:
        self.stub.put_state(composite_key(*key), canonical.dumps(value))

    def consortium(self) -> Consortium:
        """The consortium.

        Raises:
            MedFabricError: ``NOT_FOUNDED``.
        """
        found = self.find(keys.consortium(), Consortium)
        if found is None:
            raise MedFabricError(
                Code.NOT_FOUNDED, "there is no consortium on this channel yet; found one first"
            )
        return found


def _parsed(key: keys.Key, value: bytes, model: type[Any]) -> Any:
    return model.model_validate_json(stored.whole(key, value))


_parsed_before = lru_cache(maxsize=32)(_parsed)


def admit(context: Context, row: Transaction) -> None:
    """Let the admitted hospitals' registered nodes in, once the consortium is ACTIVE."""
    as_node = row.writes and Role.ADMIN not in row.roles & context.roles
    wanted = [keys.consortium()] if row.founding else _credentials(context, as_node=as_node)
    forms.check(context.values(wanted)[0])
    _trusted(context)
    if row.founding:
        return
    consortium = context.consortium()
    if consortium.status is not ConsortiumStatus.ACTIVE:
        raise MedFabricError(
            Code.NOT_FOUNDED, "the charter is not accepted yet; every founder must vote for it"
        )
    if context.msp_id not in consortium.hospitals:
        raise MedFabricError(
            Code.NOT_ADMITTED, f"{context.msp_id} is not an admitted hospital; ask to be proposed"
        )
    if as_node:
        _registered(context, row)


def _credentials(context: Context, *, as_node: bool) -> list[keys.Key]:
    """What admission reads, to be read together."""
    who = (context.msp_id, context.node_id)
    return [keys.consortium(), keys.node(*who), *([keys.suspension(*who)] if as_node else [])]


def _trusted(context: Context) -> None:
    # Whatever its certificate allows, and queries too: the certificate itself is no longer trusted.
    node = context.find(keys.node(context.msp_id, context.node_id), Node)
    if node is None:
        return
    name = f"node {node.node_id} of {node.msp_id}"
    if node.status is NodeStatus.REVOKED:
        raise MedFabricError(
            Code.NODE_NOT_ACTIVE, f"{name} is revoked for good; enrol under another name"
        )
    if Role.ADMIN not in context.roles and node.public_key_sha256 != context.key_sha256:
        raise MedFabricError(
            Code.NODE_KEY_MISMATCH, f"{name} is registered with another key; register this one"
        )


def _registered(context: Context, row: Transaction) -> None:
    node = context.find(keys.node(context.msp_id, context.node_id), Node)
    name = f"node {context.node_id} of {context.msp_id}"
    if node is None:
        raise MedFabricError(
            Code.NODE_UNREGISTERED, f"{name} is not registered; its hospital's admin registers it"
        )
    resting = row.resting and node.status is NodeStatus.RESTING
    if node.status is not NodeStatus.ACTIVE and not resting:
        raise MedFabricError(Code.NODE_NOT_ACTIVE, f"{name} is {node.status}; ask its admin why")
    suspension = context.find(keys.suspension(context.msp_id, context.node_id), Suspension)
    if suspension is not None and context.now < suspension.until:
        raise MedFabricError(
            Code.NODE_NOT_ACTIVE,
            f"{name} is suspended by vote for {suspension.until - context.now} more seconds; see "
            f"complaint {suspension.complaint_id}",
        )
    if not context.roles & frozenset(node.roles):
        raise MedFabricError(
            Code.ROLE_REQUIRED, f"{name} is not registered for the role that its certificate has"
        )
