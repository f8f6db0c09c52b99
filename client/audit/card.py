"""A model card made of what a proven ledger says of a model, each line with where it says so.

Sections are those of Mitchell et al. 2019, "Model Cards for Model Reporting". What the model is
for, its factors and its caveats come from the application's own records; a section of which the
ledger says nothing says that.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from chaincode.schema import keys
from chaincode.schema.datasets import Dataset, PrivacyAccount
from chaincode.schema.plans import Plan
from chaincode.schema.rounds import Evaluation, Model, ModelStatus
from client.audit.lineage import Fact, Lineage, Reader
from client.audit.proof import Ledger


class Line(BaseModel):
    """A sentence, and the elements and transactions that it follows from."""

    says: str
    sources: list[Fact]

    @property
    def where(self) -> str:
        """The sources' addresses, for people."""
        return "; ".join(f"{s.kind} {s.name}, block {s.block}, tx {s.tx_id}" for s in self.sources)


class Section(BaseModel):
    title: str
    lines: list[Line]


class ModelCard(BaseModel):
    """The card of the model with this address."""

    address: str
    sections: list[Section]


def of(ledger: Ledger, lineage: Lineage) -> ModelCard:
    """The card of a model whose lineage is known.

    Raises:
        MedFabricError: ``LINEAGE_BROKEN`` where something that it needs is not on the ledger.
    """
    reader = Reader(ledger)
    model = reader.get(keys.model(lineage.address), Model)
    plan = reader.plan(model.plan_id)
    use = [fact for fact in lineage.records if fact.says.get("about") == "use"]
    sections = {
        "Model details": _details(lineage, model, plan),
        "Intended use": _stated(use, intended="For", users="Users", not_for="Not for"),
        "Factors": _stated(use, factors="Factors"),
        "Metrics": _metrics(lineage, plan),
        "Evaluation data": _evaluation_data(reader, lineage),
        "Training data": _training_data(reader, lineage),
        "Quantitative analyses": _analyses(reader, lineage),
        "Ethical considerations": _ethics(reader, lineage, plan),
        "Caveats and recommendations": _caveats(reader, lineage, model, use),
    }
    nothing = [Line(says="The ledger says nothing of it.", sources=[])]
    return ModelCard(
        address=lineage.address,
        sections=[
            Section(title=title, lines=list(lines) or nothing) for title, lines in sections.items()
        ],
    )


def markdown(card: ModelCard) -> str:
    """The card as text."""
    lines = [f"# Model card of {card.address}", ""]
    for section in card.sections:
        lines += [f"## {section.title}", ""]
        for line in section.lines:
            lines.append(f"- {line.says}" + (f" [{line.where}]" if line.sources else ""))
        lines.append("")
    return "\n".join(lines)


def _details(lineage: Lineage, model: Model, plan: Plan) -> Iterator[Line]:
    terms, made = plan.terms, lineage.steps[0].model
    hospitals = ", ".join(terms.hospitals)
    yield Line(says=f"{terms.title}, trained together by {hospitals}.", sources=[lineage.plan])
    at = datetime.datetime.fromtimestamp(model.published_at, datetime.UTC)
    yield Line(
        says=f"Model of round {model.round} of plan {model.plan_id}, published {at:%Y-%m-%d}; "
        f"{model.status.value}; SHA-256 {lineage.address}.",
        sources=[made],
    )
    yield Line(
        says=f"Architecture {terms.model.architecture} with {terms.model.parameters} parameters, "
        f"pinned by {terms.model.architecture_sha256}; strategy {terms.training.strategy}, "
        f"{terms.training.rounds} rounds of {terms.training.steps} steps.",
        sources=[lineage.plan],
    )
    if layers := terms.training.layers:
        yield Line(
            says=f"Trained were {', '.join(layers.names)}, of {layers.parameters} parameters; the "
            "others are those of the base model.",
            sources=[lineage.plan],
        )
    base = lineage.steps[-1].model
    yield Line(says=f"Follows from base model {base.name}.", sources=[base])
    votes = [fact for fact in lineage.approvals if fact.says["approve"]]
    yield Line(says=f"The plan was approved by {len(votes)} hospitals.", sources=votes)


def _stated(records: Iterable[Fact], **fields: str) -> Iterator[Line]:
    for fact in records:
        for field, title in fields.items():
            if field in fact.says:
                yield Line(says=f"{title}: {fact.says[field]}", sources=[fact])


def _metrics(lineage: Lineage, plan: Plan) -> Iterator[Line]:
    classes = ", ".join(plan.terms.data.classes)
    drop = plan.terms.acceptance.max_drop_micro / 1e4
    yield Line(
        says=f"Share of records given their class among: {classes}. A candidate is published where "
        f"hospitals accept it: it may lose {drop:g} points of accuracy against its base.",
        sources=[lineage.plan],
    )


def _evaluation_data(reader: Reader, lineage: Lineage) -> Iterator[Line]:
    for dataset, fact in _datasets(reader, lineage):
        yield Line(
            says=f"{dataset.msp_id}: {dataset.validation_samples} validation records of "
            f"{dataset.dataset_id}, set apart by the split {dataset.split_sha256}; "
            f"{dataset.test_samples} test records.",
            sources=[fact],
        )


def _training_data(reader: Reader, lineage: Lineage) -> Iterator[Line]:
    for dataset, fact in _datasets(reader, lineage):
        kind = "simulated" if dataset.simulated else "of patients"
        yield Line(
            says=f"{dataset.msp_id}: {dataset.train_samples} records of {dataset.dataset_id}, "
            f"{kind}; files committed to by {dataset.commitment_sha256}.",
            sources=[fact],
        )
    for fact in lineage.records:
        if fact.says.get("about") in ("dataset", "learned"):
            said = (f"{n} {v}" for n, v in fact.says.items() if n not in ("about", "subject"))
            yield Line(says=f"{fact.says['subject']}: {', '.join(said)}.", sources=[fact])


def _analyses(reader: Reader, lineage: Lineage) -> Iterator[Line]:
    for fact in lineage.steps[0].evaluations:
        plan_id, number, attempt, msp_id = fact.name.split("/")
        key = keys.evaluation(plan_id, int(number), int(attempt), msp_id)
        found = reader.get(key, Evaluation)
        share = f"{found.correct / found.total:.3f}" if found.total else "no record"
        yield Line(
            says=f"{msp_id}: {found.correct} of {found.total} right ({share}); its base model "
            f"{found.base_correct}.",
            sources=[fact],
        )
    for step in reversed(lineage.steps):
        correct, total = step.model.says["correct"], step.model.says["total"]
        if total:
            yield Line(
                says=f"Round {step.model.says['round']}: {correct} of {total} right "
                f"({correct / total:.3f}) over all hospitals.",
                sources=[step.model],
            )


def _ethics(reader: Reader, lineage: Lineage, plan: Plan) -> Iterator[Line]:
    privacy, encryption = plan.terms.privacy, plan.terms.encryption
    yield Line(
        says=f"Every record is protected by differential privacy: epsilon at most "
        f"{privacy.epsilon_micro / 1e6:g} at delta {privacy.delta_nano / 1e9:g}.",
        sources=[lineage.plan],
    )
    for dataset, _ in _datasets(reader, lineage):
        key = keys.account(dataset.dataset_id)
        account = reader.get(key, PrivacyAccount)
        yield Line(
            says=f"{dataset.dataset_id} has spent epsilon {account.epsilon_micro / 1e6:g} of "
            f"{account.budget_epsilon_micro / 1e6:g}, over all its plans.",
            sources=[reader.fact(key, {}, newest=True)],
        )
    given = [fact for fact in lineage.consents if fact.says["given"]]
    yield Line(says=f"{len(given)} datasets were consented to this plan.", sources=given)
    holders = encryption.threshold or len(plan.terms.hospitals)
    yield Line(
        says=f"No hospital saw another's update: sums alone were decrypted, by {holders} of "
        f"{len(plan.terms.hospitals)} hospitals together.",
        sources=[lineage.plan],
    )
    last, *before = lineage.ceremonies
    if before:
        yield Line(
            says=f"Their key was made for plan {before[-1].name}, and handed on to this one by "
            f"{', '.join(last.says['dealers'])}.",
            sources=lineage.ceremonies,
        )


def _caveats(reader: Reader, lineage: Lineage, model: Model, use: Iterable[Fact]) -> Iterator[Line]:
    yield from _stated(use, caveats="Caveats")
    if model.status is not ModelStatus.CURRENT:
        yield Line(
            says=f"{model.status.value}: {model.reason}. Do not use it without reading why.",
            sources=[reader.fact(keys.model(lineage.address), {}, newest=True)],
        )
    for step in lineage.steps:
        if step.round is None:
            continue
        for name, what in (("missing", "sent no update"), ("disagreed", "attested another sum")):
            if who := step.round.says[name]:
                yield Line(says=f"{', '.join(who)} {what}.", sources=[step.round])


def _datasets(reader: Reader, lineage: Lineage) -> Iterator[tuple[Dataset, Fact]]:
    facts = {fact.name: fact for step in lineage.steps for fact in step.datasets}
    for name, fact in sorted(facts.items()):
        yield reader.get(keys.dataset(name), Dataset), fact
