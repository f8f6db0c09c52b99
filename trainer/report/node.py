"""A node's report on a plan: for its hospital, from the ledger, its own journal and records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from client.consortium import Consortium, every
from client.identity import Identity
from client.pages import document, figure, svg, table, text
from trainer.node.config import DataConfig, NodeConfig, load
from trainer.node.datasets import of_plan
from trainer.node.personal import PERSONALISED
from trainer.report import parts
from trainer.report.ledger import Account, Link, Share, account, links, shares
from trainer.report.quality import Quality
from trainer.report.resources import MachineUsed, Resources, journal, machines, used

if TYPE_CHECKING:
    from chaincode.schema.plans import Plan
    from chaincode.schema.rounds import RoundView
    from chaincode.schema.sharing import LocalGain


class RoundLine(BaseModel):
    """A round as this hospital saw it: counts on its own validation records and on everybody's;
    ``epsilon``: charged to this node's dataset by then; ``machine``: that it worked on, None where
    it did nothing."""

    number: int
    status: str
    reason: str
    own_correct: int
    own_total: int
    correct: int
    total: int
    epsilon: float | None
    machine: MachineUsed | None


class PersonalLine(BaseModel):
    """A personal model beside the global one that it was trained on from: correct predictions of
    ``total`` records of its hospital's ``part``. ``told``: whether the ledger has it."""

    model: str
    base: str
    part: str
    base_correct: int
    correct: int
    total: int
    told: bool


class NodeReport(BaseModel):
    """``quality``: of the model in force on the node's own validation records, None where it has
    none. Exact, so for the hospital alone. ``personal``: models trained on from the plan's, of this
    node and of hospitals that tell."""

    plan_id: str
    title: str
    status: str
    hospital: str
    node: str
    model_address: str | None
    rounds: list[RoundLine]
    quality: Quality | None
    fairness: list[Share]
    account: Account | None
    resources: Resources
    personal: list[PersonalLine]
    lineage: list[Link]

    def told(self) -> dict[str, Any]:
        """The same for reading; see :meth:`~trainer.report.quality.Quality.told`."""
        quality = self.quality.told() if self.quality else None
        return {**self.model_dump(mode="json"), "quality": quality}


def report(path: Path, plan_id: str) -> NodeReport:
    """Report on a plan as it stands; the agent may be running.

    Args:
        path: the node's configuration.

    Raises:
        MedFabricError: the plan or the node's configuration, records or store are unusable.
    """
    config = load(path)
    identity = Identity.load(config.identity)
    with Consortium.connect(config.connection, identity) as consortium:
        plan = consortium.plans.get(plan_id=plan_id).plan
        rounds = [
            consortium.rounds.get(plan_id=plan_id, number=number)
            for number in range(1, plan.rounds_opened + 1)
        ]
        model = _in_force(plan, rounds)
        data = of_plan(config.datasets, plan.terms, consortium) if config.datasets else None
        dataset = consortium.datasets.get(dataset_id=data.dataset_id) if data else None
        quality = _quality(config, data, plan, consortium, model) if data else None
        told = [one for found in every(consortium.sharing.gains) for one in found.gains]
    whole = list(journal(config.home))
    mine = [entry for entry in whole if entry.get("plan_id") == plan_id]
    on = machines(whole, plan_id)
    return NodeReport(
        plan_id=plan_id,
        title=plan.terms.title,
        status=plan.status.value,
        hospital=identity.msp_id,
        node=identity.name,
        model_address=model,
        rounds=[_line(view, identity, on.get(view.round.number)) for view in rounds],
        quality=quality,
        fairness=shares(rounds),
        account=account(dataset) if dataset else None,
        resources=used(mine),
        personal=_personal(plan, rounds, told, mine),
        lineage=links(rounds),
    )


def page(made: NodeReport) -> str:
    """One HTML document that loads nothing from elsewhere."""
    quality = made.quality
    body = [
        f"<h1>{text(made.title)}</h1>",
        f"<p>Plan {text(made.plan_id)} ({text(made.status)}) as {text(made.node)} of "
        f"{text(made.hospital)} sees it; model in force <code>{text(made.model_address or '-')}"
        "</code>.</p>",
        "<p class=note>Exact figures of this hospital's own records: for the hospital alone.</p>",
        "<h2>Rounds</h2>",
        _curve(made),
        _rounds(made),
        "<h2>Which classes are taken for which, on this hospital's validation records</h2>",
        parts.confusion(quality) if quality else "<p>No validation records.</p>",
        "<h2>Calibration</h2>",
        parts.calibration(quality) if quality else "<p>No validation records.</p>",
        "<h2>Hospital by hospital</h2>",
        parts.fairness(made.fairness),
        "<h2>Personal models</h2>",
        _personal_models(made),
        "<h2>Privacy account</h2>",
        parts.accounts([made.account] if made.account else []),
        "<h2>What this node gave</h2>",
        parts.resources([(made.node, made.resources)]),
        "<h2>Lineage</h2>",
        parts.picture(made.lineage),
    ]
    return document(f"{made.plan_id}: {made.node} of {made.hospital}", body)


def _in_force(plan: Plan, rounds: list[RoundView]) -> str:
    if not rounds:
        return plan.terms.model.base.sha256
    last = rounds[-1].round
    return last.model_sha256 or last.base_sha256


def _quality(
    config: NodeConfig, data: DataConfig, plan: Plan, consortium: Consortium, address: str
) -> Quality | None:
    from trainer.data.dataset import open_dataset
    from trainer.models import registry, weights
    from trainer.node.main import open_store
    from trainer.report.quality import assess

    terms = plan.terms
    records = open_dataset(data, terms.data).validation
    if not len(records):
        return None
    content = open_store(config).get(consortium.models.get(sha256=address).model)
    model = registry.build(terms.model.architecture, terms.model.config)
    values, _ = weights.decode_of(terms, content, registry.layout(model))
    return assess(model, values, records, terms.data.classes)


def _line(view: RoundView, identity: Identity, machine: MachineUsed | None) -> RoundLine:
    own = [e for e in view.evaluations if e.msp_id == identity.msp_id]
    mine = [u for u in view.updates if (u.msp_id, u.node_id) == (identity.msp_id, identity.name)]
    return RoundLine(
        number=view.round.number,
        status=view.round.status.value,
        reason=view.round.reason,
        own_correct=sum(e.correct for e in own),
        own_total=sum(e.total for e in own),
        correct=sum(e.correct for e in view.evaluations),
        total=sum(e.total for e in view.evaluations),
        epsilon=mine[0].epsilon_micro / 1e6 if mine else None,
        machine=machine,
    )


def _personal(
    plan: Plan, rounds: list[RoundView], told: list[LocalGain], mine: list[dict[str, Any]]
) -> list[PersonalLine]:
    models = {plan.terms.model.base.sha256, *(view.round.model_sha256 for view in rounds)}
    found = {
        name: PersonalLine(model=name, base=one.base_sha256, told=True, **one.gain.model_dump())
        for one in told
        if one.base_sha256 in models
        for name in [f"local-model/{one.msp_id}/{one.model_id}"]
    }
    fields = ("part", "base_correct", "correct", "total")
    for entry in mine:
        if entry["task"] == PERSONALISED and entry["element"] not in found:
            found[entry["element"]] = PersonalLine(
                model=entry["element"],
                base=entry["base_sha256"],
                told=False,
                **{name: entry[name] for name in fields},
            )
    return list(found.values())


def _personal_models(made: NodeReport) -> str:
    if not made.personal:
        return "<p>None was trained on from this plan's models, or no hospital tells of it.</p>"
    rows = (
        (
            one.model,
            one.base[:8],
            f"{one.base_correct}/{one.total}",
            f"{one.correct}/{one.total}",
            one.part,
            "on the ledger" if one.told else "here alone",
        )
        for one in made.personal
    )
    return table(("model", "from", "global model", "personal model", "records", "told"), rows)


def _rounds(made: NodeReport) -> str:
    rows = (
        (
            r.number,
            f"{r.status}: {r.reason}" if r.reason else r.status,
            f"{r.own_correct}/{r.own_total}",
            f"{r.correct}/{r.total}",
            "" if r.epsilon is None else f"{r.epsilon:.3f}",
            str(r.machine or ""),
        )
        for r in made.rounds
    )
    return table(("round", "outcome", "here", "everywhere", "epsilon here", "machine"), rows)


def _curve(made: NodeReport) -> str:
    judged = [r for r in made.rounds if r.own_total and r.total]
    if not judged:
        return ""
    drawn, axes = figure()
    numbers = [r.number for r in judged]
    axes.plot(numbers, [r.own_correct / r.own_total for r in judged], "o-", label="this hospital")
    axes.plot(numbers, [r.correct / r.total for r in judged], "s--", label="all hospitals")
    axes.set(xlabel="round", ylabel="validation accuracy of the candidate", xticks=numbers)
    axes.legend(loc="lower right")
    return svg(drawn)
