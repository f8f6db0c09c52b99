"""From a proposal to a contract's method and back.

A contract is a class whose methods are named by :func:`transaction`; the row of the same name in
:data:`chaincode.schema.transactions.TRANSACTIONS` says who may call it and what it takes and gives.
Everything is checked before the method runs, and nothing is written unless it returns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from chaincode.schema import canonical, keys
from chaincode.schema.base import Event, Language, Name, Role
from chaincode.schema.consortium import (
    Consortium,
    ConsortiumStatus,
    Node,
    NodeStatus,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.transactions import TRANSACTIONS, Transaction
from chaincode.shim.chaincode import Response
from chaincode.shim.endorsement import owner_and_majority
from chaincode.shim.stub import Stub, composite_key

log = logging.getLogger("medfabric.contracts")

Asset = TypeVar("Asset", bound=Language)
Method = Callable[[Any, "Context", Any], Language]

ARGUMENT_LIMIT = 1024 * 1024
"""Bytes of one transaction's argument."""

_CALLER: TypeAdapter[str] = TypeAdapter(Name)


def transaction(name: str) -> Callable[[Method], Method]:
    """Name the method that carries out a row of the transaction table."""

    def mark(method: Method) -> Method:
        method.__transaction__ = name  # type: ignore[attr-defined]
        return method

    return mark


class Context:
    """One transaction as a contract sees it: typed state, the caller, the time.

    ``msp_id`` and ``node_id`` are the caller's hospital and node, from its certificate.
    """

    def __init__(self, stub: Stub, roles: frozenset[Role]) -> None:
        self._stub = stub
        self.msp_id = stub.creator.msp_id
        self.node_id = stub.creator.common_name
        self.key_sha256 = stub.creator.public_key_sha256
        self.roles = roles
        self.now = stub.seconds
        self._read: dict[str, bytes | None] = {}

    def find(self, key: keys.Key, model: type[Asset]) -> Asset | None:
        """The asset at a key, or None."""
        return self.find_all([key], model)[0]

    def find_all(self, wanted: Sequence[keys.Key], model: type[Asset]) -> list[Asset | None]:
        """Assets at several keys, read together."""
        names = [composite_key(*key) for key in wanted]
        # Reads see the committed state whatever was written since, so each key is read once.
        if unread := [name for name in dict.fromkeys(names) if name not in self._read]:
            self._read.update(zip(unread, self._stub.get_states(unread), strict=True))
        raw = [self._read[name] for name in names]
        return [None if value is None else model.model_validate_json(value) for value in raw]

    def get(self, key: keys.Key, model: type[Asset]) -> Asset:
        """The asset at a key.

        Raises:
            MedFabricError: ``NOT_FOUND``.
        """
        asset = self.find(key, model)
        if asset is None:
            kind, attributes = key
            raise MedFabricError(
                Code.NOT_FOUND, f"no {kind} {'/'.join(attributes)}; check its name with a query"
            )
        return asset

    def existing(self, wanted: Sequence[keys.Key], model: type[Asset]) -> tuple[Asset, ...]:
        """Those of several assets that exist, in order."""
        return tuple(asset for asset in self.find_all(wanted, model) if asset is not None)

    def page(
        self, kind: str, attributes: Sequence[str], model: type[Asset], page_size: int, mark: str
    ) -> tuple[tuple[Asset, ...], str]:
        """A page of assets of one kind; for queries alone."""
        page = self._stub.get_state_by_partial_composite_key_page(kind, attributes, page_size, mark)
        assets = tuple(model.model_validate_json(entry.value) for entry in page.results)
        return assets, page.bookmark

    def all(self, kind: str, attributes: Sequence[str], model: type[Asset]) -> tuple[Asset, ...]:
        """All assets of one kind below a prefix; for queries alone."""
        found = self._stub.get_state_by_partial_composite_key(kind, attributes)
        return tuple(model.model_validate_json(entry.value) for entry in found)

    def put(self, key: keys.Key, asset: Language) -> None:
        """Write an asset of the consortium; the chaincode's majority policy guards it."""
        self._stub.put_state(composite_key(*key), canonical.dumps(asset))

    def post(self, key: keys.Key, post: Asset, event: str, **identifiers: Any) -> Asset:
        """Write a hospital's contribution under its own key, once, and say so by event.

        Raises:
            MedFabricError: ``DUPLICATE_CONTRIBUTION``.
        """
        if self.find(key, type(post)) is not None:
            raise MedFabricError(
                Code.DUPLICATE_CONTRIBUTION, f"{self.msp_id} has posted this already; it stands"
            )
        self.put(key, post)
        self.emit(event, msp_id=self.msp_id, **identifiers)
        return post

    def put_owned(self, key: keys.Key, asset: Language, owner: str) -> None:
        """Write an asset of one hospital: later writes need its peer within the majority."""
        self.put(key, asset)
        policy = owner_and_majority(owner, self.consortium().hospitals)
        name = composite_key(*key)
        # Setting the same policy again would bar every other write of the key from this block.
        if self._stub.get_state_validation_parameter(name) != policy:
            self._stub.set_state_validation_parameter(name, policy)

    def emit(self, name: str, **identifiers: Any) -> None:
        """Set the transaction's event: identifiers only."""
        self._stub.set_event(name, canonical.dumps(Event(**identifiers)))

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


class Router:
    """Finds, checks and runs transactions; one response each, never an exception.

    Raises:
        ValueError: the contracts do not implement the table's rows, each exactly once.
    """

    def __init__(self, contracts: Iterable[object]) -> None:
        self._methods = dict(_methods(contracts))
        if self._methods.keys() != TRANSACTIONS.keys():
            wrong = sorted(self._methods.keys() ^ TRANSACTIONS.keys())
            raise ValueError(f"not implemented, or not in the table: {', '.join(wrong)}")

    def invoke(self, stub: Stub) -> Response:
        """Run the transaction that the stub's arguments name."""
        try:
            row, args = _parse(stub.args)
            context = Context(stub, _roles(stub))
            _admit(context, row)
            result = self._methods[row.name](context, args)
            return Response.success(canonical.dumps(result))
        except MedFabricError as error:
            return Response.refusal(str(error))


def _methods(contracts: Iterable[object]) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for contract in contracts:
        for attribute in dir(contract):
            method = getattr(contract, attribute)
            name = getattr(method, "__transaction__", None)
            if name is None:
                continue
            if name in seen:
                raise ValueError(f"{name} is implemented twice")
            seen.add(name)
            yield name, method


def _parse(args: Sequence[bytes]) -> tuple[Transaction, Language]:
    name = args[0].decode("utf-8", "replace") if args else ""
    row = TRANSACTIONS.get(name)
    if row is None:
        raise MedFabricError(
            Code.UNKNOWN_TRANSACTION, "no such transaction; the reference lists them all"
        )
    if len(args) != 2 or len(args[1]) > ARGUMENT_LIMIT:
        raise MedFabricError(
            Code.BAD_ARGUMENT, f"{name} takes one JSON argument of at most {ARGUMENT_LIMIT} bytes"
        )
    try:
        return row, row.args.model_validate_json(args[1])
    except ValidationError as error:
        # Field and rule, never the value: it may be what must not be on a peer's log.
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the argument"
        raise MedFabricError(
            Code.BAD_ARGUMENT, f"{name}: {field}: {first['type']}; correct it and submit again"
        ) from None


def _roles(stub: Stub) -> frozenset[Role]:
    try:
        _CALLER.validate_python(stub.creator.common_name)
        named = stub.creator.attributes.get("medfabric.roles", "")
    except (ValueError, AttributeError, TypeError):
        raise MedFabricError(
            Code.ROLE_REQUIRED, "the certificate's name or attributes are unusable; enrol again"
        ) from None
    known = {role.value for role in Role}
    return frozenset(Role(name) for name in named.split(",") if name in known)


def _admit(context: Context, row: Transaction) -> None:
    if not row.roles & context.roles:
        wanted = " or ".join(sorted(row.roles))
        raise MedFabricError(
            Code.ROLE_REQUIRED, f"{row.name} needs the role {wanted} in the caller's certificate"
        )
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
    if row.writes and Role.ADMIN not in row.roles & context.roles:
        _registered(context)


def _registered(context: Context) -> None:
    node = context.find(keys.node(context.msp_id, context.node_id), Node)
    name = f"node {context.node_id} of {context.msp_id}"
    if node is None:
        raise MedFabricError(
            Code.NODE_UNREGISTERED, f"{name} is not registered; its hospital's admin registers it"
        )
    if node.status is not NodeStatus.ACTIVE:
        raise MedFabricError(Code.NODE_NOT_ACTIVE, f"{name} is {node.status}; ask its admin why")
    if node.public_key_sha256 != context.key_sha256:
        raise MedFabricError(
            Code.NODE_KEY_MISMATCH, f"{name} is registered with another key; register this one"
        )
    if not context.roles & frozenset(node.roles):
        raise MedFabricError(
            Code.ROLE_REQUIRED, f"{name} is not registered for the role that its certificate has"
        )
