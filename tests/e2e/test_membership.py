"""Nodes that no plan names join by its rule and train, and prove what their hospitals store; then a
hospital leaves and takes its part of the key with it, and the others renew what they own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.networks import KINDS
from support.training import ended, until

from chaincode.schema.consortium import Node, RegisterNodeArgs
from chaincode.schema.errors import Code
from chaincode.schema.plans import DynamicTerms, PlanStatus, PlanTerms, ScheduleTerms
from chaincode.schema.rounds import RoundStatus, RoundView
from chaincode.schema.storage import ChallengeStatus
from chaincode.schema.strategies import Strategy
from client.identity import Identity
from demo import run as demo
from demo.run import PLAN_ID, Options, Run
from network import base
from network.topology import Kind
from trainer import presets

NAMED_PLAN = presets.plan


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_nodes_join_by_the_plans_rule_and_a_hospital_that_leaves_ends_the_plan(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _dynamic_plan)
    monkeypatch.setattr(demo.steps, "register_node", _register_dynamic)
    options = Options(tmp_path / "run", kind, hospitals=3, rounds=2)

    with demo.prepared(options, lambda _: None) as run:
        _join_plans(run)
        run.agents.start()
        view = until(run, 1, ended)
        places = run.ledger.plans.places(plan_id=PLAN_ID).places
        _challenged(run, view)
        run.hospitals[2].admin.charter.leave(reason="merged with another")
        base.wait_until(lambda: demo.plan(run).status is PlanStatus.FAILED, "the plan's end", 60)
        plan = demo.plan(run)
        base.wait_until(lambda: _renewed(run), "policies of those who stay", 60)

    assert view.round.status is RoundStatus.PUBLISHED
    assert [c.node_id for c in view.round.contributions] == ["node1"] * 3
    assert [(p.msp_id, p.node_id) for p in view.round.participants] == [
        (p.msp_id, p.node_id) for p in places
    ]
    assert plan.reason.startswith(Code.KEY_HOLDER_LEFT)
    assert plan.model_sha256 == view.round.model_sha256


def _dynamic_plan(*args: Any, **others: Any) -> PlanTerms:
    plan = NAMED_PLAN(*args, **others)
    rule = DynamicTerms(
        hospitals=plan.hospitals, slots=2, least_samples=args[6], devices=("laptop",)
    )
    changes = {"participants": (), "dynamic": rule, "quorum": 3}
    training = {"strategy": Strategy.FEDPROX, "settings": {"mu": 10_000}}
    return plan.model_copy(
        update={
            "participation": plan.participation.model_copy(update=changes),
            "training": plan.training.model_copy(update=training),
            # No second round opens before the hospital has left.
            "schedule": ScheduleTerms(interval_seconds=3600),
        }
    )


def _register_dynamic(hospital: Any, node_id: str, device: str) -> None:
    identity = Identity.load(hospital.user(node_id))
    args = RegisterNodeArgs(
        node_id=node_id,
        roles=tuple(sorted(identity.roles)),
        public_key_sha256=identity.public_key_sha256,
        device="laptop",
        dynamic=True,
    )
    hospital.submit("node:Register", args, Node)


def _challenged(run: Run, view: RoundView) -> None:
    """Agents answer for the round's update and check the answer, nobody at the keyboard."""
    content = view.updates[0].update
    admins = [hospital.admin for hospital in run.hospitals]
    for admin in admins:
        admin.storage.hold(content=content, until=4_000_000_000)
    asked = admins[1].storage.challenge(
        holder=run.hospitals[0].msp_id, sha256=content.sha256, answer_seconds=600
    )
    base.wait_until(
        lambda: (
            admins[0].storage.get(challenge=asked.challenge).challenge.status
            is ChallengeStatus.PROVEN
        ),
        "the challenge's conclusion",
        60,
    )


def _renewed(run: Run) -> bool:
    stay = [hospital.msp_id for hospital in run.hospitals[:2]]
    known = [run.ledger.policies.get(msp_id=msp_id) for msp_id in stay]
    return all(standing.renewal.membership == standing.membership == 2 for standing in known)


def _join_plans(run: Run) -> None:
    for slug in run.agents.names:
        file = run.agents.home(slug) / "node.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, "join_plans": True}))
