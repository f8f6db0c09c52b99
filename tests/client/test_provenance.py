"""The provenance graph from the ledger's queries and from proven blocks, and its export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import prov.model
import pytest
from click.testing import CliRunner
from support.ledger_gateway import LedgerGateway
from support.pki import make_identity
from support.replayed import proven
from support.scenario import HOSPITALS, PLAN, ROUNDS, Scenario, at, dataset_of, sha, terms
from support.scripted_gateway import serve

from chaincode.schema import canonical, keys
from chaincode.schema.base import Role
from chaincode.schema.errors import MedFabricError
from client.audit import graph as graphs
from client.audit import lineage
from client.audit.graph import Replay
from client.cli.main import cli
from client.cli.output import Exit
from client.consortium import Consortium
from client.provenance import LedgerSource, models_from, prov_json, walk

ONE = HOSPITALS[0]
LAST = f"model/{sha(f'model {ROUNDS}')}"


@pytest.fixture(scope="module")
def completed() -> Scenario:
    """A plan whose rounds are all done."""
    made = at("published")
    for number in range(2, ROUNDS + 1):
        made.round(terms(), number)
    return made


@dataclass
class Desk:
    """One hospital's administrator at the command line."""

    connection: Path
    identity: Path

    def run(self, *words: str) -> tuple[int, Any]:
        """Exit code, and what was printed as JSON: a result or an error."""
        options = ["--identity", str(self.identity), "--connection", str(self.connection), "--json"]
        result = CliRunner().invoke(cli, ["audit", *words, *options])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, json.loads(result.stdout or result.stderr)


@pytest.fixture
def desk(completed, authority, tmp_path) -> Iterator[Desk]:
    service = LedgerGateway()
    service.ledger = completed.ledger
    make_identity(authority, "admin", msp_id=ONE, roles=(Role.ADMIN,)).save(tmp_path / "admin")
    with serve(service, authority, tmp_path) as (connection, _):
        yield Desk(connection, tmp_path / "admin")


@pytest.fixture
def admin(desk) -> Iterator[Consortium]:
    with Consortium.connect(desk.connection, desk.identity) as consortium:
        yield consortium


@pytest.fixture
def source(admin) -> LedgerSource:
    opened = admin.provenance.open_access(hospitals=HOSPITALS, purpose="an audit")
    return LedgerSource(admin, opened.access)


def test_ledger_and_proven_blocks_tell_the_same_graph(source, completed):
    asked = walk(source, LAST, descendants=True)

    replayed = walk(Replay(proven(completed.ledger)), LAST, descendants=True)

    assert asked == replayed
    assert json.dumps(prov_json(asked)) == json.dumps(prov_json(replayed))
    assert len(asked.of_kind("update")) == len(HOSPITALS) * ROUNDS
    assert {f"dataset/{dataset_of(h)}" for h in HOSPITALS} <= set(asked.elements)


def test_the_public_prov_library_reads_the_export_back(completed):
    graph = walk(Replay(proven(completed.ledger)), LAST)

    document = prov.model.ProvDocument.deserialize(content=json.dumps(prov_json(graph)))

    records = {str(r.identifier): r for r in document.get_records() if r.is_element()}
    assert {name.removeprefix("mf:") for name in records} >= set(graph.elements)
    model = records[f"mf:{LAST}"]
    assert isinstance(model, prov.model.ProvEntity)
    assert isinstance(records[f"mf:round/{PLAN}/00001"], prov.model.ProvActivity)
    assert records[f"mf:round/{PLAN}/00001"].get_startTime() is not None
    relations = {
        (type(r).__name__, *(str(value) for _, value in r.formal_attributes[:2]))
        for r in document.get_records()
        if r.is_relation()
    }
    wanted = {
        ("ProvGeneration", f"mf:{LAST}", f"mf:round/{PLAN}/0000{ROUNDS}"),
        ("ProvDerivation", f"mf:{LAST}", f"mf:model/{sha(f'model {ROUNDS - 1}')}"),
        ("ProvUsage", f"mf:round/{PLAN}/00001", f"mf:contributions/{PLAN}/00001/00000"),
        (
            "ProvDerivation",
            f"mf:contributions/{PLAN}/00001/00000",
            f"mf:update/{PLAN}/00001/{ONE}/node1",
        ),
        ("ProvAttribution", f"mf:update/{PLAN}/00001/{ONE}/node1", f"mf:node/{ONE}/node1"),
        ("ProvDelegation", f"mf:node/{ONE}/node1", f"mf:hospital/{ONE}"),
    }
    assert wanted <= relations
    assert {r for r in relations if r[0] == "ProvAssociation"}
    again = prov.model.ProvDocument.deserialize(content=document.serialize())
    assert again == document


def test_an_applications_records_about_ancestors_are_told_and_exported(authority, tmp_path):
    made = at("published")
    definition = {"type": "object", "properties": {"camera of": {"type": "string"}}}
    schema = {"application": "falls", "version": 1, "title": "Falls", "definition": definition}
    made.do(ONE, "application:Register", schema)
    about = {"application": "falls", "version": 1, "record_id": "r1"}
    content = {"camera of": "ward 3", "none": None, "lists": [1]}
    subject = f"dataset/{dataset_of(ONE)}"
    made.do(ONE, "application:Record", {**about, "subject": subject, "record": content})
    service = LedgerGateway()
    service.ledger = made.ledger
    make_identity(authority, "admin", msp_id=ONE, roles=(Role.ADMIN,)).save(tmp_path / "admin")
    first = f"model/{sha('model 1')}"

    replayed = walk(Replay(proven(made.ledger)), first)
    with (
        serve(service, authority, tmp_path) as (connection, _),
        Consortium.connect(connection, tmp_path / "admin") as admin,
    ):
        access = admin.provenance.open_access(hospitals=HOSPITALS, purpose="an audit").access
        asked = walk(LedgerSource(admin, access), first)

    assert asked == replayed
    record = f"record/falls/{ONE}/r1"
    assert asked.elements[record].says == {
        "application": "falls",
        "version": 1,
        "record_camera%20of": "ward 3",
    }
    document = prov.model.ProvDocument.deserialize(content=json.dumps(prov_json(asked)))
    names = {str(r.identifier) for r in document.get_records() if r.is_element()}
    assert {f"mf:{record}", "mf:application/falls/00001", f"mf:{subject}"} <= names


def test_models_that_learned_from_a_dataset_are_found_through_all_rounds(source):
    found = models_from(source, dataset_of(ONE))

    assert found == sorted(sha(f"model {number}") for number in range(1, ROUNDS + 1))


def test_a_dataset_whose_update_was_left_out_taught_nothing():
    made, plan = at("open"), terms()
    made.submit(plan, who=HOSPITALS[1:])
    made.wait()
    made.advance(plan)
    for step in (made.attest, made.share, made.evaluate):
        step(plan)
        made.advance(plan)
    replay = Replay(proven(made.ledger))

    assert models_from(replay, dataset_of(ONE)) == []
    assert models_from(replay, dataset_of(HOSPITALS[1])) == [sha("model 1")]


def test_a_reader_without_access_is_refused(admin):
    with pytest.raises(MedFabricError, match="MF-1014"):
        walk(LedgerSource(admin), LAST)


def test_the_kept_graph_follows_from_the_ledger(completed):
    assert list(graphs.check(proven(completed.ledger))) == []


@pytest.mark.parametrize("damage", ["removed", "added", "changed"])
def test_a_kept_graph_that_does_not_follow_from_the_ledger_is_found(completed, damage):
    ledger = proven(completed.ledger)
    edge = next(key for key in ledger.writings if key.startswith("\x00edge\x00update"))
    act = next(key for key in ledger.writings if key.startswith(f"\x00act\x00{ONE}\x00node1"))
    if damage == "removed":
        del ledger.writings[edge]
    elif damage == "added":
        made_up = keys.composite(keys.edge("dataset/x", "used", "round/y/00001"))
        ledger.writings[made_up] = ledger.writings[edge]
    else:
        (writing,) = ledger.writings[act]
        value = canonical.dumps({"function": "model:Steal"})
        ledger.writings[act] = [replace(writing, value=value)]

    (finding,) = graphs.check(ledger)

    assert finding.code == "MF-7512"


def test_lineage_is_told_each_thing_by_its_kind_once(completed):
    told = lineage.text(lineage.of(proven(completed.ledger), LAST.partition("/")[2]))

    words = [line.split()[:2] for line in told.splitlines()]
    assert ["plan", f"{PLAN}:"] in words
    assert ["round", f"{PLAN}/00001:"] in words
    assert [kind for kind, *rest in words if rest == [kind]] == []


def test_lineage_is_asked_for_at_the_command_line(desk, tmp_path):
    code, error = desk.run("ancestors", LAST)
    assert (code, error["error"]) == (Exit.REFUSED, "MF-1014")
    _, opened = desk.run("access", *HOSPITALS, "--purpose", "a yearly audit")
    access = ("--access", opened["access"])

    _, told = desk.run("ancestors", LAST, *access)
    _, below = desk.run("descendants", f"dataset/{dataset_of(ONE)}", *access)
    _, models = desk.run("models", dataset_of(HOSPITALS[1]), *access)
    _, signed = desk.run("signed", HOSPITALS[1], "node1", *access)
    _, accesses = desk.run("accesses", HOSPITALS[1])

    assert LAST in {row["name"] for row in told["elements"]}
    assert {row["name"] for row in below["elements"]} >= {LAST}
    assert f"dataset/{dataset_of(ONE)}" in {row["name"] for row in told["elements"]}
    assert len(models) == ROUNDS
    assert [row["what"] for row in signed].count("round:Attest") == ROUNDS
    assert "a yearly audit" in {row["purpose"] for row in accesses}
    _, written = desk.run("prov", LAST, "--out", str(tmp_path / "model.json"), *access)
    document = prov.model.ProvDocument.deserialize(str(tmp_path / "model.json"))
    assert len([r for r in document.get_records() if r.is_element()]) >= written["elements"]
