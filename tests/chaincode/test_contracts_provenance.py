"""The provenance graph that the contracts write as they act."""

from __future__ import annotations

import json

import pytest
from support.scenario import HOSPITALS, PLAN, Scenario, at, dataset_of, sha

from chaincode.schema import keys, meanings
from chaincode.schema.errors import Code
from chaincode.schema.provenance import ENDS, CoreType, Edge, Relation, key_of, name_of
from chaincode.schema.stored import whole
from chaincode.schema.transactions import TRANSACTIONS
from chaincode.shim.stub import composite_key, split_composite_key

ONE, TWO = HOSPITALS[:2]
MODEL = f"model/{sha('model 1')}"
ROUND = f"round/{PLAN}/00001"
UPDATES = [f"update/{PLAN}/00001/{h}/node1" for h in HOSPITALS]


def pages(made: Scenario, msp_id: str, name: str, args: dict, size: int = 2, user="auditor"):
    """All pages of a query, small ones."""
    bookmark, found = "", []
    while True:
        page = made.do(msp_id, name, {**args, "page_size": size, "bookmark": bookmark}, user)
        found.append(page)
        if not (bookmark := page["bookmark"]):
            return found


def opened(made: Scenario, msp_id: str, *hospitals: str, user="admin") -> str:
    """An access of the hospital's admin to others' lineage."""
    args = {"hospitals": list(hospitals), "purpose": "a patient asks"}
    return made.do(msp_id, "provenance:OpenAccess", args, user)["access"]


def assets(made: Scenario):
    """Every asset on the ledger that means something, with its element's name."""
    for key, value in made.ledger.state.items():
        kind, parts = split_composite_key(key)
        if meanings.MEANINGS.get(kind):
            yield name_of((kind, parts)), json.loads(whole((kind, parts), value))


def test_what_a_model_came_from_is_told_by_its_round():
    made = at("published")

    model = made.do(TWO, "provenance:Ancestors", {"name": MODEL}, "auditor")
    round_ = made.do(TWO, "provenance:Ancestors", {"name": ROUND}, "auditor")

    assert {(e["relation"], e["target"]) for e in model["edges"]} == {
        ("wasGeneratedBy", ROUND),
        ("wasDerivedFrom", f"model/{sha('base')}"),
    }
    used = [e["target"] for e in round_["edges"] if e["relation"] == "used"]
    sealed = f"contributions/{PLAN}/00001/00000"
    assert used == [f"plan/{PLAN}", f"model/{sha('base')}", sealed]
    updates = made.do(TWO, "provenance:Ancestors", {"name": sealed}, "auditor")["edges"]
    assert [(e["relation"], e["target"]) for e in updates] == [
        ("wasDerivedFrom", update) for update in UPDATES
    ]
    assert round_["element"]["type"] == "activity"
    assert round_["element"]["says"]["status"] == "PUBLISHED"
    assert [act["function"] for act in round_["acts"]] == ["round:Open", *["round:Advance"] * 4]
    assert [ROUND in act["made"] for act in round_["acts"]] == [True, *[False] * 4]


def test_what_is_posted_once_tells_its_act_without_a_record_of_its_own():
    made = at("published")
    posts = ("update", "attestation", "share", "evaluation")

    kept = [
        parts for kind, parts in map(split_composite_key, made.ledger.state) if kind == "written"
    ]
    told = pages(made, ONE, "provenance:Ancestors", {"name": UPDATES[0]}, size=1)

    assert not [parts for parts in kept if parts[0].split("/")[0] in posts]
    (act,) = [act for page in told for act in page["acts"]]
    assert (act["function"], act["node_id"]) == ("round:SubmitUpdate", "node1")
    assert (act["wrote"], act["made"]) == ([UPDATES[0]], [UPDATES[0]])


def test_descendants_lead_from_a_dataset_to_the_models_that_learned_from_it():
    made = at("published")
    seen, found, todo = set(), set(), [f"dataset/{dataset_of(ONE)}"]
    access = opened(made, ONE, *HOSPITALS)
    while todo:
        name = todo.pop()
        for page in pages(
            made, ONE, "provenance:Descendants", {"name": name, "access": access}, user="admin"
        ):
            assert all(edge["target"] == name for edge in page["edges"])
            todo += [e["source"] for e in page["edges"] if e["source"] not in seen]
            seen |= {e["source"] for e in page["edges"]}
    found = {name for name in seen if name.startswith("model/")}

    assert found == {MODEL}


def test_everything_that_a_node_signed_is_listed_in_order():
    made = at("published")

    acts = [
        a
        for p in pages(made, ONE, "provenance:Signed", {"msp_id": ONE, "node_id": "node1"})
        for a in p["acts"]
    ]

    assert acts == sorted(acts, key=lambda act: act["at"])
    functions = [act["function"] for act in acts]
    assert functions.count("round:SubmitUpdate") == 1
    # Whatever the chaincode answered to this node with a success that writes is there.
    assert set(functions) == {
        "ceremony:Commit",
        "ceremony:Reveal",
        "ceremony:Confirm",
        "round:Open",
        "round:SubmitUpdate",
        "round:Attest",
        "round:SubmitShare",
        "round:Evaluate",
        "round:Advance",
    }


def test_every_transaction_that_writes_is_an_act_of_its_signer():
    made = at("published")
    acts = [k for k in made.ledger.state if split_composite_key(k)[0] == "act"]

    written = {entry.tx_id for entries in made.ledger.past.values() for entry in entries}

    assert {keys.tx_id(split_composite_key(key)[1][3]) for key in acts} == written


def test_lineage_is_never_dangling_and_every_relation_fits_its_ends():
    made = at("published")
    known = dict(assets(made))

    for name, asset in known.items():
        for edge in meanings.edges(name, asset):
            assert edge.target in known, edge
            ends = ENDS[edge.relation]
            types = tuple(meanings.MEANINGS[key_of(n)[0]].type for n in (edge.source, edge.target))
            assert ends is None or types == ends, edge


def test_the_kept_relations_are_those_of_the_assets():
    made = at("published")

    kept = {
        Edge(target=target, relation=Relation(relation), source=source)
        for kind, (target, relation, source) in map(
            split_composite_key, (k for k in made.ledger.state if "\x00edge\x00" in k)
        )
    }

    assert kept == {e for name, asset in assets(made) for e in meanings.forward(name, asset)}


def test_another_hospitals_lineage_takes_a_recorded_access():
    made = at("published")
    args = {"name": UPDATES[1]}

    assert made.refused(ONE, "provenance:Ancestors", args, "auditor").code == Code.ACCESS_REQUIRED
    assert made.refused(ONE, "provenance:Descendants", args, "node1").code == Code.ACCESS_REQUIRED
    access = opened(made, ONE, TWO)
    named = {**args, "access": access}
    assert made.do(ONE, "provenance:Ancestors", named, "admin")["element"]["says"]["samples"] == 100
    # An access is its reader's alone, for the named hospital alone, and for a time.
    assert made.refused(ONE, "provenance:Ancestors", named, "auditor").code == Code.ACCESS_REQUIRED
    other = {"name": UPDATES[2], "access": access}
    assert made.refused(ONE, "provenance:Ancestors", other, "admin").code == Code.ACCESS_REQUIRED
    signed = {"msp_id": HOSPITALS[2], "node_id": "node1", "access": access}
    assert made.refused(ONE, "provenance:Signed", signed, "admin").code == Code.ACCESS_REQUIRED
    made.wait()
    assert made.refused(ONE, "provenance:Ancestors", named, "admin").code == Code.ACCESS_REQUIRED

    (page,) = pages(made, TWO, "provenance:Accesses", {"hospital": TWO})
    assert [(a["msp_id"], a["node_id"], a["purpose"]) for a in page["accesses"]] == [
        (ONE, "admin", "a patient asks")
    ]


def test_trainers_open_no_access_and_auditors_only_when_registered():
    made = at("published")
    args = {"hospitals": [TWO], "purpose": "curious"}

    refused = made.refused(ONE, "provenance:OpenAccess", args, "node1")
    assert refused.code == Code.ROLE_REQUIRED
    refused = made.refused(ONE, "provenance:OpenAccess", args, "auditor")
    assert refused.code == Code.NODE_UNREGISTERED
    made.do(ONE, "node:Register", {**made.node_args(ONE, "auditor"), "roles": ["auditor"]})
    assert opened(made, ONE, TWO, user="auditor")
    unknown = {"hospitals": ["NobodyMSP"], "purpose": "curious"}
    assert made.refused(ONE, "provenance:OpenAccess", unknown).code == Code.NOT_FOUND


@pytest.mark.parametrize(
    "name",
    [
        "account/hospital1msp-data",
        "model/nothing",
        "edge/a/b/c",
        f"plan/{PLAN}x",
        "plan/%70lan-1",
        "plan/%00",
        "plan/%F4%8F%BF%BF",
        "plan/%",
        "plan/%zz",
        "plan/%ff",
        "act/a/b/c/d",
        "nothing/x",
        "round/plan-1/1",
    ],
)
def test_what_is_no_element_is_not_found(name):
    made = at("published")

    assert made.refused(ONE, "provenance:Ancestors", {"name": name}).code == Code.NOT_FOUND


def test_names_take_apart_again():
    for key in (("vote", ("charter", "a/b %2F é💊", ONE)), keys.round_("p", 3), ("x", (".", "~"))):
        assert key_of(name_of(key)) == key


def test_a_kind_without_meaning_is_not_written():
    from support.memory_stub import proposal_bytes

    from chaincode.contracts.framework import Context
    from chaincode.schema.consortium import Hospital
    from chaincode.shim.stub import Proposal, Stub

    made = at("founded")
    asset = Hospital.model_validate_json(made.ledger.state[composite_key(*keys.hospital(ONE))])
    proposal = Proposal(proposal_bytes(made.users[ONE, "admin"], 1))
    context = Context(Stub("0" * 64, "medfabric", [], proposal, made.ledger), frozenset())

    context.put(("unheard-of", ("x",)), asset)
    with pytest.raises(KeyError):
        context.finish(TRANSACTIONS["plan:Get"])


def test_every_kind_of_the_ledger_is_in_the_table():
    made = at("published")
    own = {"act", "edge", "written"}

    kinds = {split_composite_key(key)[0] for key in made.ledger.state}

    assert kinds - own <= set(meanings.MEANINGS)
    assert all(m is None or isinstance(m.type, CoreType) for m in meanings.MEANINGS.values())
    assert any(name.startswith("provenance:") for name in TRANSACTIONS)
