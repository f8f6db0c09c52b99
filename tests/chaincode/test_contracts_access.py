"""Who may call what: every refusal has its code and leaves nothing written."""

from __future__ import annotations

import pytest
from support.arguments import EXAMPLES
from support.memory_stub import creator
from support.scenario import HOSPITALS, PLAN, at, dataset_args, dataset_of, terms

from chaincode.schema.errors import Code
from chaincode.schema.transactions import TRANSACTIONS

ONE, TWO = HOSPITALS[0], HOSPITALS[1]


def submit(scenario, who, msp_id=ONE):
    return scenario.refused(who, "round:SubmitUpdate", scenario.update_args(terms(), msp_id))


def test_a_node_that_is_not_registered_is_refused():
    scenario = at("open")

    error = submit(scenario, creator(ONE, "node2", "trainer,validator"))

    assert error.code == Code.NODE_UNREGISTERED
    assert "node2" in error.message


def test_a_validator_must_be_registered_even_where_an_admin_need_not_be():
    scenario = at("proposed")
    for hospital in HOSPITALS[:3]:
        scenario.vote(hospital, "plan", PLAN, terms().sha256)
    args = {"plan_id": PLAN}

    error = scenario.refused(creator(ONE, "node2", "validator"), "plan:Advance", args)

    assert error.code == Code.NODE_UNREGISTERED
    scenario.do(TWO, "plan:Advance", args, "node1")


@pytest.mark.parametrize("change", ["node:Suspend", "node:Revoke"])
def test_a_suspended_or_revoked_node_is_refused(change):
    scenario = at("open")
    scenario.do(ONE, change, {"node_id": "node1", "reason": "lost"})

    assert submit(scenario, ONE).code == Code.NODE_NOT_ACTIVE


def test_a_resumed_node_submits_again():
    scenario = at("open")
    for change in ("node:Suspend", "node:Resume"):
        scenario.do(ONE, change, {"node_id": "node1"})

    scenario.submit(terms(), who=(ONE,))


def test_a_node_with_another_key_than_the_registered_one_is_refused():
    scenario = at("open")

    error = submit(scenario, creator(ONE, "node1", "trainer,validator", "another"))

    assert error.code == Code.NODE_KEY_MISMATCH


@pytest.mark.parametrize("user", ["admin", "auditor"])
def test_a_certificate_without_the_role_is_refused(user):
    scenario = at("open")

    submit_as = scenario.users[ONE, user]

    assert submit(scenario, submit_as).code == Code.ROLE_REQUIRED


def test_a_role_of_the_certificate_that_the_hospital_did_not_register_is_refused():
    scenario = at("enrolled")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "trainer,validator", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2") | {"roles": ["auditor"]})

    error = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN}, "node2")

    assert error.code == Code.ROLE_REQUIRED


def test_registration_alone_gives_no_role():
    scenario = at("founded")
    scenario.users[ONE, "node2"] = creator(ONE, "node2", "auditor", "n2")
    scenario.do(ONE, "node:Register", scenario.node_args(ONE, "node2"))

    error = scenario.refused(ONE, "ceremony:Advance", {"plan_id": PLAN}, "node2")

    assert error.code == Code.ROLE_REQUIRED


@pytest.mark.parametrize(
    "roles", ["", "ADMIN", "superuser", "admin ", "administrator", "trainer;admin"]
)
def test_only_the_exact_name_of_a_role_counts(roles):
    scenario = at("founded")

    error = scenario.refused(
        creator(ONE, "x", roles), "dataset:Register", dataset_args("another-one")
    )

    assert error.code == Code.ROLE_REQUIRED


@pytest.mark.parametrize("name", sorted(TRANSACTIONS))
def test_every_transaction_refuses_a_certificate_without_roles(name):
    scenario = at("open")
    row = TRANSACTIONS[name]

    error = scenario.refused(creator(ONE, "nobody", ""), name, EXAMPLES[row.args.__name__]())

    assert error.code == Code.ROLE_REQUIRED


@pytest.mark.parametrize("name", sorted(n for n, row in TRANSACTIONS.items() if not row.founding))
def test_every_transaction_refuses_a_hospital_that_is_not_admitted(name):
    scenario = at("open")
    row = TRANSACTIONS[name]
    stranger = creator("Hospital9MSP", "node1", "admin,trainer,validator,auditor")

    error = scenario.refused(stranger, name, EXAMPLES[row.args.__name__]())

    assert error.code == Code.NOT_ADMITTED


def test_the_hospital_is_that_of_the_certificate_alone():
    scenario = at("enrolled")

    mine = scenario.refused(TWO, "node:Revoke", {"node_id": "node9"})
    budget = {"dataset_id": dataset_of(ONE), "budget_epsilon_micro": 10**9}
    dataset = scenario.refused(TWO, "dataset:SetBudget", budget)

    assert mine.code == Code.NOT_FOUND  # node9 of the caller, whoever else has one
    assert dataset.code == Code.NOT_OWNER


def test_a_foreign_hospital_neither_consents_nor_aborts():
    scenario = at("proposed")
    args = {"dataset_id": dataset_of(ONE), "plan_id": PLAN, "terms_sha256": terms().sha256}

    for name in ("dataset:Consent", "dataset:Withdraw"):
        assert scenario.refused(TWO, name, args).code == Code.NOT_OWNER
    abort = scenario.refused(TWO, "plan:Abort", {"plan_id": PLAN, "reason": "no"})
    assert abort.code == Code.NOT_OWNER


def test_an_unknown_transaction_is_refused():
    scenario = at("founded")

    for name in ("", "round", "round:Steal", "round:open", "consortium:Get ", "__init__"):
        assert scenario.refused(ONE, name).code == Code.UNKNOWN_TRANSACTION
