"""Private records: kept by their hospital alone, known to the others by a salted hash."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_stub import creator
from support.scenario import HOSPITALS, Scenario, at, dataset_of, sha

from chaincode.contracts.private import RECORD_LIMIT
from chaincode.schema import canonical, keys
from chaincode.schema.errors import Code
from chaincode.schema.private import TRANSIENT, PrivateRecord
from chaincode.shim.stub import composite_key

ONE, TWO = HOSPITALS[:2]
INVENTORY = {
    "maker": "Acme",
    "model": "Box 9",
    "serial_number": "SN-0815",
    "location": "basement, rack 3",
    "processors": 16,
    "memory_mib": 65536,
    "accelerators": ["Acme G1"],
    "software": [],
}
STATISTICS = {
    "samples": 100,
    "classes": [{"name": "no", "samples": 61}, {"name": "yes", "samples": 39}],
    "features": [
        {
            "name": "radius",
            "missing": 0,
            "low_micro": -5,
            "high_micro": 28_110_000,
            "mean_micro": 14_127_291,
            "deviation_micro": 3_524_048,
        }
    ],
}


SALT = sha("salt")


def record(kind="inventory", subject="node1", msp_id=ONE, salt=SALT, **content):
    body = content or {kind: INVENTORY if kind == "inventory" else STATISTICS}
    whole = {"inventory": None, "statistics": None} | body
    return {"kind": kind, "msp_id": msp_id, "subject": subject, "salt": salt} | whole


def transient(value):
    return {TRANSIENT: value if isinstance(value, bytes) else json.dumps(value).encode()}


def keep(scenario: Scenario, value=None, msp_id=ONE):
    value = value or record(msp_id=msp_id)
    args = {"kind": value["kind"], "subject": value["subject"]}
    return scenario.do(msp_id, "private:Keep", args, transient=transient(value))


def place(msp_id=ONE, kind="inventory", subject="node1"):
    return f"_implicit_org_{msp_id}", composite_key(*keys.private_record(kind, subject))


def test_a_record_is_kept_in_the_own_collection_and_nowhere_else():
    scenario = at("enrolled")
    before = dict(scenario.ledger.state)

    kept = keep(scenario)

    stored = scenario.ledger.private[place()]
    assert json.loads(stored) == record()
    assert kept["sha256"] == hashlib.sha256(stored).hexdigest()
    # A public write would need a majority of peers, and each would see the record.
    assert scenario.ledger.state == before


def test_events_and_results_say_nothing_of_the_content():
    scenario = at("enrolled")

    kept = keep(scenario)

    event = scenario.ledger.events[-1]
    assert event[0] == "private.kept"
    for said in (json.dumps(kept), event[1].decode()):
        assert not any(word in said for word in ("Acme", "SN-0815", "rack", sha("salt")))


@pytest.mark.parametrize(
    ("kind", "subject"), [("inventory", "node1"), ("statistics", dataset_of(ONE))]
)
def test_every_role_of_the_hospital_reads_it(kind, subject):
    scenario = at("enrolled")
    keep(scenario, record(kind, subject))

    for user in ("admin", "node1", "auditor"):
        args = {"kind": kind, "subject": subject}
        assert scenario.do(ONE, "private:Get", args, user) == record(kind, subject)


def test_another_hospital_reads_its_own_collection_alone():
    scenario = at("enrolled")
    keep(scenario)
    args = {"kind": "inventory", "subject": "node1"}

    assert scenario.refused(TWO, "private:Get", args).code == Code.NOT_FOUND
    assert scenario.do(TWO, "private:List", {"kind": "inventory"})["records"] == []
    assert scenario.refused(TWO, "private:Purge", args).code == Code.NOT_FOUND


def test_only_an_admin_keeps_and_purges():
    scenario = at("enrolled")
    keep(scenario)
    args = {"kind": "inventory", "subject": "node1"}

    for name in ("private:Keep", "private:Purge"):
        for user in ("node1", "auditor"):
            refused = scenario.refused(ONE, name, args, user, transient=transient(record()))
            assert refused.code == Code.ROLE_REQUIRED


def test_records_are_of_registered_nodes_and_own_datasets():
    scenario = at("enrolled")

    def refused(kind, subject):
        args = {"kind": kind, "subject": subject}
        given = transient(record(kind, subject))
        return scenario.refused(ONE, "private:Keep", args, transient=given).code

    assert refused("inventory", "nobody") == Code.NOT_FOUND
    assert refused("statistics", "nothing") == Code.NOT_FOUND
    assert refused("statistics", dataset_of(TWO)) == Code.NOT_OWNER


@pytest.mark.parametrize(
    "value",
    [
        record(msp_id=TWO),
        record(subject="node2"),
        record("statistics"),
        record(inventory=None),
        record(inventory=INVENTORY, statistics=STATISTICS),
        record(salt="short"),
        record(salt="Z" * 64),
        record(inventory=INVENTORY | {"processors": 0}),
        record(inventory=INVENTORY | {"more": 1}),
        b"",
        b"null",
        b"\xff",
        b"[" * 10_000,
        b'{"kind":"inventory","salt":"' + b"a" * RECORD_LIMIT + b'"}',
    ],
)
def test_a_record_that_is_none_is_refused_without_a_word_of_it(value):
    scenario = at("enrolled")
    args = {"kind": "inventory", "subject": "node1"}

    error = scenario.refused(ONE, "private:Keep", args, transient=transient(value))

    assert error.code == Code.BAD_ARGUMENT
    assert not any(word in str(error) for word in ("Acme", "SN-0815", "Z" * 64, "aaaa"))


def test_a_record_as_an_argument_is_refused():
    scenario = at("enrolled")
    args = {"kind": "inventory", "subject": "node1"}

    assert scenario.refused(ONE, "private:Keep", args).code == Code.BAD_ARGUMENT
    assert scenario.refused(ONE, "private:Keep", args | {"record": record()}).code == (
        Code.BAD_ARGUMENT
    )


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*record(), *INVENTORY]), inner, max_size=6)
        ),
    )
)
def test_whatever_comes_as_a_record_is_answered_with_a_code(value):
    scenario = at("enrolled")
    args = {"kind": "inventory", "subject": "node1"}
    given_ = {TRANSIENT: json.dumps(value).encode()}

    assert scenario.refused(ONE, "private:Keep", args, transient=given_).code == Code.BAD_ARGUMENT


def test_a_later_record_replaces_the_earlier():
    scenario = at("enrolled")
    first = keep(scenario)
    second = keep(scenario, record(salt=sha("another")))

    args = {"kind": "inventory", "subject": "node1"}
    assert first["sha256"] != second["sha256"]
    assert scenario.do(ONE, "private:Get", args)["salt"] == sha("another")
    old = VERIFY, transient(record())
    assert scenario.refused(TWO, "private:Verify", old[0], transient=old[1]).code == (
        Code.PRIVATE_RECORD_MISMATCH
    )


def test_the_same_content_has_another_hash_under_another_salt():
    hashes = {
        PrivateRecord.model_validate_json(json.dumps(record(salt=sha(str(n))))).sha256
        for n in range(10)
    }
    assert len(hashes) == 10


# handing on

VERIFY = {"msp_id": ONE, "kind": "inventory", "subject": "node1"}


def test_another_hospital_verifies_what_it_is_given():
    scenario = at("enrolled")
    kept = keep(scenario)

    assert scenario.do(TWO, "private:Verify", VERIFY, transient=transient(record())) == kept


@pytest.mark.parametrize(
    "value",
    [record(salt=sha("x")), record(inventory=INVENTORY | {"processors": 17}), record(msp_id=TWO)],
)
def test_a_record_that_was_changed_does_not_verify(value):
    scenario = at("enrolled")
    keep(scenario)

    refused = scenario.refused(TWO, "private:Verify", VERIFY, transient=transient(value))

    assert refused.code == Code.PRIVATE_RECORD_MISMATCH


def test_what_was_never_kept_does_not_verify():
    scenario = at("enrolled")
    given_ = transient(record())

    for msp_id in (ONE, "Hospital9MSP"):
        args = VERIFY | {"msp_id": msp_id}
        assert scenario.refused(TWO, "private:Verify", args, transient=given_).code == (
            Code.NOT_FOUND
        )


# purging


def test_a_purged_record_is_gone_with_its_hash():
    scenario = at("enrolled")
    keep(scenario)
    args = {"kind": "inventory", "subject": "node1"}

    scenario.do(ONE, "private:Purge", args)

    assert scenario.ledger.purged == [place()]
    assert scenario.refused(ONE, "private:Get", args).code == Code.NOT_FOUND
    assert scenario.refused(ONE, "private:Purge", args).code == Code.NOT_FOUND
    given_ = transient(record())
    assert scenario.refused(TWO, "private:Verify", VERIFY, transient=given_).code == Code.NOT_FOUND


# lists


def test_lists_are_paged_by_subject():
    scenario = at("founded")
    names = [f"machine{number}" for number in range(5)]
    for name in names:
        scenario.users[ONE, name] = creator(ONE, name, "trainer", name)
        scenario.do(ONE, "node:Register", scenario.node_args(ONE, name) | {"roles": ["trainer"]})
        keep(scenario, record(subject=name))

    seen, bookmark = [], ""
    for _ in range(3):
        args = {"kind": "inventory", "page_size": 2, "bookmark": bookmark}
        page = scenario.do(ONE, "private:List", args)
        seen += [entry["subject"] for entry in page["records"]]
        bookmark = page["bookmark"]

    assert (seen, bookmark) == (names, "")
    assert scenario.do(ONE, "private:List", {"kind": "statistics"}) == {
        "records": [],
        "bookmark": "",
    }


def test_the_hash_is_over_the_canonical_bytes():
    scenario = at("enrolled")
    spaced = json.dumps(record(), indent=3).encode()

    kept = keep(scenario)
    again = scenario.do(
        ONE,
        "private:Keep",
        {"kind": "inventory", "subject": "node1"},
        transient={TRANSIENT: spaced},
    )

    assert again == kept
    assert kept["sha256"] == hashlib.sha256(canonical.dumps(record())).hexdigest()
