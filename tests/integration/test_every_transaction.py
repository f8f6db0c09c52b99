"""Every transaction on every ledger: in memory, on the devnet and on Fabric, by the same steps.

One life of a consortium, in which each transaction that writes is carried out, and refused when it
is asked for again. Then it is refused to a caller without a role or with another role, and for
arguments that are wrong in content and in form; every envelope of that life is sent again; and
every list is read in pages of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import pytest
from fabric_protos.peer.transaction_pb2 import TxValidationCode
from support.arguments import EXAMPLES
from support.network_scenario import NetworkScenario
from support.networks import KINDS
from support.repeating import REPEATABLE, repeating
from support.scenario import HOSPITALS, PLAN, ROLES, Scenario, dataset_of, sha
from support.whole_life import DEALT, lead

from chaincode.schema.base import PageArgs, Role
from chaincode.schema.errors import Code
from chaincode.schema.transactions import TRANSACTIONS
from network.base import up

ONE, TWO = HOSPITALS[:2]
PAGED: dict[str, tuple[str, dict[str, Any]]] = {
    "consortium:ListMotions": ("motions", {}),
    "policy:List": ("old", {"msp_id": ONE, "kind": "dataset"}),
    "node:List": ("nodes", {}),
    "node:History": ("changes", {"msp_id": ONE, "node_id": "spare"}),
    "dataset:List": ("datasets", {}),
    "dataset:Privacy": ("accounts", {}),
    "hospital:Privacy": ("accounts", {}),
    "plan:List": ("plans", {}),
    "plan:Versions": ("versions", {"plan_id": DEALT[0].plan_id}),
    "plan:Places": ("places", {"plan_id": PLAN}),
    "model:List": ("models", {}),
    "inference:List": ("inquiries", {"model_sha256": sha("model 1")}),
    "inference:Loans": ("loans", {"plan_id": PLAN}),
    "reputation:List": ("reputations", {"subject": "node"}),
    "complaint:List": ("complaints", {}),
    "classifier:List": ("classifiers", {}),
    "storage:Holders": ("holdings", {"sha256": sha("kept")}),
    "storage:Challenges": ("challenges", {}),
    "storage:Pending": ("pending", {}),
    "application:List": ("schemas", {}),
    "application:Records": ("records", {"application": "falls", "msp_id": ONE}),
    "sharing:Grants": ("grants", {"model_id": "mine"}),
    "sharing:Gains": ("gains", {}),
    "sharing:Receipts": ("receipts", {"model_id": "mine"}),
    "provenance:Ancestors": ("acts", {"name": f"round/{PLAN}/00001"}),
    "provenance:Descendants": ("edges", {"name": f"plan/{PLAN}"}),
    "provenance:Signed": ("acts", {"msp_id": ONE, "node_id": "node1"}),
    "provenance:Accesses": ("accesses", {"hospital": TWO}),
    "private:List": ("records", {"kind": "inventory"}),
    "study:List": ("studies", {}),
}
"""What each list lists, and the rest of its argument."""
NO_NODE = {"node_id": "nobody-knows"}
WRONG: dict[str, tuple[dict[str, Any], Code]] = {
    "consortium:Found": ({}, Code.EXISTS),
    "consortium:ProposeHospital": ({"msp_id": TWO}, Code.EXISTS),
    "consortium:ProposeExpulsion": ({"msp_id": "Hospital9MSP"}, Code.NOT_FOUND),
    "consortium:Vote": ({}, Code.TERMS_MISMATCH),
    "consortium:Advance": ({}, Code.ALREADY),
    "policy:Renew": ({}, Code.NOT_FOUND),
    "node:Register": ({"node_id": "node1"}, Code.EXISTS),
    "node:Renew": (NO_NODE, Code.NOT_FOUND),
    "node:Rest": (NO_NODE, Code.NOT_FOUND),
    "node:Wake": ({}, Code.BAD_STATE),
    "node:Leave": (NO_NODE, Code.NOT_FOUND),
    "node:Suspend": (NO_NODE, Code.NOT_FOUND),
    "node:Resume": ({}, Code.BAD_STATE),
    "node:Revoke": (NO_NODE, Code.NOT_FOUND),
    "dataset:Register": ({"dataset_id": dataset_of(TWO)}, Code.EXISTS),
    "dataset:SetBudget": ({}, Code.BUDGET_EXCEEDED),
    "hospital:SetBudget": ({}, Code.BUDGET_EXCEEDED),
    "dataset:Release": ({"release_id": "table-1"}, Code.EXISTS),
    "dataset:Consent": ({}, Code.TERMS_MISMATCH),
    "dataset:Withdraw": ({}, Code.TERMS_MISMATCH),
    "plan:Propose": ({}, Code.EXISTS),
    "plan:Amend": ({}, Code.BAD_STATE),
    "plan:Advance": ({}, Code.ALREADY),
    "plan:Pause": ({}, Code.BAD_STATE),
    "plan:Resume": ({}, Code.BAD_STATE),
    "plan:Abort": ({}, Code.BAD_STATE),
    "plan:Join": ({}, Code.PLAN_NOT_APPROVED),
    "plan:Leave": ({}, Code.NOT_FOUND),
    "ceremony:Commit": ({}, Code.BAD_STATE),
    "ceremony:Reveal": ({}, Code.BAD_STATE),
    "ceremony:Confirm": ({}, Code.BAD_STATE),
    "ceremony:Accuse": ({}, Code.BAD_STATE),
    "ceremony:Judge": ({}, Code.BAD_STATE),
    "ceremony:Advance": ({}, Code.ALREADY),
    "round:Open": ({}, Code.PLAN_NOT_APPROVED),
    "round:SubmitUpdate": ({}, Code.PLAN_NOT_APPROVED),
    "round:Decline": ({}, Code.PLAN_NOT_APPROVED),
    "round:Attest": ({}, Code.PLAN_NOT_APPROVED),
    "round:SubmitShare": ({}, Code.PLAN_NOT_APPROVED),
    "masking:PostKeys": ({}, Code.PLAN_NOT_APPROVED),
    "masking:Unmask": ({}, Code.PLAN_NOT_APPROVED),
    "round:Evaluate": ({}, Code.PLAN_NOT_APPROVED),
    "dispute:Prove": ({}, Code.PLAN_NOT_APPROVED),
    "dispute:Judge": ({}, Code.PLAN_NOT_APPROVED),
    "round:Object": ({}, Code.PLAN_NOT_APPROVED),
    "round:Advance": ({}, Code.ALREADY),
    "grouptest:Attest": ({}, Code.PLAN_NOT_APPROVED),
    "grouptest:SubmitShares": ({}, Code.PLAN_NOT_APPROVED),
    "grouptest:Score": ({}, Code.PLAN_NOT_APPROVED),
    "grouptest:Advance": ({}, Code.PLAN_NOT_APPROVED),
    "model:Deprecate": ({}, Code.NOT_FOUND),
    "model:ProposeRecall": ({}, Code.NOT_FOUND),
    "model:RecallDerived": ({}, Code.NOT_FOUND),
    "inference:Ask": ({}, Code.NOT_FOUND),
    "inference:Answer": ({}, Code.NOT_FOUND),
    "inference:Lend": ({}, Code.NOT_FOUND),
    "inference:Score": ({}, Code.NOT_FOUND),
    "complaint:Open": ({"complaint_id": "complaint-1"}, Code.EXISTS),
    "complaint:Advance": ({}, Code.NOT_FOUND),
    "complaint:ProposeLifting": ({"complaint_id": "complaint-0"}, Code.BAD_STATE),
    "classifier:Propose": ({"classifier_id": "first"}, Code.EXISTS),
    "classifier:Advance": ({}, Code.NOT_FOUND),
    "storage:Hold": ({"until": 1}, Code.BAD_ARGUMENT),
    "storage:Challenge": ({}, Code.NOT_FOUND),
    "storage:Answer": ({}, Code.NOT_FOUND),
    "storage:Check": ({}, Code.NOT_FOUND),
    "storage:Conclude": ({}, Code.NOT_FOUND),
    "application:Register": ({}, Code.EXISTS),
    "application:Record": ({}, Code.RECORD_REFUSED),
    "sharing:Publish": ({}, Code.EXISTS),
    "sharing:Grant": ({"recipient_node": "nobody-knows"}, Code.NOT_FOUND),
    "sharing:Revoke": ({"recipient_node": "nobody-knows"}, Code.NOT_FOUND),
    "sharing:Receive": ({}, Code.GRANT_MISSING),
    "provenance:OpenAccess": ({"hospitals": ["Hospital9MSP"]}, Code.NOT_FOUND),
    "study:Propose": ({"study_id": "study-1"}, Code.EXISTS),
    "study:Consent": ({}, Code.TERMS_MISMATCH),
    "study:Limit": ({"dataset_id": dataset_of(TWO)}, Code.NOT_OWNER),
    "study:Deposit": ({}, Code.BAD_STATE),
    "study:Sum": ({}, Code.BAD_STATE),
    "study:Attest": ({}, Code.BAD_STATE),
    "study:SubmitShare": ({}, Code.BAD_STATE),
    "study:Find": ({}, Code.BAD_STATE),
    "study:Prove": ({}, Code.BAD_STATE),
    "study:Judge": ({}, Code.BAD_STATE),
    "study:Advance": ({}, Code.ALREADY),
    "private:Keep": ({}, Code.BAD_ARGUMENT),
    "private:Purge": ({"subject": "nobody-knows"}, Code.NOT_FOUND),
}
"""What makes the example one of wrong content after the whole life, and why it is refused."""
ANY_CONTENT = {"consortium:Leave", "consortium:ProposeRules"}
"""Whose arguments name nothing that could be missing or in another state."""
USUAL_POST = {False: 5_200, True: 5_800}
"""Bytes of an update, an attestation, a share or an evaluation, endorsed by three hospitals; more
with certificates of fabric-ca-server, which say more."""
WRITING = sorted(name for name, row in TRANSACTIONS.items() if row.writes)
STRANGERS = {
    name: user
    for name in WRITING
    for user, roles in ROLES.items()
    if not TRANSACTIONS[name].roles & {Role(role) for role in roles.split(",")}
}
"""Who has a role, but none for this."""


@dataclass
class Life:
    """A life that was led, and how the repetitions in it were refused."""

    led: Scenario
    repeated: dict[str, Code]


@pytest.fixture(scope="module", params=["memory", *KINDS])
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Life]:
    if request.param == "memory":
        yield _led(Scenario())
        return
    network = up(tmp_path_factory.mktemp("every") / "consortium", request.param, 4)
    try:
        running = NetworkScenario(network)
        yield _led(running)
        running.close()
    finally:
        network.down()


def _led(life: Scenario) -> Life:
    repeated = repeating(life)
    lead(life)
    return Life(life, repeated)


@pytest.fixture
def life(whole: Life) -> Scenario:
    return whole.led


def test_what_is_done_is_not_done_again(whole: Life) -> None:
    assert set(whole.repeated) == set(WRITING) - REPEATABLE
    assert not set(whole.repeated.values()) & {Code.BAD_ARGUMENT, Code.ROLE_REQUIRED}


def test_envelopes_sent_again_stay_without_effect(life: Scenario) -> None:
    if not isinstance(life, NetworkScenario):
        pytest.skip("in memory there are no envelopes")
    sent = life.envelopes()

    life.send_again(sent)

    verdicts = life.verdicts()
    assert len(sent) > len(WRITING)
    for transaction_id in sent:
        assert verdicts[transaction_id][0] == TxValidationCode.VALID
        assert set(verdicts[transaction_id][1:]) <= {TxValidationCode.DUPLICATE_TXID}


def test_what_a_node_posts_to_a_round_stays_small(life: Scenario) -> None:
    if not isinstance(life, NetworkScenario):
        pytest.skip("in memory there are no envelopes")
    posts = (b"round:SubmitUpdate", b"round:Attest", b"round:SubmitShare", b"round:Evaluate")

    sizes = [len(e) for e in life.envelopes().values() if any(name in e for name in posts)]

    assert median(sizes) <= USUAL_POST[life.network.topology.fabric_ca], sizes


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_a_caller_of_another_role_is_refused(life: Scenario, name: str) -> None:
    example = EXAMPLES[TRANSACTIONS[name].args.__name__]()

    assert life.refused(ONE, name, example, STRANGERS[name]).code == Code.ROLE_REQUIRED


@pytest.mark.parametrize("name", WRITING)
def test_a_caller_without_a_role_is_refused(life: Scenario, name: str) -> None:
    example = EXAMPLES[TRANSACTIONS[name].args.__name__]()

    assert life.refused(ONE, name, example, "nobody").code == Code.ROLE_REQUIRED


@pytest.mark.parametrize("name", WRITING)
def test_an_argument_of_another_form_is_refused(life: Scenario, name: str) -> None:
    wrong = {**EXAMPLES[TRANSACTIONS[name].args.__name__](), "surprise": 1}

    error = life.refused_bytes(ONE, name, json.dumps(wrong).encode())

    assert error.code == Code.BAD_ARGUMENT
    assert "surprise" in error.message


@pytest.mark.parametrize("name", sorted(WRONG))
def test_an_argument_of_wrong_content_is_refused(life: Scenario, name: str) -> None:
    changes, code = WRONG[name]
    example = EXAMPLES[TRANSACTIONS[name].args.__name__]()

    assert life.refused(ONE, name, {**example, **changes}).code == code


def test_every_transaction_that_writes_is_carried_out(life: Scenario) -> None:
    assert set(WRITING) <= life.carried_out
    assert set(WRONG) | ANY_CONTENT == set(WRITING)


def test_every_list_is_read_to_its_end() -> None:
    lists = {name for name, row in TRANSACTIONS.items() if issubclass(row.args, PageArgs)}

    assert set(PAGED) == lists


@pytest.mark.parametrize("name", sorted(PAGED))
def test_pages_of_one_are_the_whole_list(life: Scenario, name: str) -> None:
    items, fields = PAGED[name]
    whole = life.do(ONE, name, {**fields, "page_size": 200})
    found, bookmark = [], ""
    while True:
        page = life.do(ONE, name, {**fields, "page_size": 1, "bookmark": bookmark})
        assert len(page[items]) <= 1
        found += page[items]
        if not (bookmark := page["bookmark"]):
            break

    assert whole["bookmark"] == ""
    assert len(found) > 1
    assert found == whole[items]
