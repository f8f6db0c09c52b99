"""How a model came to be, told from a proven ledger: who did what, in which transaction."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from chaincode.schema import accounting, keys
from chaincode.schema.applications import ApplicationSchema, SpecificRecord
from chaincode.schema.base import Language
from chaincode.schema.ceremonies import Ceremony
from chaincode.schema.consortium import Node, Subject, Vote
from chaincode.schema.datasets import Consent, Dataset, PrivacyAccount, Release
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.hospitals import HospitalAccount, HospitalSpending, total_micro
from chaincode.schema.masking import Masking
from chaincode.schema.plans import Plan, PlanState, PlanTerms
from chaincode.schema.provenance import key_of
from chaincode.schema.reputation import Rated, Rating, Reputation
from chaincode.schema.rounds import (
    Attestation,
    Cohort,
    Contributions,
    Decline,
    DecryptionShare,
    Evaluation,
    Model,
    ModelStatus,
    Objection,
    Round,
    Update,
    WholeRound,
)
from chaincode.schema.sharing import LocalModel
from chaincode.schema.stored import whole
from chaincode.schema.studies import Deposit, Study, spending_of
from client.audit.proof import NAMESPACE, Finding, Ledger, Writing

Asset = TypeVar("Asset", bound=Language)

_TOLD = (
    "aggregate_sha256",
    "evidence_sha256",
    "accept",
    "correct",
    "total",
    "failure",
    "subject_sha256",
    "code",
)
"""What lineage tells of what was posted, where it has it."""


class Fact(BaseModel):
    """One thing that stands on the ledger, and the transaction that first wrote it."""

    kind: str
    name: str
    says: dict[str, Any]
    block: int
    tx_id: str
    signed_by: str
    endorsed_by: list[str]


class Step(BaseModel):
    """A model and everything that it was made of."""

    model: Fact
    round: Fact | None
    updates: list[Fact]
    datasets: list[Fact]
    nodes: list[Fact]
    attestations: list[Fact]
    shares: list[Fact]
    evaluations: list[Fact]
    objections: list[Fact]
    """By which updates were dropped."""


class Lineage(BaseModel):
    """From a model back to its plan's base model, newest first, and the plan they follow.

    ``ceremonies``: of the plan's key, and where it was handed on, of the plans that had it before.
    ``records``: applications' own about any of these models, updates and datasets; ``schemas``: by
    which they were judged."""

    address: str
    plan: Fact
    approvals: list[Fact]
    consents: list[Fact]
    ceremonies: list[Fact]
    steps: list[Step]
    schemas: list[Fact]
    records: list[Fact]


def of(ledger: Ledger, address: str) -> Lineage:
    """The lineage of the model with this address.

    Raises:
        MedFabricError: ``MODEL_UNKNOWN`` where no such model is on the ledger, ``LINEAGE_BROKEN``
            where something that it was made of is not.
    """
    reader = Reader(ledger)
    model = reader.find(keys.model(address), Model)
    if model is None:
        raise MedFabricError(
            Code.MODEL_UNKNOWN, f"no model {address} on this ledger; it came from elsewhere"
        )
    plan = reader.plan(model.plan_id)
    steps = list(_steps(reader, model))
    records = list(_records(reader, steps))
    return Lineage(
        address=address,
        plan=reader.fact(keys.plan(model.plan_id), _plan_says(plan)),
        approvals=list(reader.votes(plan)),
        consents=list(reader.consents(plan)),
        ceremonies=list(reader.ceremonies(plan.terms)),
        steps=steps,
        schemas=[
            _schema(reader, *one) for one in sorted({(r.application, r.version) for r in records})
        ],
        records=[_record(reader, record) for record in records],
    )


def address_of(file: Path) -> str:
    """A model file's address.

    Raises:
        MedFabricError: ``MODEL_UNKNOWN`` where it cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise MedFabricError(
            Code.MODEL_UNKNOWN, f"cannot read {file}: {error.strerror}; name a model file"
        ) from None


def check_privacy(ledger: Ledger) -> Iterator[Finding]:
    """Recompute every privacy account from the updates on the ledger, and from what was trained
    and declined."""
    reader = Reader(ledger)
    spent: dict[str, tuple[int, ...]] = {}
    posted: list[Update | Decline] = [
        *reader.all("update", Update),
        *reader.all("decline", Decline),
    ]
    for update in posted:
        dataset = reader.get(keys.dataset(update.dataset_id), Dataset)
        loss = accounting.rdp_pico(
            update.batch_size, dataset.train_samples, update.noise_multiplier_micro, update.steps
        )
        spent[update.dataset_id] = accounting.add(spent.get(update.dataset_id, ()), loss)
    for release in reader.all("release", Release):
        known = spent.get(release.dataset_id, ())
        spent[release.dataset_id] = accounting.add(known, release.rdp_pico())
    for model in reader.all("local-model", LocalModel):
        if model.trained is not None:
            dataset = reader.get(keys.dataset(model.trained.dataset_id), Dataset)
            loss = model.trained.rdp_pico(dataset.train_samples)
            known = spent.get(dataset.dataset_id, ())
            spent[dataset.dataset_id] = accounting.add(known, loss)
    for deposit in reader.all("deposit", Deposit):
        study = reader.get(keys.study(deposit.study_id), Study)
        if study.terms.privacy is not None:
            known = spent.get(deposit.dataset_id, ())
            # Of no delta: the divergences alone are wanted.
            told = spending_of(study.terms, 1).rdp_pico()
            spent[deposit.dataset_id] = accounting.add(known, told)
    for account in reader.all("account", PrivacyAccount):
        rdp = spent.get(account.dataset_id, ())
        epsilon = accounting.epsilon_micro(rdp, account.delta_nano) if rdp else 0
        if epsilon != account.epsilon_micro or epsilon > account.budget_epsilon_micro:
            why = (
                f"the account of {account.dataset_id} says {account.epsilon_micro}, it is {epsilon}"
            )
            yield Finding(Code.PRIVACY_WRONG, why)
    yield from _check_hospitals(reader)


def _check_hospitals(reader: Reader) -> Iterator[Finding]:
    """Recompute what all plans that hide hospitals have told of each, from the updates."""
    sums = Counter((update.msp_id, update.plan_id) for update in reader.all("update", Update))
    told: dict[str, list[HospitalSpending]] = {}
    for (msp_id, plan_id), number in sorted(sums.items()):
        terms = reader.get(keys.plan_terms(plan_id), PlanTerms)
        if terms.hides_hospitals:
            told.setdefault(msp_id, []).append(terms.told(msp_id, number))
    accounts = {account.msp_id: account for account in _hospital_accounts(reader)}
    for msp_id in sorted(told.keys() | accounts.keys()):
        plans, account = tuple(told.get(msp_id, ())), accounts.get(msp_id)
        if account is None:
            yield Finding(Code.PRIVACY_WRONG, f"{msp_id} has no account of what is told of it")
            continue
        epsilon = total_micro(plans, account.delta_nano)
        right = (plans, epsilon) == (account.plans, account.epsilon_micro)
        if not right or epsilon > account.budget_epsilon_micro:
            why = f"the account of {msp_id} says {account.epsilon_micro} is told of it, it is "
            yield Finding(Code.PRIVACY_WRONG, f"{why}{epsilon}")


def _hospital_accounts(reader: Reader) -> Iterator[HospitalAccount]:
    return reader.all("hospital-account", HospitalAccount)


def text(lineage: Lineage) -> str:
    """The lineage as a tree of lines."""
    lines = [f"model {lineage.address}", f"  {_line(lineage.plan)}"]
    lines += [f"    approved: {_line(vote)}" for vote in lineage.approvals]
    lines += [f"    {_line(consent)}" for consent in lineage.consents]
    lines += [f"    {_line(ceremony)}" for ceremony in lineage.ceremonies]
    for step in lineage.steps:
        lines.append(f"  {_line(step.model)}")
        if step.round is not None:
            lines.append(f"    {_line(step.round)}")
        for name in (
            "updates",
            "datasets",
            "nodes",
            "attestations",
            "shares",
            "evaluations",
            "objections",
        ):
            lines += [f"      {_line(fact)}" for fact in getattr(step, name)]
    lines += [f"  schema {_line(schema)}" for schema in lineage.schemas]
    lines += [f"    {_line(record)}" for record in lineage.records]
    return "\n".join(lines)


class Reader:
    """Typed access to the proven state.

    Raises:
        MedFabricError: ``FORM_OTHER`` where its contracts were of another form.
    """

    def __init__(self, ledger: Ledger) -> None:
        ledger.check_form()
        self._ledger = ledger

    def find(self, key: keys.Key, model: type[Asset]) -> Asset | None:
        entry = self._ledger.state.get(NAMESPACE, keys.composite(key))
        return None if entry is None else model.model_validate_json(whole(key, entry.value))

    def get(self, key: keys.Key, model: type[Asset]) -> Asset:
        asset = self.find(key, model)
        if asset is None:
            raise MedFabricError(
                Code.LINEAGE_BROKEN, f"{key[0]} {'/'.join(key[1])} is not on this ledger"
            )
        return asset

    def all(self, kind: str, model: type[Asset], *parts: str) -> Iterator[Asset]:
        prefix = keys.composite((kind, parts))
        for key, entry in self._ledger.state.range(NAMESPACE, prefix, prefix + "\U0010ffff"):
            yield model.model_validate_json(whole(keys.parted(key), entry.value))

    def posted(self, block: int, kind: str, model: type[Asset], *parts: str) -> Iterator[Asset]:
        """What stood on the ledger before a block, as first written: what a transaction reads is
        not of its own block."""
        prefix = keys.composite((kind, parts))
        for key, _ in self._ledger.state.range(NAMESPACE, prefix, prefix + "\U0010ffff"):
            first = self._ledger.writings[key][0]
            if first.block < block:
                yield model.model_validate_json(whole(keys.parted(key), first.value or b""))

    def reputations(self) -> Iterator[Reputation]:
        """All that are kept."""
        prefix = keys.composite(("reputation", ()))
        for key, entry in self._ledger.state.range(NAMESPACE, prefix, prefix + "\U0010ffff"):
            subject, subject_id = keys.rated(keys.parted(key)[1])
            rating = Rating.model_validate_json(entry.value)
            yield Reputation.of(Rated(subject), subject_id, rating)

    def fact(self, key: keys.Key, says: dict[str, Any], *, newest: bool = False) -> Fact:
        """What stands at a key, and the transaction that first wrote it; with ``newest``, the last
        that did."""
        writing = self._writings(key)[-1 if newest else 0]
        return Fact(
            kind=key[0],
            name="/".join(key[1]),
            says=says,
            block=writing.block,
            tx_id=writing.tx_id,
            signed_by=f"{writing.common_name} of {writing.msp_id}",
            endorsed_by=list(writing.endorsers),
        )

    def plan(self, plan_id: str) -> Plan:
        """A plan with its terms."""
        state = self.get(keys.plan(plan_id), PlanState)
        return Plan.joined(state, self.get(keys.plan_terms(plan_id), PlanTerms))

    def round(self, plan_id: str, number: int) -> WholeRound:
        """A round with its nodes."""
        return self.whole(self.get(keys.round_(plan_id, number), Round))

    def whole(self, round_: Round) -> WholeRound:
        """The same of a round as it stands, or once stood."""
        place = (round_.plan_id, round_.number)
        below = keys.round_(*place)[1]
        terms = self.plan(round_.plan_id).terms
        return WholeRound.of(
            round_,
            list(self.all("cohort", Cohort, *below)),
            list(self.all("contributions", Contributions, *below)),
            list(self.all("update", Update, *below)),
            terms.encryption.weight_bits,
            self.find(keys.masking(*place), Masking),
            alike=terms.hides_hospitals,
        )

    def votes(self, plan: Plan) -> Iterator[Fact]:
        place = (Subject.PLAN.value, plan.terms.plan_id, plan.terms_sha256)
        for vote in self.all("vote", Vote, *place):
            key = keys.vote(*place, vote.msp_id)
            yield self.fact(key, {"approve": vote.approve})

    def consents(self, plan: Plan) -> Iterator[Fact]:
        for consent in self.all("consent", Consent):
            if consent.terms_sha256 == plan.terms_sha256:
                key = keys.consent(consent.dataset_id, consent.plan_id)
                yield self.fact(key, {"given": consent.given})

    def ceremonies(self, terms: PlanTerms) -> Iterator[Fact]:
        """Who holds the plan's key and who dealt it, and before that who handed it on."""
        ceremony = self.get(keys.ceremony(terms.plan_id), Ceremony)
        made = ceremony.collective_key_sha256
        says = {
            **({"key": made} if made else {}),
            "hospitals": list(ceremony.hospitals),
            "dealers": list(ceremony.dealers),
        }
        yield self.fact(keys.ceremony(terms.plan_id), says, newest=True)
        if terms.key is not None:
            yield from self.ceremonies(self.get(keys.plan_terms(terms.key.plan_id), PlanTerms))

    def _writings(self, key: keys.Key) -> list[Writing]:
        writings = self._ledger.writings.get(keys.composite(key))
        if not writings:
            raise MedFabricError(
                Code.LINEAGE_BROKEN, f"nothing on this ledger wrote {key[0]} {'/'.join(key[1])}"
            )
        return writings


def _steps(reader: Reader, newest: Model) -> Iterator[Step]:
    model: Model | None = newest
    while model is not None:
        yield _step(reader, model)
        if not model.parents:
            return
        model = reader.get(keys.model(model.parents[0]), Model)


def _step(reader: Reader, model: Model) -> Step:
    address = model.model.sha256
    says: dict[str, Any] = {"round": model.round, "correct": model.correct, "total": model.total}
    if model.status is not ModelStatus.CURRENT:
        says |= {"status": model.status.value, "reason": model.reason}
    fact = reader.fact(keys.model(address), says)
    if model.round == 0:
        return Step(
            model=fact,
            round=None,
            updates=[],
            datasets=[],
            nodes=[],
            attestations=[],
            shares=[],
            evaluations=[],
            objections=[],
        )
    plan_id, number = model.plan_id, model.round
    round_ = reader.round(plan_id, number)
    if round_.model_sha256 != address or round_.aggregate_sha256 != model.aggregate_sha256:
        raise MedFabricError(Code.LINEAGE_BROKEN, f"round {number} published another model")
    hospitals = reader.plan(plan_id).terms.hospitals
    updates = [
        reader.get(keys.update(plan_id, number, c.msp_id, c.node_id), Update)
        for c in round_.contributions
    ]
    return Step(
        model=fact,
        round=reader.fact(keys.round_(plan_id, number), _round_says(round_)),
        updates=[_update(reader, update, round_) for update in updates],
        datasets=[_dataset(reader, update) for update in updates],
        nodes=[_node(reader, update) for update in updates],
        attestations=_facts(
            reader,
            Attestation,
            [keys.attestation(plan_id, number, len(round_.dropped), h) for h in hospitals],
        ),
        objections=_facts(
            reader,
            Objection,
            [
                keys.objection(plan_id, number, h, update.update_sha256, again=again)
                for update in round_.dropped
                for h in update.objectors
                for again in (False, True)
            ],
        ),
        shares=_facts(
            reader,
            DecryptionShare,
            [keys.share(plan_id, number, round_.attempt, h) for h in round_.key_holders],
        ),
        evaluations=_facts(
            reader,
            Evaluation,
            [keys.evaluation(plan_id, number, round_.attempt, h) for h in hospitals],
        ),
    )


def _records(reader: Reader, steps: list[Step]) -> Iterator[SpecificRecord]:
    facts = [fact for s in steps for fact in (s.model, *s.updates, *s.datasets)]
    about = {(fact.kind, fact.name) for fact in facts}
    for record in reader.all("record", SpecificRecord):
        kind, parts = key_of(record.subject)
        if (kind, "/".join(parts)) in about:
            yield record


def _record(reader: Reader, record: SpecificRecord) -> Fact:
    key = keys.record(record.application, record.msp_id, record.record_id)
    return reader.fact(key, {**record.record, "subject": record.subject})


def _schema(reader: Reader, application: str, version: int) -> Fact:
    key = keys.application(application, version)
    schema = reader.get(key, ApplicationSchema)
    return reader.fact(key, {"title": schema.title, "definition": schema.definition_sha256})


def _facts(reader: Reader, model: type[Language], wanted: list[keys.Key]) -> list[Fact]:
    """What was posted of several assets."""
    found = []
    for key in wanted:
        asset = reader.find(key, model)
        if asset is not None:
            found.append(reader.fact(key, _says(asset)))
    return found


def _says(asset: Language) -> dict[str, Any]:
    return {name: getattr(asset, name) for name in _TOLD if getattr(asset, name, None) is not None}


def _update(reader: Reader, update: Update, round_: WholeRound) -> Fact:
    weight = next(
        c.weight
        for c in round_.contributions
        if (c.msp_id, c.node_id) == (update.msp_id, update.node_id)
    )
    says = {
        "sha256": update.update.sha256,
        "samples": update.samples,
        "weight": f"{weight}/{round_.total_weight}",
        "epsilon": update.epsilon_micro / 1e6,
    }
    key = keys.update(update.plan_id, update.round, update.msp_id, update.node_id)
    return reader.fact(key, says)


def _dataset(reader: Reader, update: Update) -> Fact:
    dataset = reader.get(keys.dataset(update.dataset_id), Dataset)
    says = {
        "commitment": dataset.commitment_sha256,
        "split": dataset.split_sha256,
        "simulated": dataset.simulated,
    }
    return reader.fact(keys.dataset(update.dataset_id), says)


def _node(reader: Reader, update: Update) -> Fact:
    key = keys.node(update.msp_id, update.node_id)
    node = reader.get(key, Node)
    return reader.fact(key, {"key": node.public_key_sha256, "status": node.status.value})


def _plan_says(plan: Plan) -> dict[str, Any]:
    privacy = plan.terms.privacy
    return {
        "terms": plan.terms_sha256,
        "status": plan.status.value,
        "epsilon": privacy.epsilon_micro / 1e6,
        "delta": privacy.delta_nano / 1e9,
    }


def _round_says(round_: WholeRound) -> dict[str, Any]:
    return {
        "aggregate": round_.aggregate_sha256,
        "missing": [f"{node.node_id} of {node.msp_id}" for node in round_.missing],
        "dropped": [f"{update.node_id} of {update.msp_id}" for update in round_.dropped],
        "disagreed": list(round_.disagreed),
    }


def _line(fact: Fact) -> str:
    says = ", ".join(f"{name} {_short(value)}" for name, value in fact.says.items() if value != [])
    return (
        f"{fact.kind} {_short(fact.name)}: {says} [block {fact.block}, tx {fact.tx_id[:12]}, "
        f"signed by {fact.signed_by}, endorsed by {len(fact.endorsed_by)}]"
    )


def _short(value: object) -> str:
    words = str(value)
    return f"{words[:16]}…" if len(words) == 64 and words.isalnum() else words
