"""Two trainer nodes of one hospital, the second on a weak machine whose class does less."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.forked import start_alone
from support.networks import KINDS
from support.training import ended, training, until

from chaincode.schema import canonical, clipping
from chaincode.schema.base import Role
from chaincode.schema.consortium import Node, RegisterNodeArgs
from chaincode.schema.datasets import Consent, ConsentArgs, RegisterDatasetArgs
from chaincode.schema.plans import DeviceTerms, DynamicTerms, PlanTerms
from chaincode.schema.rounds import RoundStatus
from client import places
from client.consortium import Consortium
from client.identity import Identity
from demo import consortium as steps
from demo.run import Run
from network.processes import Spec
from network.topology import Kind
from trainer import applications, presets
from trainer.node.main import describe_data

WEAK = DeviceTerms(device="pi", steps=4, batch_size=8)
DATASET = "ward"
_AGENT = Path(__file__).parents[1] / "support" / "weak_agent.py"
_PLAN = presets.plan


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kind", KINDS)
def test_weak_node_beside_another_of_its_hospital_does_what_its_class_does(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "plan", _with_classes)
    with training(tmp_path / "run", kind, 1, stage_seconds=100, start=False, hospitals=2) as run:
        _add_weak_node(run)
        run.agents.start()
        view = until(run, 1, ended)
        accounts = {a.dataset_id: a for a in run.ledger.datasets.privacy().accounts}
        journal = list(run.agents.journal("weak"))

    assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
    first = run.hospitals[0].msp_id
    assert [(c.msp_id, c.node_id) for c in view.round.contributions][:2] == [
        (first, "node1"),
        (first, "node2"),
    ]
    assert run.terms is not None
    general = run.terms.training
    did = {(u.msp_id, u.node_id): (u.steps, u.batch_size) for u in view.updates}
    assert did[first, "node2"] == (WEAK.steps, WEAK.batch_size)
    assert did[first, "node1"] == (general.steps, general.batch_size)
    (spent,) = accounts[DATASET].plans
    assert (spent.steps_each, spent.batch_size) == (WEAK.steps, WEAK.batch_size)
    (trained,) = [entry for entry in journal if entry["task"] == "submit-update"]
    assert 0 < trained["peak_kb"] < 2**20
    assert trained["energy"] in ("measured", "estimated")


def _with_classes(*args: Any, **others: Any) -> PlanTerms:
    plan = _PLAN(*args, **others)
    rule = DynamicTerms(hospitals=plan.hospitals[:1], slots=1, least_samples=50, devices=("pi",))
    participation = plan.participation.model_copy(update={"dynamic": rule, "quorum": 3})
    classes = plan.training.model_copy(update={"devices": (WEAK,)})
    # Smaller batches have more noise in their mean.
    norm = clipping.norm_terms(classes, plan.privacy)
    changes = {
        "training": classes,
        "participation": participation,
        "acceptance": plan.acceptance.model_copy(update={"norm": norm}),
    }
    return plan.model_copy(update=changes)


def _add_weak_node(run: Run) -> None:
    hospital = run.hospitals[0]
    identity = Identity.load(run.network.enroll(hospital.slug, "node2", ("trainer",)))
    node = RegisterNodeArgs(
        node_id="node2",
        roles=(Role.TRAINER,),
        public_key_sha256=identity.public_key_sha256,
        device=WEAK.device,
        dynamic=True,
    )
    hospital.submit("node:Register", node, Node)
    config = _config(run)
    terms = run.options.folder / "data-terms.json"
    terms.write_bytes(canonical.dumps(applications.find("breast-cancer").terms()))
    data = RegisterDatasetArgs(
        **describe_data(config, terms),
        name="A ward's records",
        simulated=False,
        budget_epsilon_micro=presets.EPSILON_MICRO,
        delta_nano=presets.DELTA_NANO,
    )
    steps.register_dataset(hospital, data)
    assert run.terms is not None
    plan = {"plan_id": run.terms.plan_id, "terms_sha256": run.terms.sha256}
    hospital.submit("dataset:Consent", ConsentArgs(dataset_id=DATASET, **plan), Consent)
    connection = run.network.layout.connection(hospital.slug)
    with Consortium.connect(connection, identity) as consortium:
        places.join(consortium, run.terms, DATASET)
    # A fork begins with all that was imported before it: too much for this node's memory.
    start_alone(
        run.network.processes, Spec("weak.agent", [sys.executable, str(_AGENT)], {}, config.parent)
    )


def _config(run: Run) -> Path:
    """The node's configuration; it trains on the same file as the hospital's other node."""
    import json

    other = json.loads((run.agents.home(run.hospitals[0].slug) / "node.json").read_text())
    user = run.network.layout.user(run.hospitals[0].slug, "node2")
    run.agents.add(
        "weak",
        {
            **other,
            "identity": str(user),
            "datasets": [{**other["datasets"][0], "dataset_id": DATASET}],
        },
    )
    return run.agents.home("weak") / "node.json"
