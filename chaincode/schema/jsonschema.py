"""A bounded subset of JSON Schema 2020-12 that every peer judges alike.

What is supported means what the specification says; anything else is refused when a schema is
registered, with its place. There is no regular expression (``pattern``, ``format``), no reference
but ``#`` and ``#/$defs/NAME``, no fraction (the ledger holds none), and work is counted: schema,
record and judging all have limits that do not depend on the machine.

The public ``jsonschema`` package is not used: it brings Rust code, remote references, Python's
backtracking regular expressions and floats into the peers' chaincode, and its answers are those of
whatever version a hospital has installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chaincode.schema import canonical
from chaincode.schema.errors import Code, MedFabricError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_BYTES, SCHEMA_DEPTH = 16 * 1024, 24
RECORD_BYTES, RECORD_DEPTH = 8 * 1024, 16
WORK = 20_000
"""Applications of a (sub)schema to a value, before a record counts as too much work."""
LARGEST = 2**53 - 1
"""Of an integer, either way: beyond it readers in other languages differ (RFC 8259)."""

Schema = Mapping[str, Any] | bool

_TYPES = ("null", "boolean", "object", "array", "string", "integer")
_NOTES = ("title", "description", "$comment", "default", "examples")
_ONE, _SEVERAL, _NAMED = (
    ("not", "items", "additionalProperties"),
    ("allOf", "anyOf", "oneOf"),
    ("properties", "$defs"),
)
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def check_schema(schema: Any) -> None:
    """Refuse a schema that is not one, or that uses what is not supported.

    Raises:
        MedFabricError: ``SCHEMA_REFUSED``, with the place as a JSON pointer.
    """
    _plain(schema, "", SCHEMA_DEPTH, SCHEMA_BYTES, Code.SCHEMA_REFUSED)
    if not isinstance(schema, dict):
        raise _unsupported("", "the whole schema must be an object")
    definitions = schema.get("$defs", {})
    for place, part in _subschemas(schema, ""):
        if not isinstance(part, bool):
            _check_keywords(part, place, definitions)
    _check_loops(schema)


def validate(schema: Mapping[str, Any], record: Any) -> None:
    """Refuse a record that does not fit a schema that :func:`check_schema` let pass.

    Raises:
        MedFabricError: ``RECORD_REFUSED``, with the place as a JSON pointer and what it
            does not fit.
    """
    _plain(record, "", RECORD_DEPTH, RECORD_BYTES, Code.RECORD_REFUSED)
    failure = _Judge(schema).first_failure(schema, record, "")
    if failure is not None:
        place, keyword = failure
        raise MedFabricError(
            Code.RECORD_REFUSED, f"record {place or '/'}: does not fit {keyword[:200]}; correct it"
        )


# The schema itself.


def _subschemas(schema: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The schema and all within it, each with its place; those around before those inside."""
    if not isinstance(schema, dict | bool):
        raise _unsupported(place, "a schema is an object, true or false")
    yield place, schema
    if isinstance(schema, bool):
        return
    for keyword in _ONE:
        if keyword in schema:
            yield from _subschemas(schema[keyword], f"{place}/{keyword}")
    for keyword in _SEVERAL:
        parts = schema.get(keyword, [])
        if keyword in schema and (not isinstance(parts, list) or not parts):
            raise _unsupported(f"{place}/{keyword}", "must be a list of schemas, not empty")
        for number, part in enumerate(parts):
            yield from _subschemas(part, f"{place}/{keyword}/{number}")
    for keyword in _NAMED:
        named = schema.get(keyword, {})
        if not isinstance(named, dict):
            raise _unsupported(f"{place}/{keyword}", "must be an object of schemas")
        for name, part in sorted(named.items()):
            yield from _subschemas(part, f"{place}/{keyword}/{_escaped(name)}")


def _check_keywords(schema: Mapping[str, Any], place: str, definitions: Any) -> None:
    for keyword, value in sorted(schema.items()):
        at = f"{place}/{_escaped(keyword)}"
        if keyword in (*_NOTES, *_ONE, *_SEVERAL, "properties", "const"):
            continue
        if keyword == "$defs" and place == "":
            continue
        if keyword == "$schema" and place == "":
            if value != DIALECT:
                raise _unsupported(at, f"only {DIALECT}")
            continue
        check = _KEYWORDS.get(keyword)
        if check is None:
            raise _unsupported(at, "this keyword is not supported here")
        if why := check(value):
            raise _unsupported(at, why)
    if "$ref" in schema and _target(schema["$ref"], definitions) is None:
        raise _unsupported(f"{place}/$ref", "only # and #/$defs/NAME of this schema")


def _check_type(value: Any) -> str:
    named = value if isinstance(value, list) else [value]
    if not named or any(not isinstance(n, str) or n not in _TYPES for n in named):
        return f"one or several of {', '.join(_TYPES)}"
    return "" if len(set(named)) == len(named) else "each type once"


def _check_names(value: Any) -> str:
    good = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return "" if good and len(set(value)) == len(value) else "a list of names, each once"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_KEYWORDS: dict[str, Callable[[Any], str]] = {
    "$ref": lambda v: "" if isinstance(v, str) else "a reference",
    "type": _check_type,
    "enum": lambda v: "" if isinstance(v, list) and v else "a list, not empty",
    "required": _check_names,
    "uniqueItems": lambda v: "" if isinstance(v, bool) else "true or false",
    "multipleOf": lambda v: "" if _is_integer(v) and v > 0 else "a positive integer",
    **dict.fromkeys(_COUNTS, lambda v: "" if _is_integer(v) and v >= 0 else "a count"),
    **dict.fromkeys(_BOUNDS, lambda v: "" if _is_integer(v) else "an integer"),
}


def _target(reference: Any, definitions: Any) -> str | None:
    """The name of a definition, or an empty one for the whole schema."""
    if reference == "#":
        return ""
    if not isinstance(reference, str) or not isinstance(definitions, dict):
        return None
    name = reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
    return name if reference.startswith("#/$defs/") and name in definitions else None


def _check_loops(schema: Mapping[str, Any]) -> None:
    """Refuse definitions that refer to each other without a step into the record."""
    definitions = {"": schema, **schema.get("$defs", {})}
    leads = {name: set(_in_place(part, definitions)) for name, part in definitions.items()}
    for name in sorted(leads):
        reached, todo = set[str](), [name]
        while todo:
            for following in leads[todo.pop()] - reached:
                reached.add(following)
                todo.append(following)
        if name in reached:
            raise _unsupported(f"/$defs/{name}" if name else "", "it refers to itself for ever")


def _in_place(schema: Any, definitions: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if "$ref" in schema:
        yield _target(schema["$ref"], definitions) or ""
    for keyword in _SEVERAL:
        for part in schema.get(keyword, []):
            yield from _in_place(part, definitions)
    if "not" in schema:
        yield from _in_place(schema["not"], definitions)


# A record.

_Failure = tuple[str, str]


class _Judge:
    """Applies one schema to one record, counting its work."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._definitions: Mapping[str, Any] = root.get("$defs", {})
        self._work = iter(range(WORK))

    def first_failure(self, schema: Schema, value: Any, place: str) -> _Failure | None:
        """Where the value first fails, keywords in the order of their names; None where it fits."""
        if next(self._work, None) is None:
            raise MedFabricError(
                Code.RECORD_REFUSED,
                f"record {place or '/'}: judging it takes too much work; simplify the schema",
            )
        if isinstance(schema, bool):
            return None if schema else (place, "false: nothing may stand here")
        for keyword in sorted(schema):
            judge = _JUDGES.get(keyword)
            if judge is not None and (failure := judge(self, schema, value, place)) is not None:
                return failure
        return None

    def fits(self, schema: Schema, value: Any, place: str) -> bool:
        return self.first_failure(schema, value, place) is None

    def reference(self, schema: Any, value: Any, place: str) -> _Failure | None:
        name = _target(schema["$ref"], self._definitions)
        return self.first_failure(self._definitions[name] if name else self._root, value, place)

    def all_of(self, schema: Any, value: Any, place: str) -> _Failure | None:
        failures = (self.first_failure(part, value, place) for part in schema["allOf"])
        return next((failure for failure in failures if failure is not None), None)

    def any_of(self, schema: Any, value: Any, place: str) -> _Failure | None:
        good = any(self.fits(part, value, place) for part in schema["anyOf"])
        return None if good else (place, "anyOf")

    def one_of(self, schema: Any, value: Any, place: str) -> _Failure | None:
        good = sum(self.fits(part, value, place) for part in schema["oneOf"]) == 1
        return None if good else (place, "oneOf")

    def not_(self, schema: Any, value: Any, place: str) -> _Failure | None:
        return (place, "not") if self.fits(schema["not"], value, place) else None

    def properties(self, schema: Any, value: Any, place: str) -> _Failure | None:
        if not isinstance(value, dict):
            return None
        for name in sorted(value.keys() & schema["properties"].keys()):
            at = f"{place}/{_escaped(name)}"
            failure = self.first_failure(schema["properties"][name], value[name], at)
            if failure is not None:
                return failure
        return None

    def additional(self, schema: Any, value: Any, place: str) -> _Failure | None:
        if not isinstance(value, dict):
            return None
        for name in sorted(value.keys() - schema.get("properties", {}).keys()):
            at = f"{place}/{_escaped(name)}"
            failure = self.first_failure(schema["additionalProperties"], value[name], at)
            if failure is not None:
                return failure
        return None

    def items(self, schema: Any, value: Any, place: str) -> _Failure | None:
        if not isinstance(value, list):
            return None
        for number, item in enumerate(value):
            failure = self.first_failure(schema["items"], item, f"{place}/{number}")
            if failure is not None:
                return failure
        return None


def _is(kind: str, value: Any) -> bool:
    return {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "integer": _is_integer(value),
    }[kind]


def _same(one: Any, other: Any) -> bool:
    # Not ==: in Python 1 equals true.
    return canonical.dumps(one) == canonical.dumps(other)


def _fits_type(kinds: Any, value: Any) -> bool:
    return any(_is(kind, value) for kind in (kinds if isinstance(kinds, list) else [kinds]))


def _distinct(wanted: bool, items: list[Any]) -> bool:
    return not wanted or len({canonical.dumps(item) for item in items}) == len(items)


_Test = tuple[Callable[[Any], bool], Callable[[Any, Any], bool]]
_TESTS: dict[str, _Test] = {
    "type": (lambda v: True, _fits_type),
    "enum": (lambda v: True, lambda given, v: any(_same(item, v) for item in given)),
    "const": (lambda v: True, _same),
    "required": (lambda v: isinstance(v, dict), lambda given, v: set(given) <= v.keys()),
    "minProperties": (lambda v: isinstance(v, dict), lambda given, v: len(v) >= given),
    "maxProperties": (lambda v: isinstance(v, dict), lambda given, v: len(v) <= given),
    "minItems": (lambda v: isinstance(v, list), lambda given, v: len(v) >= given),
    "maxItems": (lambda v: isinstance(v, list), lambda given, v: len(v) <= given),
    "uniqueItems": (lambda v: isinstance(v, list), _distinct),
    "minLength": (lambda v: isinstance(v, str), lambda given, v: len(v) >= given),
    "maxLength": (lambda v: isinstance(v, str), lambda given, v: len(v) <= given),
    "minimum": (_is_integer, lambda given, v: v >= given),
    "maximum": (_is_integer, lambda given, v: v <= given),
    "exclusiveMinimum": (_is_integer, lambda given, v: v > given),
    "exclusiveMaximum": (_is_integer, lambda given, v: v < given),
    "multipleOf": (_is_integer, lambda given, v: v % given == 0),
}
"""By keyword: which values it is about, and whether one fits what is given."""


def _tested(keyword: str) -> Callable[[_Judge, Any, Any, str], _Failure | None]:
    about, fits = _TESTS[keyword]

    def judge(_: _Judge, schema: Any, value: Any, place: str) -> _Failure | None:
        good = not about(value) or fits(schema[keyword], value)
        return None if good else (place, f"{keyword} {canonical.dumps(schema[keyword]).decode()}")

    return judge


_JUDGES: dict[str, Callable[[_Judge, Any, Any, str], _Failure | None]] = {
    **{keyword: _tested(keyword) for keyword in _TESTS},
    "$ref": _Judge.reference,
    "allOf": _Judge.all_of,
    "anyOf": _Judge.any_of,
    "oneOf": _Judge.one_of,
    "not": _Judge.not_,
    "properties": _Judge.properties,
    "additionalProperties": _Judge.additional,
    "items": _Judge.items,
}


# Both.


def _plain(value: Any, place: str, depth: int, size: int, code: Code) -> None:
    """Refuse what canonical JSON or its limits do not allow."""
    _check_plain(value, place, depth, code)
    if len(canonical.dumps(value)) > size:
        raise MedFabricError(code, f"it is larger than {size} bytes; keep the rest off the ledger")


def _check_plain(value: Any, place: str, depth: int, code: Code) -> None:
    if depth < 0:
        raise MedFabricError(code, f"{place}: nested too deeply; flatten it")
    if isinstance(value, float) or (_is_integer(value) and abs(value) > LARGEST):
        raise MedFabricError(
            code, f"{place or '/'}: only integers up to 2^53 - 1; give fractions as scaled integers"
        )
    if isinstance(value, dict):
        for name, inner in value.items():
            _check_plain(inner, f"{place}/{_escaped(name)}", depth - 1, code)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_plain(inner, f"{place}/{number}", depth - 1, code)


def _escaped(name: str) -> str:
    """A name as part of a JSON pointer (RFC 6901), short and printable for messages."""
    printable = "".join(c if c.isprintable() else "?" for c in name[:64])
    return printable.replace("~", "~0").replace("/", "~1")


def _unsupported(place: str, why: str) -> MedFabricError:
    return MedFabricError(Code.SCHEMA_REFUSED, f"schema {place or '/'}: {why}; correct it")
