"""What a key says is not stored again, and is read back from it."""

from __future__ import annotations

import json

import pytest
from support.memory_stub import proposal_bytes
from support.scenario import HOSPITALS, at, terms

from chaincode.contracts.framework import Context
from chaincode.schema import keys, stored
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import Cohort, NodeRef
from chaincode.shim.stub import Proposal, Stub, composite_key, split_composite_key


def test_no_value_says_what_its_key_says_and_nothing_is_lost():
    state = at("published").ledger.state
    found = {}
    for name, value in state.items():
        key = split_composite_key(name)
        if key[0] in stored.IN_KEY:
            found[key[0]] = (key, value)

    assert found.keys() == stored.IN_KEY.keys() - {"decline"}
    for kind, (key, value) in found.items():
        assert not json.loads(value).keys() & set(stored.IN_KEY[kind])
        said = json.loads(stored.whole(key, value))
        numbers = {field: int(part) for field, part in _parts(key) if part.isdecimal()}
        words = {field: part for field, part in _parts(key) if not part.isdecimal()}
        assert said == json.loads(value) | numbers | words


def test_a_value_that_its_key_says_whole_is_read_back():
    key = ("plan", ("p",))

    assert stored.whole(key, b"{}") == b'{"plan_id":"p"}'


def test_a_kind_that_says_all_itself_is_stored_whole():
    key = keys.update_content("p", "ab" * 32)
    node = NodeRef(msp_id="Hospital1MSP", node_id="node1")

    assert stored.whole(key, stored.value(key, node)) == stored.value(key, node)
    assert json.loads(stored.value(key, node)) == node.model_dump()


def test_a_key_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        stored.whole(("round", ("p",)), b"{}")


def test_what_is_large_is_parsed_once_and_never_mistaken_for_another():
    made = at("active")
    key = keys.plan_terms(terms().plan_id)
    value = made.ledger.state[composite_key(*key)] + b" " * 2048
    renamed = value.replace(b'"title":"', b'"title":"Another ', 1)
    first, second = _context(made), _context(made)

    assert first.decoded(key, value, PlanTerms) is second.decoded(key, bytes(value), PlanTerms)
    assert first.decoded(key, value, PlanTerms) == terms()
    assert second.decoded(key, renamed, PlanTerms).title == f"Another {terms().title}"


def test_large_values_that_are_alike_are_told_apart_by_their_keys():
    context = _context(at("founded"))
    value = b'{"participants":[],"excluded":[]' + b" " * 2048 + b"}"

    for number in (1, 2):
        found = context.decoded(keys.cohort("p", number, 0), value, Cohort)
        assert (found.plan_id, found.number, found.page) == ("p", number, 0)


def _context(made):
    proposal = Proposal(proposal_bytes(made.users[HOSPITALS[0], "admin"], 1))
    return Context(Stub("0" * 64, "medfabric", [], proposal, made.ledger), frozenset())


def _parts(key):
    return zip(stored.IN_KEY[key[0]], key[1], strict=True)
