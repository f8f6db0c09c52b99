"""From a proposal to a contract's method and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from chaincode.framework.context import Context
from chaincode.framework.declaring import Bound, bind
from chaincode.framework.metadata import METADATA_TRANSACTION, Info, check_names, contract_metadata
from chaincode.schema import canonical
from chaincode.schema.base import Name
from chaincode.schema.declaration import Declaration
from chaincode.schema.errors import Code, MedFabricError
from chaincode.shim.response import Response
from chaincode.shim.stub import Stub

ARGUMENT_LIMIT = 1024 * 1024
"""Bytes of one transaction's argument."""

ROLES_ATTRIBUTE = "medfabric.roles"
"""Where MedFabric's certificates hold roles."""

_CALLER: TypeAdapter[str] = TypeAdapter(Name)


class Router:
    """A chaincode of contracts: finds, checks and runs transactions; one response each.

    Everything is checked before a method runs: the transaction's name, its argument, the caller's
    roles. A :class:`MedFabricError` becomes a refusal with its code; nothing is written unless the
    method returns.

    Args:
        contracts: objects with methods declared by
            :func:`~chaincode.framework.declaring.transaction`.
        info: what the metadata calls the chaincode.
        table: rows published elsewhere, which the contracts carry out; see
            :func:`~chaincode.framework.declaring.bind`.
        context: makes what methods get as their first argument.
        admit: refuses a call beyond its role, by context and row, by raising
            :class:`MedFabricError`.
        roles_attribute: the certificate's attribute that holds the caller's roles, separated by
            commas.

    Raises:
        ValueError: the declarations contradict each other.
    """

    def __init__(
        self,
        contracts: Iterable[object],
        info: Info,
        *,
        table: Mapping[str, Declaration] | None = None,
        context: Callable[[Stub, frozenset[str]], Context] = Context,
        admit: Callable[[Any, Any], None] = lambda context, row: None,
        roles_attribute: str = ROLES_ATTRIBUTE,
    ) -> None:
        self._bound = bind(contracts, table)
        self._context = context
        self._admit = admit
        self._roles_attribute = roles_attribute
        self._info = info
        check_names(self.declarations.values())

    @cached_property
    def metadata(self) -> bytes:
        """What the chaincode says of itself. Made when it is first asked for: it takes longer than
        all else at the start."""
        return contract_metadata(self.declarations.values(), self._info)

    @property
    def declarations(self) -> dict[str, Declaration]:
        """Every transaction by name, sorted."""
        return {name: bound.declaration for name, bound in self._bound.items()}

    def invoke(self, stub: Stub) -> Response:
        """Run the transaction that the stub's arguments name."""
        if stub.args == (METADATA_TRANSACTION.encode(),):
            return Response.success(self.metadata)
        try:
            bound, args = self._parse(stub.args)
            row = bound.declaration
            roles = self._roles(stub)
            if row.roles and not row.roles & roles:
                wanted = " or ".join(sorted(row.roles))
                raise MedFabricError(
                    Code.ROLE_REQUIRED,
                    f"{row.name} needs the role {wanted} in the caller's certificate",
                )
            context = self._context(stub, roles)
            self._admit(context, row)
            result = bound.run(context, args)
            context.finish(row)
            return Response.success(canonical.brief(result))
        except MedFabricError as error:
            return Response.refusal(str(error))

    def _parse(self, args: Sequence[bytes]) -> tuple[Bound, BaseModel]:
        name = args[0].decode("utf-8", "replace") if args else ""
        bound = self._bound.get(name)
        if bound is None:
            raise MedFabricError(
                Code.UNKNOWN_TRANSACTION, "no such transaction; the reference lists them all"
            )
        if len(args) != 2 or len(args[1]) > ARGUMENT_LIMIT:
            raise MedFabricError(
                Code.BAD_ARGUMENT,
                f"{name} takes one JSON argument of at most {ARGUMENT_LIMIT} bytes",
            )
        try:
            return bound, bound.declaration.args.model_validate_json(args[1])
        except ValidationError as error:
            # Field and rule, never the value: it may be what must not be on a peer's log.
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the argument"
            raise MedFabricError(
                Code.BAD_ARGUMENT, f"{name}: {field}: {first['type']}; correct it and submit again"
            ) from None

    def _roles(self, stub: Stub) -> frozenset[str]:
        try:
            _CALLER.validate_python(stub.creator.common_name)
            named = stub.creator.attributes.get(self._roles_attribute, "")
        except (ValueError, AttributeError, TypeError):
            raise MedFabricError(
                Code.ROLE_REQUIRED, "the certificate's name or attributes are unusable; enrol again"
            ) from None
        return frozenset(filter(None, named.split(",")))
