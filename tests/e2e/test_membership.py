"""Nodes that no plan names join by its rule and train, and prove what their hospitals store; then a
hospital leaves, whose key all are needed for: it hands its part on, and the others go on with the
key and the model; then another one leaves and takes its part of the key with it, and the others
renew what they own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.forked import processes_forked
from support.networks import KINDS
from support.training import ended, everyone_decrypts, proven, until

from chaincode.schema.consortium import Node, RegisterNodeArgs
from chaincode.schema.encryption import flooded
from chaincode.schema.errors import Code
from chaincode.schema.plans import DynamicTerms, Plan, PlanStatus, PlanTerms, ScheduleTerms
from chaincode.schema.rounds import Round, RoundStatus, RoundView
from chaincode.schema.storage import ChallengeStatus
from chaincode.schema.strategies import Strategy
from client.audit import graph, handovers, lineage, reputations, rounds
from client.identity import Identity
from demo import run as demo
from demo.run import PLAN_ID, Options, Run
from network import base
from network.topology import Kind
from trainer import presets

NAMED_PLAN = presets.plan
NEXT = "next"
_CHECKS = (handovers.check, rounds.check, reputations.check, graph.check, lineage.check_privacy)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_key_goes_on_without_a_hospital_until_too_few_are_left(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _dynamic_plan)
    everyone_decrypts(monkeypatch)
    monkeypatch.setattr(demo.steps, "register_node", _register_dynamic)
    options = Options(tmp_path / "run", kind, hospitals=4, rounds=2)

    with processes_forked(), demo.prepared(options, lambda _: None) as run:
        _join_plans(run)
        run.agents.start()
        view = until(run, 1, ended)
        places = run.ledger.plans.places(plan_id=PLAN_ID).places
        _challenged(run, view)
        _succeed(run)
        base.wait_until(lambda: _published(run) is not None, "a round under the same key", 120)
        after = _published(run)
        keys = [run.ledger.ceremonies.get(plan_id=name).ceremony for name in (PLAN_ID, NEXT)]
        former = demo.plan(run)
        homes = [run.agents.home(hospital.slug) for hospital in run.hospitals]
        base.wait_until(lambda: not any(map(_held, homes)), "deletion of the old parts", 60)
        run.hospitals[3].admin.charter.leave(reason="merged with another")
        base.wait_until(lambda: _renewed(run, 3, 2), "policies of those who stay", 60)
        run.hospitals[2].admin.charter.leave(reason="merged with another")
        base.wait_until(lambda: _plan(run, NEXT).status is PlanStatus.FAILED, "the plan's end", 60)
        plan = _plan(run, NEXT)
        base.wait_until(lambda: _renewed(run, 2, 3), "policies of those who stay", 60)
        ledger = proven(run, tmp_path / "blocks")

    assert view.round.status is RoundStatus.PUBLISHED
    assert [c.node_id for c in view.round.contributions] == ["node1"] * 4
    assert after is not None
    assert after.base_sha256 == view.round.model_sha256
    assert keys[0].collective_key_sha256 == keys[1].collective_key_sha256
    assert keys[1].dealers == tuple(hospital.msp_id for hospital in run.hospitals)
    assert keys[1].hospitals == keys[1].dealers[:3]
    assert not [*homes[3].rglob(f"plans/{NEXT}/secret"), *homes[3].rglob(f"plans/{NEXT}/share-key")]
    assert (former.status, former.successor) == (PlanStatus.COMPLETED, NEXT)
    assert [(p.msp_id, p.node_id) for p in view.round.participants] == [
        (p.msp_id, p.node_id) for p in places
    ]
    assert plan.reason.startswith(Code.KEY_HOLDER_LEFT)
    assert plan.model_sha256 == after.model_sha256
    assert [finding for check in _CHECKS for finding in check(ledger)] == []
    steps = lineage.of(ledger, after.model_sha256 or "").steps
    assert [step.model.name for step in steps][:2] == [after.model_sha256, after.base_sha256]


def _held(home: Path) -> list[Path]:
    """What a node still holds of the first plan's key."""
    names = ("secret", "share-key", "share-commitments", f"handing-{NEXT}")
    return [found for name in names for found in home.rglob(f"plans/{PLAN_ID}/{name}")]


def _plan(run: Run, plan_id: str) -> Plan:
    return run.ledger.plans.get(plan_id=plan_id).plan


def _published(run: Run) -> Round | None:
    """The next plan's first round, once it has given a model."""
    if not _plan(run, NEXT).rounds_opened:
        return None
    round_ = run.ledger.rounds.get(plan_id=NEXT, number=1).round
    return round_ if round_.status is RoundStatus.PUBLISHED else None


def _succeed(run: Run) -> None:
    """Three go on with the model and the key that there are; the fourth agrees to hand it on."""
    stays, former = run.hospitals[:3], demo.plan(run)
    stays[0].admin.plans.pause(plan_id=PLAN_ID, reason="a hospital leaves")
    made = run.ledger.ceremonies.get(plan_id=PLAN_ID).ceremony.collective_key_sha256
    assert made is not None
    terms = former.terms
    rule = terms.participation.dynamic
    assert rule is not None
    rule = rule.model_copy(update={"hospitals": tuple(hospital.msp_id for hospital in stays)})
    who = terms.participation.model_copy(update={"dynamic": rule, "quorum": 3, "agreement": 2})
    base_model = run.ledger.models.get(sha256=former.model_sha256).model
    changes = {
        "plan_id": NEXT,
        "participation": who,
        "model": terms.model.model_copy(update={"base": base_model}),
        "key": terms.handed_on(made),
    }
    after = terms.model_copy(update=changes)
    # Where all decrypt, there has to be room for proofs of their shares.
    hidden = flooded(after.encryption.model_copy(update={"threshold": None}), after.workload)
    datasets = {hospital.slug: f"{run.options.application}-{hospital.slug}" for hospital in stays}
    demo.steps.agree_plan(run.hospitals, after.model_copy(update={"encryption": hidden}), datasets)


def _dynamic_plan(*args: Any, **others: Any) -> PlanTerms:
    plan = NAMED_PLAN(*args, **others)
    rule = DynamicTerms(
        hospitals=plan.hospitals, slots=2, least_samples=min(args[6]), devices=("laptop",)
    )
    changes = {"participants": (), "dynamic": rule, "quorum": 4}
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


def _renewed(run: Run, number: int, membership: int) -> bool:
    """Whether the hospitals that stay have renewed theirs since the membership last changed."""
    stay = [hospital.msp_id for hospital in run.hospitals[:number]]
    known = [run.ledger.policies.get(msp_id=msp_id) for msp_id in stay]
    return all(
        standing.renewal.membership == standing.membership == membership for standing in known
    )


def _join_plans(run: Run) -> None:
    for slug in run.agents.names:
        file = run.agents.home(slug) / "node.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, "join_plans": True}))
