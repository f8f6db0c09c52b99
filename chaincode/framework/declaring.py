"""Declaring a method as a transaction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar, get_type_hints

from pydantic import BaseModel, create_model

from chaincode.schema.base import Empty, Language
from chaincode.schema.declaration import Declaration

Method = TypeVar("Method", bound=Callable[..., BaseModel | None])
_MARK = "__transaction__"


@dataclass(frozen=True)
class _Mark:
    name: str
    roles: frozenset[str] | None
    writes: bool


def transaction(
    name: str, *, roles: Iterable[str] | None = None, writes: bool = True
) -> Callable[[Method], Method]:
    """Make a method the transaction of this name, ``CONTRACT:Transaction``.

    Its first parameter is the :class:`~chaincode.framework.context.Context`. What follows is the
    argument: one pydantic model, or parameters of any types that pydantic checks, which become the
    fields of one JSON object. It returns a pydantic model, or nothing. The first line of its
    docstring tells callers what it does.

    Args:
        name: unique among all contracts of a chaincode.
        roles: who may call it, by the roles in the caller's certificate; ``()`` for everybody.
            Left out where a published table says so, by the row of this name.
        writes: whether it is submitted for ordering; a transaction that does not write may read
            ranges and pages.
    """

    def mark(method: Method) -> Method:
        who = None if roles is None else frozenset(roles)
        setattr(method, _MARK, _Mark(name, who, writes))
        return method

    return mark


@dataclass(frozen=True)
class Bound:
    """A declaration and what carries it out. ``spread``: the fields are the method's parameters."""

    declaration: Declaration
    method: Callable[..., BaseModel | None]
    spread: bool

    def run(self, context: Any, args: BaseModel) -> BaseModel:
        """Carry it out, by arguments that are checked."""
        if not self.spread:
            result = self.method(context, args)
        else:
            fields = {field: getattr(args, field) for field in type(args).model_fields}
            result = self.method(context, **fields)
        return Empty() if result is None else result


def bind(contracts: Iterable[object], table: Mapping[str, Declaration] | None) -> dict[str, Bound]:
    """Every transaction of the contracts by name.

    Args:
        table: rows published elsewhere. Every row is then carried out by exactly one method whose
            types are the row's, and contracts declare no further ones.

    Raises:
        ValueError: a name occurs twice, a method's types are missing or not the row's, or table and
            contracts do not match.
    """
    bound: dict[str, Bound] = {}
    for mark, method in _marked(contracts):
        if mark.name in bound:
            raise ValueError(f"{mark.name} is implemented twice")
        bound[mark.name] = _bound(mark, method, table)
    if table is not None and (missing := table.keys() - bound.keys()):
        raise ValueError(f"not implemented: {', '.join(sorted(missing))}")
    return dict(sorted(bound.items()))


def _marked(contracts: Iterable[object]) -> Iterator[tuple[_Mark, Callable[..., Any]]]:
    for contract in contracts:
        for attribute in dir(contract):
            method = getattr(contract, attribute)
            mark = getattr(method, _MARK, None)
            if isinstance(mark, _Mark):
                yield mark, method


def _bound(
    mark: _Mark, method: Callable[..., Any], table: Mapping[str, Declaration] | None
) -> Bound:
    args, spread = _arguments(mark.name, method)
    result = get_type_hints(method).get("return")
    result = Empty if result is type(None) else result
    if not _is_model(result):
        raise ValueError(f"{mark.name}: its method must return a pydantic model or None")
    if table is None:
        if mark.roles is None:
            raise ValueError(f"{mark.name}: declare the roles that may call it, () for everybody")
        summary = (inspect.getdoc(method) or "").partition("\n")[0]
        made = Declaration(mark.name, args, result, mark.roles, mark.writes, summary)
        return Bound(made, method, spread)
    row = table.get(mark.name)
    if row is None:
        raise ValueError(f"{mark.name} is not in the table")
    if mark.roles is not None:
        raise ValueError(f"{mark.name}: the table says who may call it; declare no roles")
    if (args, result) != (row.args, row.result):
        raise ValueError(f"{mark.name}: its method's types are not those of the table")
    return Bound(row, method, spread)


def _arguments(name: str, method: Callable[..., Any]) -> tuple[type[BaseModel], bool]:
    """The argument's model, and whether its fields are the method's parameters."""
    _, *parameters = inspect.signature(method).parameters.values()
    hints = get_type_hints(method, include_extras=True)
    if len(parameters) == 1 and _is_model(hints.get(parameters[0].name)):
        return hints[parameters[0].name], False
    fields: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.name not in hints or parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ValueError(
                f"{name}: parameter {parameter.name} has no type or no name to callers"
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    if not fields:
        return Empty, True
    title = name.partition(":")[2] or name
    return create_model(f"{title}Args", __base__=Language, **fields), True


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
