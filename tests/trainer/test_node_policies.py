"""A validator renews what its hospital owns as soon as members have changed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.ledger_consortium import LedgerConsortium
from support.owners import old_policies
from support.scenario import HOSPITALS, Scenario, at, dataset_args

from chaincode.schema.base import Role
from chaincode.schema.policies import AT_ONCE
from client import policies as client
from trainer.node import policies as node
from trainer.node.duties import Me, Task
from trainer.node.policies import Policies

ONE, TWO, THREE, FOUR = HOSPITALS


def keeper(scenario: Scenario, msp_id: str, role: Role = Role.VALIDATOR) -> Policies:
    me = Me(msp_id, "node1", frozenset({role}))
    return Policies(me, LedgerConsortium(scenario, msp_id, "node1"))


def test_validators_renew_and_half_of_the_hospitals_may_leave() -> None:
    scenario = at("enrolled")
    assert not list(keeper(scenario, ONE).due())
    scenario.do(FOUR, "consortium:Leave", {"reason": "merged"})

    assert not list(keeper(scenario, ONE, Role.TRAINER).due())
    for msp_id in (ONE, TWO):
        ((duty, carry_out),) = keeper(scenario, msp_id).due()
        assert (duty.task, duty.subject) == (Task.RENEW_POLICIES, msp_id)
        assert carry_out() == {"renewed": 3, "lost": 0}  # its node, its dataset, its account
        assert not list(keeper(scenario, msp_id).due())
    scenario.do(THREE, "consortium:Leave", {"reason": "merged"})

    ((_, carry_out),) = keeper(scenario, ONE).due()
    assert carry_out() == {"renewed": 3, "lost": 0}
    assert old_policies(scenario, ONE) == []


def test_members_that_change_just_after_a_look_are_seen_without_another_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now, time=lambda: now)
    monkeypatch.setattr(node, "time", clock)
    scenario = at("enrolled")
    looking = keeper(scenario, ONE)
    assert not list(looking.due())
    scenario.do(FOUR, "consortium:Leave", {"reason": "merged"})

    ((later, _),) = looking.due()
    now = float(later.not_before)
    ((duty, carry_out),) = looking.due()

    assert 1000 < later.not_before <= 1000 + node.SECONDS
    assert duty.not_before == 0
    assert carry_out() == {"renewed": 3, "lost": 0}


def test_more_than_one_transaction_takes_are_renewed_page_by_page() -> None:
    scenario = at("enrolled")
    for number in range(AT_ONCE):
        scenario.do(ONE, "dataset:Register", dataset_args(f"more-{number}"))
    scenario.do(FOUR, "consortium:Leave", {"reason": "merged"})

    renewed, lost = client.renew(LedgerConsortium(scenario, ONE, "node1"))

    assert (len(renewed), lost) == (3 + 2 * AT_ONCE, [])
    assert old_policies(scenario, ONE) == []
    assert not client.due(LedgerConsortium(scenario, ONE, "node1"))
