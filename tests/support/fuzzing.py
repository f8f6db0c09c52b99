"""Arguments for any transaction, made from its model's JSON schema: good, or spoilt somewhere."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

Path = tuple[str | int, ...]

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**53,
    2**63,
    -(2**63) - 1,
    10**40,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "a",
    "\x00",
    "a\x00b",
    "\x1f",
    "\x7f",
    "\u202e",
    "\ud800",
    "\U0010ffff",
    "İıſ",
    "💊" * 200,
    "a" * 5000,
    "../../etc",
    "-",
    "A" * 64,
    "f" * 64,
    "0" * 64 + "\n",
    "NaN",
    [],
    [[]],
    [None] * 300,
    {},
    {"": 1},
    {"__proto__": {}},
    {"a": {"b": {"c": [1, 2, {"d": None}]}}},
)
"""Values that break assumptions about type, size, sign, text or depth."""


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


class Fuzzer:
    """A seeded source of arguments.

    Args:
        pool: texts and numbers of a ledger by the name of their field, so that names fit what is
            there.
        known: by model, good values that half of the arguments start from: what has many parts is
            hardly ever good by chance.
    """

    def __init__(
        self,
        seed: int,
        pool: Mapping[str, Sequence[str | int]],
        known: Mapping[type[BaseModel], Sequence[Any]] | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self._known = known or {}
        self._pool = pool
        every = sorted({item for items in pool.values() for item in items}, key=repr)
        self._texts = [item for item in every if isinstance(item, str)]
        self._numbers = [item for item in every if isinstance(item, int)]

    def pick(self, items: Sequence[Any]) -> Any:
        """One of several."""
        return self._random.choice(items)

    def argument(self, model: type[BaseModel]) -> bytes:
        """An argument: in half the cases as the schema wants it, else spoilt."""
        schema = _schema(model)
        if model in self._known and self._random.random() < 0.5:
            value = copy.deepcopy(self.pick(self._known[model]))
        else:
            value = self._value(schema, schema.get("$defs", {}))
        how = self._random.random()
        if how < 0.5:
            return _bytes(value)
        if how < 0.85:
            place = self.pick(list(_places(value)))
            return _bytes(replaced(value, place, copy.deepcopy(self.pick(HOSTILE))))
        if how < 0.92 and isinstance(value, dict):
            return _bytes(self._other_fields(value))
        return self._damaged(_bytes(value))

    def _other_fields(self, value: dict[str, Any]) -> dict[str, Any]:
        if value and self._random.random() < 0.5:
            value.pop(self.pick(sorted(value)))
        else:
            value[self.pick(["more", "", "__class__", "\x00"])] = self.pick(HOSTILE)
        return value

    def _damaged(self, raw: bytes) -> bytes:
        how = self._random.randrange(4)
        place = self._random.randrange(len(raw) + 1)
        if how == 0:
            return raw[:place]
        if how == 1:
            return raw[:place] + self._random.randbytes(3) + raw[place:]
        if how == 2:
            return raw + raw
        return self._random.randbytes(self._random.randrange(80))

    def _value(self, schema: Mapping[str, Any], defs: Mapping[str, Any], name: str = "") -> Any:
        if "$ref" in schema:
            return self._value(defs[schema["$ref"].rpartition("/")[2]], defs, name)
        if "anyOf" in schema or "oneOf" in schema:
            return self._value(self.pick(schema.get("anyOf") or schema["oneOf"]), defs, name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.pick(schema["enum"])
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, defs)
        if kind == "array":
            return self._array(schema, defs, name)
        if kind == "integer":
            return self._integer(schema, name)
        if kind == "boolean":
            return self._random.random() < 0.5
        if kind == "string":
            return self._text(schema, name)
        return None if kind == "null" else self.pick(HOSTILE)

    def _object(self, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
        required = schema.get("required", ())
        made = {
            name: self._value(field, defs, name)
            for name, field in schema.get("properties", {}).items()
            if name in required or self._random.random() < 0.6
        }
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping):
            for _ in range(self._random.randrange(3)):
                made[self.pick(self._texts)[:20]] = self._value(more, defs)
        return made

    def _array(self, schema: Mapping[str, Any], defs: Mapping[str, Any], name: str) -> list[Any]:
        least = schema.get("minItems", 0)
        most = min(schema.get("maxItems", least + 3), least + 3)
        number = self._random.randint(least, max(least, most))
        return [self._value(schema.get("items", {}), defs, name) for _ in range(number)]

    def _integer(self, schema: Mapping[str, Any], name: str) -> int:
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        most = schema.get("maximum", schema.get("exclusiveMaximum", 2**53))
        near = [least, min(least + 1, most), most]
        for numbers in self._candidates(name, self._numbers):
            if fitting := [n for n in numbers if isinstance(n, int) and least <= n <= most]:
                return int(self.pick(fitting))
        return int(self.pick(near))

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        pattern = schema.get("pattern", "")
        least, most = schema.get("minLength", 0), schema.get("maxLength", 2000)
        for texts in self._candidates(name, self._texts):
            fitting = [
                text
                for text in texts
                if isinstance(text, str)
                and least <= len(text) <= most
                and (not pattern or re.search(pattern, text))
            ]
            if fitting:
                return str(self.pick(fitting))
        return "x" * max(1, least)

    def _candidates(self, name: str, every: Sequence[str | int]) -> Iterator[Sequence[str | int]]:
        """Mostly what the ledger holds under this name, else anything that it holds."""
        how = self._random.random()
        if how < 0.8:
            yield self._pool.get(name, ())
        if how < 0.95:
            yield every


def pool_of(states: Iterable[Mapping[str, bytes]]) -> dict[str, list[str | int]]:
    """Every text and number in the assets of some ledgers, by the name of its field."""
    found: dict[str, set[str | int]] = {}
    for state in states:
        for raw in state.values():
            for name, value in _leaves("", json.loads(raw)):
                found.setdefault(name, set()).add(value)
    return {name: sorted(values, key=repr) for name, values in sorted(found.items())}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, str | int]]:
    if isinstance(value, dict):
        for field, inner in value.items():
            yield from _leaves(field, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(name, inner)
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        yield name, value


def _places(value: Any, at: Path = ()) -> Iterator[Path]:
    yield at
    if not isinstance(value, dict | list):
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _places(inner, (*at, key))


def replaced(value: Any, place: Path, new: Any) -> Any:
    """The value with another one at a place."""
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = replaced(changed[place[0]], place[1:], new)
    return changed


def _bytes(value: Any) -> bytes:
    # As a hostile client may write it: NaN, and lone surrogates as escapes.
    return json.dumps(value).encode()
