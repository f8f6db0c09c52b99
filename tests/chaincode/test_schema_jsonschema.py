"""The ledger's subset of JSON Schema: what it refuses, and that it judges as the standard does."""

from __future__ import annotations

import jsonschema as public
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.schema import jsonschema
from chaincode.schema.errors import Code, MedFabricError


def judged(schema, record) -> bool:
    """Whether a record fits, by a schema that is taken."""
    jsonschema.check_schema(schema)
    return refusal(jsonschema.validate, schema, record) is None


def refusal(function, *args) -> str | None:
    """The code by which arguments are refused; None where they are not."""
    try:
        function(*args)
    except MedFabricError as error:
        return error.code
    return None


NAMES = st.sampled_from(["a", "b", "~/", "é"])
RECORDS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "💊"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["null", "boolean", "object", "array", "string", "integer"])
SMALL = st.integers(0, 3)


def schemas(inner):
    """A schema over smaller ones."""
    listed = st.lists(inner, min_size=1, max_size=3)
    keywords = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(RECORDS, min_size=1, max_size=3),
        "const": RECORDS,
        "required": st.lists(NAMES, max_size=2, unique=True),
        "properties": st.dictionaries(NAMES, inner, max_size=3),
        "additionalProperties": inner,
        "items": inner,
        "not": inner,
        "allOf": listed,
        "anyOf": listed,
        "oneOf": listed,
        "uniqueItems": st.booleans(),
        "multipleOf": st.integers(1, 3),
        "title": st.just("x"),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), SMALL),
        **dict.fromkeys(("minProperties", "maxProperties"), SMALL),
        **{
            k: st.integers(-3, 3)
            for k in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
        },
        "$ref": st.sampled_from(["#/$defs/leaf", "#/$defs/list"]),
    }
    return st.fixed_dictionaries({}, optional=keywords) | st.lists(
        st.sampled_from(sorted(keywords)), min_size=1, max_size=3, unique=True
    ).flatmap(lambda names: st.fixed_dictionaries({name: keywords[name] for name in names}))


DEFINITIONS = {
    "leaf": {"type": ["integer", "string"]},
    "list": {"type": "array", "items": {"$ref": "#/$defs/list"}},
}
WHOLE = schemas(st.recursive(st.booleans() | st.just({}), schemas, max_leaves=4)).map(
    lambda schema: {**schema, "$defs": DEFINITIONS}
)


@settings(max_examples=600, deadline=None)
@given(WHOLE, RECORDS)
def test_records_are_judged_as_the_public_implementation_judges_them(schema, record):
    expected = public.Draft202012Validator(schema).is_valid(record)

    assert judged(schema, record) is expected


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": {"pattern": "(a+)+$"}}}, "/properties/a/pattern"),
        ({"format": "date"}, "/format"),
        ({"$ref": "https://elsewhere.example/schema"}, "/$ref"),
        ({"$ref": "#/$defs/nothing"}, "/$ref"),
        ({"$ref": "#/properties/a", "properties": {"a": {}}}, "/$ref"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
        ({"type": "number"}, "/type"),
        ({"type": []}, "/type"),
        ({"minimum": 0.5}, "/minimum"),
        ({"minimum": True}, "/minimum"),
        ({"multipleOf": 0}, "/multipleOf"),
        ({"enum": []}, "/enum"),
        ({"maxItems": -1}, "/maxItems"),
        ({"items": [{}]}, "/items"),
        ({"anyOf": []}, "/anyOf"),
        ({"anyOf": {}}, "/anyOf"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a~/b": 1}}, "/properties/a~0~1b"),
        ({"required": ["a", "a"]}, "/required"),
        ({"items": {"$defs": {}}}, "/items/$defs"),
        ({"if": {}}, "/if"),
        ({"const": 2**53}, "/const"),
        ({"$ref": "#"}, "/"),
        (
            {
                "$defs": {
                    "a": {"anyOf": [{"$ref": "#/$defs/b"}]},
                    "b": {"not": {"$ref": "#/$defs/a"}},
                }
            },
            "/$defs/a",
        ),
        ([], "/"),
        (True, "/"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_place(schema, place):
    with pytest.raises(MedFabricError) as caught:
        jsonschema.check_schema(schema)

    assert caught.value.code == Code.SCHEMA_REFUSED
    assert place + ":" in caught.value.message


def test_schemas_that_are_too_large_or_too_deep_are_refused():
    deep: dict = {}
    for _ in range(50):
        deep = {"not": deep}
    for schema in (deep, {"description": "x" * jsonschema.SCHEMA_BYTES}):
        with pytest.raises(MedFabricError, match=Code.SCHEMA_REFUSED):
            jsonschema.check_schema(schema)


def test_judging_that_would_take_for_ever_is_cut_off():
    blow_up = {"$defs": {"l0": {"type": "integer"}}}
    for level in range(1, 30):
        below = {"$ref": f"#/$defs/l{level - 1}"}
        blow_up["$defs"][f"l{level}"] = {"allOf": [below, below]}
    schema = {**blow_up, "$ref": "#/$defs/l29"}
    jsonschema.check_schema(schema)

    with pytest.raises(MedFabricError, match="too much work"):
        jsonschema.validate(schema, 1)


@pytest.mark.parametrize("record", [0.5, 2**53, {"a": [float("nan")]}, "x" * 9000])
def test_records_that_the_ledger_cannot_hold_are_refused(record):
    with pytest.raises(MedFabricError, match=Code.RECORD_REFUSED):
        jsonschema.validate({}, record)


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "$ref", "$defs", "properties", "anyOf", "not", "items", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_any_json_as_a_schema_is_taken_or_refused_by_code(schema):
    code = refusal(jsonschema.check_schema, schema)

    assert code in (None, Code.SCHEMA_REFUSED)
    if code is None:
        assert refusal(jsonschema.validate, schema, {"x": [1, None]}) in (None, Code.RECORD_REFUSED)
