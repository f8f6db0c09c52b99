"""Canonical JSON: the one byte form of a value on the ledger.

Sorted keys, no spaces, UTF-8, integers but no floats. Two interpreters with different hash seeds,
locales or time zones write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import cache
from typing import Any

from pydantic import BaseModel

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_PLAIN = frozenset({str, int, bool, type(None)})


def dumps(value: Any) -> bytes:
    """Encode a model or JSON value canonically.

    Raises:
        TypeError: a float, or a value that JSON cannot hold, is inside.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    _refuse_floats(plain)
    return _ENCODER.encode(plain).encode("utf-8")


def brief(value: BaseModel, *, without: Collection[str] = ()) -> bytes:
    """Encode what goes to the ledger: without fields that are empty, false or 0 by default.

    Such a default is part of the language: one that changed would change what is written already.

    Args:
        without: further fields of the model itself to leave out.

    Raises:
        TypeError: as :func:`dumps`.
    """
    told = _brief(value, value.model_dump(mode="json"))
    return dumps({name: inner for name, inner in told.items() if name not in without})


def sha256(value: Any) -> str:
    """Hex SHA-256 of the canonical form."""
    return hashlib.sha256(dumps(value)).hexdigest()


def _brief(value: Any, plain: Any) -> Any:
    """What is left of the JSON form of a model, or of models in lists and objects."""
    if type(plain) in _PLAIN:
        return plain
    if isinstance(value, BaseModel):
        omitted, told = _defaults(type(value)), {}
        for name, its in plain.items():
            inner = getattr(value, name)
            if inner or name not in omitted or inner != omitted[name]:
                told[name] = _brief(inner, its)
        return told
    if isinstance(value, list | tuple):
        return [_brief(inner, its) for inner, its in zip(value, plain, strict=True)]
    if isinstance(value, dict):
        named = zip(value.values(), plain.items(), strict=True)
        return {name: _brief(inner, its) for inner, (name, its) in named}
    return plain


@cache
def _defaults(kind: type[BaseModel]) -> dict[str, Any]:
    """Of fields that may be left out, what they then hold."""
    fields = kind.model_fields.items()
    return {name: field.get_default() for name, field in fields if not field.is_required()}


def _refuse_floats(value: Any) -> None:
    if type(value) in _PLAIN:
        return
    if isinstance(value, float):
        raise TypeError("the ledger holds no float: use a scaled integer")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError("canonical JSON has string keys only")
            _refuse_floats(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_floats(inner)
