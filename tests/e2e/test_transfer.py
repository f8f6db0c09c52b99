"""A pre-trained hybrid model is deployed by its ledger address, its output layer trained on by
another plan, and the whole personalised at a hospital; the ledger tells where it came from."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from support.forked import command
from support.networks import KINDS
from support.training import ended, training, until

from chaincode.schema.datasets import BudgetArgs, PrivacyAccount
from chaincode.schema.plans import LayerTerms, PlanTerms
from chaincode.schema.rounds import Model, RoundStatus, RoundView
from chaincode.schema.strategies import Strategy
from client import drafting, sharing
from client.audit import card
from client.connection import Connection
from client.consortium import Consortium
from client.identity import Identity
from demo import consortium as steps
from demo.audit import Told, audit
from demo.run import Run
from network import base
from network.topology import Kind
from trainer.privacy.masking import MaskedForm

SECOND = "refinement"
SHARED_EPSILON = 1.0
LAYERS = LayerTerms(names=("output",), parameters=447)
OUTPUT = {"output.bias", "output.weight"}


@pytest.mark.timeout(500)
@pytest.mark.parametrize("kind", KINDS)
def test_hybrid_model_goes_from_plan_to_plan_and_to_a_ward(kind: Kind, tmp_path: Path) -> None:
    with training(
        tmp_path / "run", kind, 1, stage_seconds=120, hospitals=2, application="ecg"
    ) as run:
        first = until(run, 1, ended, seconds=200)
        pretrained = _published(run, first)

        terms = _on_from(run, pretrained)
        second = _trained(run, terms)
        refined = _published(run, second)
        (tmp_path / "pretrained").write_bytes(run.store.get(pretrained.model))
        run.agents.stop()
        told = _personalised(run, 0, refined.model.sha256, "--tell-gain")
        shared = _shared(run, refined.model.sha256)
        spent = _accounts(run)
        report = _report(run)
        lineage = run.hospitals[0].admin.provenance.ancestors(name=told["element"])
        file = run.agents.home(run.hospitals[0].slug) / told["file"]
        (tmp_path / "parent").write_bytes(run.store.get(refined.model))
        told_by_audit = _audited(run, tmp_path)

    assert pretrained.architecture_sha256 == refined.architecture_sha256
    assert second.round.base_sha256 == pretrained.model.sha256
    assert refined.parents == (pretrained.model.sha256,)
    assert {edge.target for edge in lineage.edges if edge.relation == "wasDerivedFrom"} == {
        f"model/{refined.model.sha256}"
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert told["total"] > 0
    # What stays is free; what is shared is charged, and opens where it was granted.
    assert told["epsilon"] is None
    assert 0 < shared["epsilon"] <= SHARED_EPSILON
    assert [len(account.models) for account in spent] == [0, 1]
    assert spent[1].models[0].epsilon_micro == round(shared["epsilon"] * 1e6)
    assert shared["opened"] == Path(shared["file"]).read_bytes()
    personal = {line["model"]: line for line in report["personal"]}
    assert personal[told["element"]] == {
        "model": told["element"],
        "base": refined.model.sha256,
        "told": True,
        **{name: told[name] for name in ("part", "base_correct", "correct", "total")},
    }
    assert shared["element"] not in personal
    assert told["gain"] == pytest.approx((told["correct"] - told["base_correct"]) / told["total"])
    # The convolution and the recurrent layer are the first plan's, the output is trained on.
    assert _changed(tmp_path / "pretrained", tmp_path / "parent") == OUTPUT
    assert _changed(tmp_path / "parent", file) == OUTPUT
    assert load_file(tmp_path / "parent")["server.velocity"].shape == (LAYERS.parameters,)
    masked = MaskedForm(bytes(32), terms.encryption.width, LAYERS.parameters)
    assert {update.update.size_bytes for update in second.updates} == {masked.length}
    assert told_by_audit.verdict.verdict == "proven", told_by_audit.verdict.findings
    assert told_by_audit.card is not None
    assert "Trained were output, of 447 parameters" in card.markdown(told_by_audit.card)


def _published(run: Run, view: RoundView) -> Model:
    assert view.round.status is RoundStatus.PUBLISHED, view.round.reason
    assert view.round.model_sha256 is not None
    return run.ledger.models.get(sha256=view.round.model_sha256)


def _on_from(run: Run, model: Model) -> PlanTerms:
    assert run.terms is not None
    strategy = {"momentum": 900_000, "server_rate": 1_000_000}
    changes = {"strategy": Strategy.FEDAVGM, "settings": strategy, "layers": LAYERS}
    terms = run.terms.model_copy(
        update={
            "plan_id": SECOND,
            "model": run.terms.model.model_copy(update={"base": model.model}),
            "training": run.terms.training.model_copy(update=changes),
        }
    )
    clip_micro = terms.encryption.clip_micro
    return terms.model_copy(update={"encryption": drafting.masked(terms.workload, clip_micro)})


def _changed(one: Path, other: Path) -> set[str]:
    before, after = load_file(one), load_file(other)
    names = before.keys() & after.keys()
    return {name for name in names if before[name].tobytes() != after[name].tobytes()}


def _audited(run: Run, folder: Path) -> Told:
    layout, slug = run.network.layout, run.hospitals[0].slug
    auditor = Identity.load(layout.user(slug, "auditor"))
    connection = Connection.load(layout.connection(slug))
    return audit(connection, auditor, layout.genesis, folder, folder / "parent")


def _trained(run: Run, terms: PlanTerms) -> RoundView:
    """The round of a further plan that the hospitals agree."""
    datasets = {}
    for hospital, participant in zip(run.hospitals, terms.participation.participants, strict=True):
        assert hospital.msp_id == participant.msp_id
        datasets[hospital.slug] = participant.dataset_id
        budget = BudgetArgs(
            dataset_id=participant.dataset_id,
            budget_epsilon_micro=3 * terms.privacy.epsilon_micro,
        )
        hospital.submit("dataset:SetBudget", budget, PrivacyAccount)
    steps.agree_plan(run.hospitals, terms, datasets)
    found: list[RoundView] = []

    def done() -> bool:
        if run.ledger.plans.get(plan_id=SECOND).plan.rounds_opened:
            found[:] = [run.ledger.rounds.get(plan_id=SECOND, number=1)]
        return bool(found) and ended(found[0])

    base.wait_until(done, "the second plan", 200, alive=run.agents.check)
    return found[0]


def _personalised(run: Run, place: int, address: str, *options: str) -> dict[str, Any]:
    return _told(
        run,
        place,
        *("personalise", "node.json", address, "ward-1", "--out", "ward-1.safetensors"),
        *("--layer", "output", "--steps", "20", "--rate", "0.5", *options),
    )


def _shared(run: Run, address: str) -> dict[str, Any]:
    """The second hospital's, shared with the first's node, which opens it."""
    owner, recipient = run.hospitals[1], run.hospitals[0]
    share = ("--share", str(SHARED_EPSILON), "--key-file", "ward-1.key")
    told = _personalised(run, 1, address, *share)
    home = run.agents.home(owner.slug)
    node = Identity.load(recipient.user("node1"))
    sharing.grant(
        owner.admin,
        run.store,
        "ward-1",
        bytes.fromhex((home / "ward-1.key").read_text()),
        recipient=(recipient.msp_id, "node1"),
        certificate_pem=node.certificate_pem,
        until=4_000_000_000,
    )
    connection = run.network.layout.connection(recipient.slug)
    with Consortium.connect(connection, node) as there:
        opened = sharing.receive(there, run.store, owner.msp_id, "ward-1")
    return {**told, "file": home / "ward-1.safetensors", "opened": opened}


def _accounts(run: Run) -> list[PrivacyAccount]:
    found = {a.msp_id: a for a in run.ledger.datasets.privacy().accounts}
    return [found[hospital.msp_id] for hospital in run.hospitals]


def _report(run: Run) -> dict[str, Any]:
    return _told(run, 0, "report", "node.json", SECOND)


def _told(run: Run, place: int, *words: str) -> dict[str, Any]:
    folder = run.agents.home(run.hospitals[place].slug)
    done = command("node", *words, "--json", folder=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
