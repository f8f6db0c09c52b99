"""Arguments that are not what they should be: refused with one code, never an exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_stub import creator
from support.scenario import HOSPITALS, PLAN, Scenario, at, dataset_of, sha, terms

from chaincode.framework import ARGUMENT_LIMIT
from chaincode.schema.errors import Code, parse
from chaincode.schema.transactions import TRANSACTIONS

NAMES = sorted(TRANSACTIONS)
EVERYTHING = ("everything", "admin,trainer,validator,auditor")
SCENARIO: list[Scenario] = []


def scenario() -> Scenario:
    """One ledger for all examples: whatever is refused leaves it as it was."""
    if not SCENARIO:
        made = at("open")
        made.users[HOSPITALS[0], EVERYTHING[0]] = creator(HOSPITALS[0], *EVERYTHING)
        args = made.node_args(HOSPITALS[0], EVERYTHING[0])
        made.do(HOSPITALS[0], "node:Register", args)
        SCENARIO.append(made)
    return SCENARIO[0]


def send(name: str, argument: bytes | None) -> tuple[int, str]:
    """What a registered node with every role is answered; nothing is kept."""
    made = scenario()
    who = made.users[HOSPITALS[0], EVERYTHING[0]]
    response = made.ledger.invoke(made.chaincode, who, name, argument, made.now, commit=False)
    error = parse(response.message)
    return response.status, "" if error is None else error.code


texts = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | texts
    | st.sampled_from([PLAN, dataset_of(HOSPITALS[0]), sha("x"), "node1", *HOSPITALS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(NAMES), st.binary(max_size=60) | st.none())
def test_any_bytes_are_refused(name, argument):
    status, code = send(name, argument)

    assert (status, code) == (400, Code.BAD_ARGUMENT) or argument == b"{}"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(NAMES), st.data())
def test_any_json_under_the_right_names_is_answered_with_a_code(name, data):
    fields = sorted(TRANSACTIONS[name].args.model_fields)
    argument = {field: data.draw(values) for field in fields if data.draw(st.booleans())}

    status, code = send(name, json.dumps(argument).encode())

    assert status == 200 or (status == 400 and code.startswith("MF-"))


PLAN_JSON = json.loads(terms("plan-9").model_dump_json())
UPDATE = {
    "plan_id": PLAN,
    "round": 1,
    "dataset_id": dataset_of(HOSPITALS[0]),
    "base_sha256": sha("base"),
    "update": {"cid": "Qm", "sha256": sha("u"), "size_bytes": 10},
    "samples": 100,
    "steps": 10,
    "batch_size": 20,
    "noise_multiplier_micro": 1_000_000,
}


def paths(value, at=()):
    """Every place in a JSON value."""
    yield at
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(item, (*at, key))


def replaced(value, place, new):
    if not place:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = replaced(changed[place[0]], place[1:], new)
    return changed


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([("plan:Propose", PLAN_JSON, p) for p in paths(PLAN_JSON)])
    | st.sampled_from([("round:SubmitUpdate", UPDATE, p) for p in paths(UPDATE)]),
    values,
)
def test_one_wrong_value_anywhere_is_answered_with_a_code(target, new):
    name, whole, place = target

    status, code = send(name, json.dumps(replaced(whole, place, new)).encode())

    assert status == 200 or (status == 400 and code.startswith("MF-"))


@pytest.mark.parametrize(
    "argument",
    [
        None,
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"\x00",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"plan_id":"' + b"a" * ARGUMENT_LIMIT + b'","number":1}',
        b'{"plan_id":"plan-1","number":1,"more":1}',
        b'{"plan_id":"plan-1"}',
        b'{"plan_id":"plan-1","number":true}',
        b'{"plan_id":"plan-1","number":"1"}',
        b'{"plan_id":"plan-1","number":1.0}',
        b'{"plan_id":"plan-1","number":NaN}',
        b'{"plan_id":"plan-1","number":-1}',
        b'{"plan_id":"plan-1","number":' + b"9" * 10_000 + b"}",
        b'{"plan_id":"plan-1\\u0000","number":1}',
        b'{"plan_id":"plan-1\\ud800","number":1}',
        b'{"plan_id":"plan-1\\n","number":1}',
        b'{"plan_id":"PLAN-1","number":1}',
    ],
)
def test_an_argument_that_is_not_the_transactions_is_refused(argument):
    assert send("round:Open", argument) == (400, Code.BAD_ARGUMENT)


def test_a_refusal_names_the_field_and_never_the_value():
    args = json.dumps({"plan_id": PLAN, "number": "a secret"}).encode()

    response = at("open").raw(HOSPITALS[0], "round:Open", args)

    assert "number" in response.message
    assert "secret" not in response.message


@pytest.mark.parametrize("name", ["\U0010ffff", "a\u0000b", "\u007f", "💊" * 32, "é"])
def test_a_charter_of_any_name_is_founded_or_refused(name):
    made = Scenario()
    founders = [{"msp_id": h, "name": h} for h in HOSPITALS]
    args = json.dumps({"name": name, "hospitals": founders}).encode()

    response = made.raw(HOSPITALS[0], "consortium:Found", args)

    assert response.status in (200, 400)
    assert bool(made.ledger.state) == (response.status == 200)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("\x01", Code.ROLE_REQUIRED),
        ("a\x00b", Code.ROLE_REQUIRED),
        ("a\U0010ffff", Code.ROLE_REQUIRED),
        ("Node One", Code.NODE_UNREGISTERED),
        ("x" * 64, Code.NODE_UNREGISTERED),
    ],
)
def test_a_certificate_of_any_name_is_refused_by_code(name, code):
    who = creator(HOSPITALS[0], name, "trainer,validator")

    assert at("open").refused(who, "round:Open", {"plan_id": PLAN, "number": 1}).code == code
