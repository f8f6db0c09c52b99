"""What every kind of asset means in the provenance graph: one row a kind, no kind without one.

The contracts' framework records provenance by this table whenever an asset is written, queries
answer by it, and auditors rebuild the graph with it from a ledger's blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chaincode.schema import keys
from chaincode.schema.provenance import CoreType, Edge, Element, Relation, encoded, key_of, name_of

Asset = Mapping[str, Any]
"""An asset as it is on the ledger: parsed canonical JSON."""


@dataclass(frozen=True)
class Rule:
    """A relation to the element at ``key(*fields)``.

    Fields are paths into the asset, ``contributions[].node_id`` for each item of a list; a field
    that is null gives no relation. ``only`` restricts the rule to assets with this value. ``kept``:
    whether it is kept under the name of its target, so that what came of that is found by it.

    A field that a rule reads is never changed back: relations are added, none is taken away.
    """

    relation: Relation
    key: Callable[..., keys.Key]
    fields: tuple[str, ...]
    only: tuple[str, Any] | None = None
    but: tuple[str, Any] | None = None
    kept: bool = True


@dataclass(frozen=True)
class Meaning:
    """One kind of asset.

    ``owner`` is the field that names the hospital whose lineage it is; reading it takes a recorded
    access by others. ``content`` is the field that names content outside the ledger. ``tells`` is a
    field with an object of an application's own: its plain members are said, lists and objects in
    it are not. ``ended`` is the field with an activity's end, once its status is a ``final`` one.
    ``posted``: it is written once, and says itself by whom and when (``msp_id``, ``node_id``,
    ``posted_at``).
    """

    type: CoreType
    rules: tuple[Rule, ...] = ()
    says: tuple[str, ...] = ()
    owner: str | None = None
    content: str | None = None
    tells: str | None = None
    began: str | None = None
    ended: str | None = None
    final: tuple[str, ...] = ()
    posted: bool = False


def _to(relation: Relation, key: Callable[..., keys.Key], *fields: str, **which: Any) -> Rule:
    return Rule(relation, key, fields, **which)


_BY_NODE = _to(Relation.ATTRIBUTED_TO, keys.node, "msp_id", "node_id")
_BY_HOSPITAL = _to(Relation.ATTRIBUTED_TO, keys.hospital, "msp_id")
_IN_ROUND = _to(Relation.INFLUENCED_BY, keys.round_, "plan_id", "round")
_IN_TEST = _to(Relation.INFLUENCED_BY, keys.group_test, "plan_id", "round")
_IN_STUDY = _to(Relation.INFLUENCED_BY, keys.study, "study_id")
_IN_CEREMONY = _to(Relation.GENERATED_BY, keys.ceremony, "plan_id")


def _posted(says: tuple[str, ...], *rules: Rule, content: str | None = None) -> Meaning:
    """What a node posts."""
    return Meaning(CoreType.ENTITY, (_BY_NODE, *rules), says, "msp_id", content, posted=True)


MEANINGS: Mapping[str, Meaning | None] = {
    "consortium": Meaning(CoreType.ENTITY, says=("name", "charter_sha256")),
    "membership": Meaning(CoreType.ENTITY, says=("number",)),
    "renewal": Meaning(CoreType.ENTITY, (_BY_HOSPITAL,), ("membership",)),
    "hospital": Meaning(CoreType.AGENT, says=("name", "status")),
    "node": Meaning(
        CoreType.AGENT,
        (_to(Relation.ACTED_FOR, keys.hospital, "msp_id"),),
        ("public_key_sha256", "device", "dynamic", "status"),
        "msp_id",
    ),
    "node-change": Meaning(
        CoreType.ENTITY, (_BY_NODE,), ("status", "public_key_sha256", "changed_by"), "msp_id"
    ),
    "node-key": Meaning(CoreType.ENTITY, (_BY_NODE,), ("public_key_sha256",), "msp_id"),
    "rulebook": Meaning(CoreType.ENTITY, says=("version", "motion_sha256")),
    "past-motion": Meaning(
        CoreType.ENTITY,
        (
            _to(Relation.ATTRIBUTED_TO, keys.hospital, "terms.proposed_by"),
            _to(Relation.DERIVED_FROM, keys.motion, "terms.subject", "terms.subject_id"),
        ),
        ("terms_sha256", "status"),
    ),
    "motion": Meaning(
        CoreType.ENTITY,
        (
            _to(Relation.ATTRIBUTED_TO, keys.hospital, "terms.proposed_by"),
            *(
                _to(
                    Relation.INFLUENCED_BY,
                    keys.hospital,
                    "terms.subject_id",
                    only=("terms.subject", subject),
                )
                for subject in ("hospital", "expulsion")
            ),
            _to(
                Relation.DERIVED_FROM,
                keys.model,
                "terms.subject_id",
                only=("terms.subject", "recall"),
            ),
            _to(
                Relation.DERIVED_FROM,
                keys.complaint,
                "terms.subject_id",
                only=("terms.subject", "lifting"),
            ),
        ),
        ("terms.subject", "terms.subject_id", "terms_sha256", "status"),
    ),
    "vote": Meaning(
        CoreType.ENTITY,
        (
            _BY_HOSPITAL,
            _to(Relation.DERIVED_FROM, keys.plan, "subject_id", only=("subject", "plan")),
            _to(Relation.DERIVED_FROM, keys.complaint, "subject_id", only=("subject", "complaint")),
            _to(
                Relation.DERIVED_FROM, keys.classifier, "subject_id", only=("subject", "classifier")
            ),
            *(
                _to(
                    Relation.DERIVED_FROM, keys.motion, "subject", "subject_id", only=("subject", s)
                )
                for s in ("hospital", "expulsion", "rules", "recall", "lifting")
            ),
            _to(Relation.DERIVED_FROM, keys.study, "subject_id", only=("subject", "study")),
        ),
        ("subject", "subject_id", "subject_sha256", "approve"),
    ),
    "dataset": Meaning(
        CoreType.ENTITY,
        (_BY_HOSPITAL,),
        ("name", "application", "simulated", "commitment_sha256", "split_sha256", "train_samples"),
        "msp_id",
    ),
    "release": Meaning(
        CoreType.ENTITY,
        (_BY_HOSPITAL, _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id")),
        ("mechanism", "tables", "noise", "records", "sha256", "epsilon_micro"),
        "msp_id",
    ),
    "consent": Meaning(
        CoreType.ENTITY,
        (
            _BY_HOSPITAL,
            _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id"),
            _to(Relation.DERIVED_FROM, keys.plan, "plan_id"),
        ),
        ("given", "terms_sha256"),
        "msp_id",
    ),
    "plan": Meaning(
        CoreType.ENTITY,
        (_to(Relation.ATTRIBUTED_TO, keys.hospital, "proposed_by"),),
        ("terms_sha256", "status"),
    ),
    "plan-version": Meaning(
        CoreType.ENTITY,
        (_to(Relation.DERIVED_FROM, keys.plan, "terms.plan_id"),),
        ("terms_sha256", "replaced_at"),
    ),
    "place": Meaning(
        CoreType.ENTITY,
        (
            _BY_NODE,
            _to(Relation.DERIVED_FROM, keys.plan, "plan_id"),
            _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id"),
        ),
        ("node_id", "dataset_id", "joined_at", "left_at"),
        "msp_id",
    ),
    "ceremony": Meaning(
        CoreType.ACTIVITY,
        (_to(Relation.USED, keys.plan, "plan_id"),),
        ("status", "collective_key_sha256"),
    ),
    "key-commitment": Meaning(
        CoreType.ENTITY, (_BY_HOSPITAL, _IN_CEREMONY), ("commitment_sha256",), "msp_id"
    ),
    "key-share": Meaning(
        CoreType.ENTITY, (_BY_HOSPITAL, _IN_CEREMONY), ("share.sha256",), "msp_id", "share"
    ),
    "key-confirmation": Meaning(
        CoreType.ENTITY, (_BY_HOSPITAL, _IN_CEREMONY), ("collective_key_sha256",), "msp_id"
    ),
    "key-accusation": Meaning(CoreType.ENTITY, (_BY_HOSPITAL, _IN_CEREMONY), ("dealer",), "msp_id"),
    "key-verdict": Meaning(CoreType.ENTITY, (_BY_HOSPITAL, _IN_CEREMONY), ("culprits",), "msp_id"),
    "round": Meaning(
        CoreType.ACTIVITY,
        (
            _to(Relation.USED, keys.plan, "plan_id"),
            _to(Relation.USED, keys.model, "base_sha256"),
            _to(Relation.USED, keys.contributions, "plan_id", "number", "sealed_page"),
        ),
        ("status", "aggregate_sha256", "failure"),
        began="opened_at",
        ended="changed_at",
        final=("PUBLISHED", "FAILED"),
    ),
    "contributions": Meaning(
        CoreType.ENTITY,
        (
            _to(
                Relation.DERIVED_FROM,
                keys.contributions_before,
                "plan_id",
                "number",
                "page",
                but=("page", 0),
            ),
            _to(
                Relation.DERIVED_FROM,
                keys.update,
                "plan_id",
                "number",
                "contributions[].msp_id",
                "contributions[].node_id",
            ),
        ),
        ("page", "updates"),
    ),
    "update": _posted(
        ("update.sha256", "samples", "epsilon_micro"),
        _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id"),
        # From the model one comes to the update's round, which used it for all of them.
        _to(Relation.DERIVED_FROM, keys.model, "base_sha256", kept=False),
        content="update",
    ),
    "decline": _posted(
        ("code", "steps"), _IN_ROUND, _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id")
    ),
    "mask-keys": _posted(("own_sha256",), _IN_ROUND, content="dealing"),
    "masking": Meaning(CoreType.ENTITY, (_IN_ROUND,)),
    "unmasking": _posted(("aggregate_sha256",), _IN_ROUND),
    "attestation": _posted(
        ("aggregate.sha256", "aggregate_sha256"), _IN_ROUND, content="aggregate"
    ),
    "share": _posted(("share.sha256", "aggregate_sha256"), _IN_ROUND, content="share"),
    "share-proof": _posted(("proof.sha256",), _IN_ROUND, content="proof"),
    "share-verdict": _posted(("culprits",), _IN_ROUND),
    "evaluation": _posted(
        ("candidate.sha256", "correct", "total", "accept", "failure"),
        _IN_ROUND,
        content="candidate",
    ),
    "objection": _posted(("subject_sha256", "code"), _IN_ROUND),
    "model": Meaning(
        CoreType.ENTITY,
        (
            _to(Relation.DERIVED_FROM, keys.model, "parents[]"),
            _to(Relation.GENERATED_BY, keys.round_, "plan_id", "round", but=("round", 0)),
            _to(Relation.DERIVED_FROM, keys.plan, "plan_id", only=("round", 0)),
        ),
        ("model.sha256", "aggregate_sha256", "correct", "total", "status"),
        content="model",
    ),
    "inquiry": Meaning(
        CoreType.ENTITY,
        (_BY_NODE, _to(Relation.DERIVED_FROM, keys.model, "model_sha256")),
        ("query_sha256", "asked_at"),
        "msp_id",
    ),
    "inference": Meaning(
        CoreType.ENTITY,
        (
            _BY_NODE,
            _to(Relation.DERIVED_FROM, keys.inquiry, "model_sha256", "query_sha256"),
            _to(Relation.DERIVED_FROM, keys.model, "model_sha256"),
        ),
        ("query_sha256", "answer_sha256", "answered_at"),
        "msp_id",
    ),
    "loan": Meaning(
        CoreType.ENTITY,
        (
            _BY_NODE,
            _to(Relation.DERIVED_FROM, keys.model, "model_sha256", only=("published", True)),
            _to(Relation.INFLUENCED_BY, keys.plan, "plan_id"),
            _to(Relation.INFLUENCED_BY, keys.hospital, "borrower"),
        ),
        ("lent_sha256", "model_sha256", "lent_at"),
        "msp_id",
    ),
    "scoring": Meaning(
        CoreType.ENTITY,
        (_BY_NODE, _to(Relation.DERIVED_FROM, keys.loan, "plan_id", "lent_sha256")),
        ("scores_sha256", "records", "scored_at"),
        "msp_id",
    ),
    "local-model": Meaning(
        CoreType.ENTITY,
        (
            _BY_HOSPITAL,
            _to(Relation.DERIVED_FROM, keys.model, "base_sha256"),
            _to(Relation.DERIVED_FROM, keys.dataset, "trained.dataset_id"),
        ),
        ("kind", "content.sha256", "plain_sha256", "trained.epsilon_micro"),
        "msp_id",
        "content",
    ),
    "grant": Meaning(
        CoreType.ENTITY,
        (
            _BY_HOSPITAL,
            _to(Relation.DERIVED_FROM, keys.local_model, "msp_id", "model_id"),
            _to(Relation.INFLUENCED_BY, keys.hospital, "recipient_msp"),
        ),
        ("recipient_msp", "recipient_node", "until", "status"),
        "msp_id",
        "key",
    ),
    "receipt": Meaning(
        CoreType.ENTITY,
        (
            _to(Relation.ATTRIBUTED_TO, keys.node, "recipient_msp", "recipient_node"),
            _to(
                Relation.DERIVED_FROM,
                keys.grant,
                "msp_id",
                "model_id",
                "recipient_msp",
                "recipient_node",
            ),
        ),
        ("plain_sha256", "received_at"),
        "msp_id",
    ),
    "application": Meaning(
        CoreType.ENTITY,
        (_BY_HOSPITAL, _to(Relation.DERIVED_FROM, keys.application, "application", "previous")),
        ("title", "definition_sha256"),
    ),
    "record": Meaning(
        CoreType.ENTITY,
        (
            _BY_HOSPITAL,
            _to(Relation.DERIVED_FROM, key_of, "subject"),
            _to(Relation.INFLUENCED_BY, keys.application, "application", "version"),
        ),
        ("application", "version"),
        "msp_id",
        tells="record",
    ),
    "holding": Meaning(
        CoreType.ENTITY, (_BY_HOSPITAL,), ("content.sha256", "until"), content="content"
    ),
    "challenge": Meaning(
        CoreType.ACTIVITY,
        (_to(Relation.USED, keys.holding, "content.sha256", "holder"),),
        ("holder", "asked_by", "deadline", "status", "answer_sha256"),
        began="asked_at",
    ),
    "check": Meaning(
        CoreType.ENTITY,
        (_BY_HOSPITAL, _to(Relation.GENERATED_BY, keys.challenge, "challenge")),
        ("answer_sha256",),
    ),
    "complaint": Meaning(
        CoreType.ENTITY,
        (_to(Relation.ATTRIBUTED_TO, keys.hospital, "opened_by"),),
        ("terms.subject", "terms.subject_id", "terms_sha256", "status"),
    ),
    "group-test": Meaning(
        CoreType.ACTIVITY,
        (_to(Relation.USED, keys.round_, "plan_id", "round"),),
        ("status", "seed_sha256", "sums_sha256", "failure"),
        began="opened_at",
        ended="changed_at",
        final=("SCORED", "FAILED"),
    ),
    "group-attestation": _posted(("sums_sha256",), _IN_TEST),
    "group-share": _posted(("sums_sha256",), _IN_TEST),
    "group-score": _posted(("total",), _IN_TEST),
    "suspension": Meaning(
        CoreType.ENTITY,
        (_to(Relation.DERIVED_FROM, keys.complaint, "complaint_id"),),
        ("until", "lifted_by"),
    ),
    "classifier": Meaning(
        CoreType.ENTITY,
        (_to(Relation.ATTRIBUTED_TO, keys.hospital, "proposed_by"),),
        ("terms_sha256", "status", "terms.recipe_sha256", "terms.simulated"),
    ),
    "study": Meaning(
        CoreType.ACTIVITY,
        (
            _to(Relation.ASSOCIATED_WITH, keys.hospital, "proposed_by"),
            _to(Relation.USED, keys.ceremony, "terms.plan_id"),
            _to(Relation.USED, keys.deposit, "study_id", "selection[].dataset_id"),
        ),
        ("terms_sha256", "status", "records", "failure"),
        began="proposed_at",
        ended="changed_at",
        final=("PUBLISHED", "REJECTED", "FAILED"),
    ),
    "study-consent": Meaning(
        CoreType.ENTITY,
        (_BY_HOSPITAL, _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id"), _IN_STUDY),
        ("given", "terms_sha256"),
        "msp_id",
    ),
    "deposit": _posted(
        ("content.sha256", "records"),
        _to(Relation.DERIVED_FROM, keys.dataset, "dataset_id"),
        _IN_STUDY,
        content="content",
    ),
    "study-attestation": _posted(("sum_sha256",), _IN_STUDY),
    "study-share": _posted(("sum_sha256", "share.sha256"), _IN_STUDY, content="share"),
    "study-proof": _posted(("proof.sha256",), _IN_STUDY, content="proof"),
    "study-verdict": _posted(("culprits",), _IN_STUDY),
    "finding": _posted((), _IN_STUDY),
    "study-result": Meaning(
        CoreType.ENTITY,
        (
            _to(Relation.GENERATED_BY, keys.study, "study_id"),
            _to(Relation.DERIVED_FROM, keys.dataset, "dataset_ids[]"),
        ),
        ("records", "sums_sha256"),
    ),
    # What follows from other elements and says nothing of where anything came from.
    "plan-terms": None,
    "cohort": None,
    "objections": None,
    "place-of-node": None,
    "place-of-dataset": None,
    "account": None,
    "hospital-account": None,
    "study-limit": None,
    "study-uses": None,
    "update-content": None,
    "reputation": None,
    "adopted-classifier": None,
    "access": None,
    "pending-challenge": None,
    "group-regression": None,
}


def element(name: str, asset: Asset) -> Element:
    """The element that an asset is, with what is worth telling of it."""
    meaning = MEANINGS[key_of(name)[0]]
    if meaning is None:
        raise ValueError(f"{name} means nothing in the provenance graph")
    said = {path.replace(".", "_"): value for path in meaning.says for value in _at(asset, path)}
    if meaning.tells is not None:
        told = sorted(asset[meaning.tells].items())
        said |= {f"{meaning.tells}_{encoded(n)}": value for n, value in told if _is_plain(value)}
    over = meaning.ended is not None and asset["status"] in meaning.final
    return Element(
        name=name,
        type=meaning.type,
        says={path: value for path, value in said.items() if value is not None},
        began_at=asset[meaning.began] if meaning.began else None,
        ended_at=asset[meaning.ended] if meaning.ended and over else None,
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int)


def edges(name: str, asset: Asset) -> tuple[Edge, ...]:
    """What an element came from, in the table's order, each relation once."""
    return _edges(name, asset, lambda rule: True)


def forward(name: str, asset: Asset) -> tuple[Edge, ...]:
    """Those of an element's :func:`edges` that are kept under the name of what it came from.

    Attribution to a node is not: what a node signed is found by the acts under its own key.
    """
    return tuple(
        edge
        for edge in _edges(name, asset, lambda rule: rule.kept)
        if edge.relation is not Relation.ATTRIBUTED_TO or not edge.target.startswith("node/")
    )


def _edges(name: str, asset: Asset, wanted: Callable[[Rule], bool]) -> tuple[Edge, ...]:
    meaning = MEANINGS[key_of(name)[0]]
    rules = [] if meaning is None else [rule for rule in meaning.rules if wanted(rule)]
    return tuple(dict.fromkeys(edge for rule in rules for edge in _apply(rule, name, asset)))


def posted(name: str) -> bool:
    """Whether an element tells itself which act wrote it: once, by whom and when."""
    meaning = MEANINGS[key_of(name)[0]]
    return meaning is not None and meaning.posted


def owner(name: str, asset: Asset) -> str | None:
    """The hospital whose lineage the element is; None where it is the whole consortium's."""
    meaning = MEANINGS[key_of(name)[0]]
    return None if meaning is None or meaning.owner is None else str(asset[meaning.owner])


def _apply(rule: Rule, name: str, asset: Asset) -> Iterator[Edge]:
    if rule.only is not None and list(_at(asset, rule.only[0])) != [rule.only[1]]:
        return
    if rule.but is not None and list(_at(asset, rule.but[0])) == [rule.but[1]]:
        return
    columns = [list(_at(asset, path)) for path in rule.fields]
    lists = ["[]" in path for path in rule.fields]
    rows = next((len(c) for c, is_list in zip(columns, lists, strict=True) if is_list), 1)
    # A field that is no list goes with every item of one that is.
    spread = [c if is_list else c * rows for c, is_list in zip(columns, lists, strict=True)]
    for parts in zip(*spread, strict=True):
        if None not in parts:
            target = name_of(rule.key(*parts))
            yield Edge(relation=rule.relation, source=name, target=target)


def _at(value: Any, path: str) -> Iterator[Any]:
    step, _, rest = path.partition(".")
    each = step.endswith("[]")
    # What is not there is empty by default.
    inner = value.get(step.removesuffix("[]"))
    for item in inner or () if each else (inner,):
        if rest and item is not None:
            yield from _at(item, rest)
        else:
            yield item
