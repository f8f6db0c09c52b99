"""Applications register schemas of their own; their records hang on the provenance graph."""

from __future__ import annotations

import json

import pytest
from support.scenario import HOSPITALS, PLAN, at, dataset_of, sha

from chaincode.schema import keys
from chaincode.schema.errors import Code

ONE, TWO = HOSPITALS[:2]
FALLS = {
    "application": "falls",
    "version": 1,
    "title": "Falls",
    "definition": {
        "type": "object",
        "properties": {
            "camera": {"type": "string", "maxLength": 32},
            "frames_per_second": {"type": "integer", "minimum": 1, "maximum": 120},
            "consented": {"const": True},
        },
        "required": ["camera", "consented"],
        "additionalProperties": False,
    },
}
GOOD = {"camera": "ward 3", "frames_per_second": 25, "consented": True}


def record(subject: str, content: dict, record_id: str = "r1", version: int = 1) -> dict:
    return {
        "application": "falls",
        "version": version,
        "record_id": record_id,
        "subject": subject,
        "record": content,
    }


@pytest.fixture
def made():
    scenario = at("published")
    scenario.do(ONE, "application:Register", FALLS)
    return scenario


@pytest.mark.parametrize(
    "subject",
    [
        f"dataset/{dataset_of(ONE)}",
        f"update/{PLAN}/00001/{ONE}/node1",
        f"model/{sha('model 1')}",
    ],
)
def test_a_record_hangs_on_the_element_that_it_is_about(made, subject):
    made.do(ONE, "application:Record", record(subject, GOOD), "node1")

    args = {"name": subject}
    edges = made.do(ONE, "provenance:Descendants", args, "admin")["edges"]
    name = f"record/falls/{ONE}/r1"
    assert name in {edge["source"] for edge in edges}
    told = made.do(ONE, "provenance:Ancestors", {"name": name}, "admin")
    assert {(e["relation"], e["target"]) for e in told["edges"]} == {
        ("wasAttributedTo", f"hospital/{ONE}"),
        ("wasDerivedFrom", subject),
        ("wasInfluencedBy", "application/falls/00001"),
    }
    assert made.asset(keys.record("falls", ONE, "r1"))["record"] == GOOD


def test_a_record_that_does_not_fit_is_refused_with_its_place(made):
    subject = f"model/{sha('model 1')}"
    for content, place in (
        ({**GOOD, "frames_per_second": 0}, "/frames_per_second"),
        ({**GOOD, "patient": "x"}, "/patient"),
        ({"camera": "ward 3"}, "required"),
    ):
        error = made.refused(ONE, "application:Record", record(subject, content))
        assert error.code == Code.RECORD_REFUSED
        assert place in error.message
        assert "ward 3" not in error.message


def test_a_fraction_is_refused_by_code(made):
    args = record(f"model/{sha('model 1')}", {**GOOD, "frames_per_second": 2.5})

    response = made.raw(ONE, "application:Record", json.dumps(args).encode())

    assert response.status == 400
    assert response.message.startswith(Code.RECORD_REFUSED)


def test_records_hang_on_ones_own_and_on_shared_entities_alone(made):
    foreign = record(f"dataset/{dataset_of(TWO)}", GOOD)
    assert made.refused(ONE, "application:Record", foreign).code == Code.NOT_OWNER
    activity = record(f"round/{PLAN}/00001", GOOD)
    assert made.refused(ONE, "application:Record", activity).code == Code.BAD_ARGUMENT
    nothing = record("model/nothing", GOOD)
    assert made.refused(ONE, "application:Record", nothing).code == Code.NOT_FOUND
    unknown = record(f"model/{sha('model 1')}", GOOD, version=2)
    assert made.refused(ONE, "application:Record", unknown).code == Code.NOT_FOUND


def test_a_record_stands_once_posted(made):
    args = record(f"model/{sha('model 1')}", GOOD)
    made.do(ONE, "application:Record", args)

    again = {**args, "record": {**GOOD, "camera": "other"}}
    assert made.refused(ONE, "application:Record", again).code == Code.DUPLICATE_CONTRIBUTION


def test_versions_follow_each_other_by_the_same_hospital(made):
    assert made.refused(ONE, "application:Register", FALLS).code == Code.EXISTS
    third = {**FALLS, "version": 3}
    assert made.refused(ONE, "application:Register", third).code == Code.NOT_FOUND
    second = {**FALLS, "version": 2, "definition": {"type": "object"}}
    assert made.refused(TWO, "application:Register", second).code == Code.NOT_OWNER
    bad = {**second, "definition": {"pattern": "x"}}
    assert made.refused(ONE, "application:Register", bad).code == Code.SCHEMA_REFUSED

    made.do(ONE, "application:Register", second)

    subject = f"model/{sha('model 1')}"
    made.do(TWO, "application:Record", record(subject, {"any": ["thing"]}, version=2))
    schemas = made.do(ONE, "application:List", {}, "auditor")["schemas"]
    assert [schema["version"] for schema in schemas] == [1, 2]
    told = made.do(ONE, "provenance:Ancestors", {"name": "application/falls/00002"}, "admin")
    assert "application/falls/00001" in {edge["target"] for edge in told["edges"]}


def test_another_hospitals_records_take_an_access(made):
    made.do(ONE, "application:Record", record(f"dataset/{dataset_of(ONE)}", GOOD))
    place = {"application": "falls", "msp_id": ONE}
    one = {**place, "record_id": "r1"}
    assert made.refused(TWO, "application:Records", place).code == Code.ACCESS_REQUIRED
    assert made.refused(TWO, "application:GetRecord", one).code == Code.ACCESS_REQUIRED

    args = {"hospitals": [ONE], "purpose": "a study"}
    access = {"access": made.do(TWO, "provenance:OpenAccess", args, "admin")["access"]}

    assert made.do(TWO, "application:GetRecord", {**one, **access}, "admin")["record"] == GOOD
    page = made.do(TWO, "application:Records", {**place, **access}, "admin")
    assert [r["record_id"] for r in page["records"]] == ["r1"]
