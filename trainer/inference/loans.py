"""What ``medfabric node infer lend``, ``score`` and ``read`` do, by files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chaincode.schema import canonical
from chaincode.schema.base import Id, Language, Sha256
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.inferences import Scoring
from chaincode.schema.plans import PlanTerms
from trainer.inference.commands import features, ledger, named, rounded, unusable, write
from trainer.inference.lending import Shape, lend, read, score
from trainer.models import registry, weights
from trainer.node.config import NodeConfig, load
from trainer.privacy.dealing import KeySecret

ARCHITECTURE = "logistic"
MOST_MODELS = 3
"""Lent models that one record is scored by: each may tell a few of its values."""


class _Kept(Language):
    """What opens the scores of a lent model: for its owner's eyes alone."""

    plan_id: Id
    lent_sha256: Sha256
    secret_hex: Sha256


class _Tally(Language):
    """By which lent models a node's records were scored; a record is known by its hash."""

    scored: Mapping[Sha256, tuple[Sha256, ...]] = {}


def lend_model(
    config: Path, plan_id: str, model: Path, borrower: str, key: Path, out: Path
) -> dict[str, Any]:
    """Encrypt a model of a plan's architecture under a fresh key, and say on the ledger to which
    hospital it is lent.

    Raises:
        MedFabricError: ``NOT_PRIVATE``, ``FILE_UNUSABLE``, ``NOT_ADMITTED``, ``MODEL_RECALLED``, or
            as of model files.
    """
    node = load(config)
    terms, _ = _linear(node, plan_id)
    shapes = registry.layout(registry.build(ARCHITECTURE, terms.model.config))
    content = _read(model)
    flat, _ = weights.decode_of(terms, content, shapes)
    by_name = named(flat, shapes)
    lent = lend(by_name["weight"], by_name["bias"])
    kept = _Kept(plan_id=plan_id, lent_sha256=lent.sha256, secret_hex=lent.secret.seed.hex())
    write(key, canonical.dumps(kept))
    write(out, lent.content)
    with ledger(node) as consortium:
        consortium.inferences.lend(
            plan_id=plan_id,
            lent_sha256=lent.sha256,
            model_sha256=hashlib.sha256(content).hexdigest(),
            borrower=borrower,
        )
    return {
        "plan": plan_id,
        "lent": lent.sha256,
        "lent_to": borrower,
        "bytes": len(lent.content),
    }


def score_records(
    config: Path, plan_id: str, lent: Path, records: Path, out: Path
) -> dict[str, Any]:
    """Score this hospital's records by a model that was lent encrypted, and say so on the ledger.

    Raises:
        MedFabricError: ``NOT_FOUND`` where nobody has said on the ledger that it is lent,
            ``NOT_PRIVATE`` for a record that was scored by MOST_MODELS already, before anything is
            computed; ``GRANT_MISSING``, ``MODEL_RECALLED``, before scores are written;
            ``KEY_SHARE_INVALID``, ``DATA_FILE``, ``FILE_UNUSABLE``.
    """
    node = load(config)
    terms, shape = _linear(node, plan_id)
    content, found = _read(lent), features(records, terms.data)
    digest = hashlib.sha256(content).hexdigest()
    loan = {"plan_id": plan_id, "lent_sha256": digest}
    with ledger(node) as consortium:
        consortium.inferences.loan(**loan)
    tally = _tallied(node.home / "lent.json", [row.tobytes() for row in found], digest)
    answer = score(content, found, shape)
    # First, so that a node that is stopped here has counted too much rather than too little.
    node.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    write(node.home / "lent.json", canonical.dumps(tally))
    sha256 = hashlib.sha256(answer).hexdigest()
    with ledger(node) as consortium:
        consortium.inferences.score(**loan, scores_sha256=sha256, records=len(found))
    write(out, answer)
    return {"plan": plan_id, "lent": digest, "scores": sha256, "records": len(found)}


def read_scores(config: Path, key: Path, scores: Path) -> dict[str, Any]:
    """What the model that one lent says of the other hospital's records.

    Raises:
        MedFabricError: ``NOT_ANSWERED`` where no node has said on the ledger that these are its
            scores; ``FILE_UNUSABLE``, or as of scores.
    """
    try:
        kept = _Kept.model_validate_json(_read(key))
    except ValidationError:
        raise MedFabricError(Code.FILE_UNUSABLE, f"{key} opens no scores; name its key") from None
    node, content = load(config), _read(scores)
    terms, shape = _linear(node, kept.plan_id)
    scoring = _scoring(node, kept, hashlib.sha256(content).hexdigest())
    secret = KeySecret.from_bytes(bytes.fromhex(kept.secret_hex))
    found = read(content, secret, scoring.records, shape, kept.lent_sha256)
    return {
        "lent": kept.lent_sha256,
        "scored_by": f"{scoring.msp_id}/{scoring.node_id}",
        "predictions": [
            {
                "record": number,
                "class": terms.data.classes[int(row.argmax())],
                "scores": rounded(row),
            }
            for number, row in enumerate(found)
        ],
    }


def _scoring(node: NodeConfig, kept: _Kept, scores_sha256: str) -> Scoring:
    """What the ledger has of these scores."""
    with ledger(node) as consortium:
        view = consortium.inferences.loan(plan_id=kept.plan_id, lent_sha256=kept.lent_sha256)
    for scoring in view.scorings:
        if scoring.scores_sha256 == scores_sha256:
            return scoring
    raise MedFabricError(
        Code.NOT_ANSWERED, "no node stands for these scores on the ledger; have it score again"
    )


def _linear(node: NodeConfig, plan_id: str) -> tuple[PlanTerms, Shape]:
    with ledger(node) as consortium:
        terms = consortium.plans.get(plan_id=plan_id).plan.terms
    if terms.model.architecture != ARCHITECTURE:
        raise MedFabricError(
            Code.NOT_PRIVATE,
            f"{plan_id} trains a {terms.model.architecture}; lent models are of {ARCHITECTURE}",
        )
    return terms, Shape(terms.model.config["features"], terms.model.config["classes"])


def _tallied(path: Path, records: list[bytes], lent: str) -> _Tally:
    """The tally with these records scored by this model."""
    try:
        before = _Tally.model_validate_json(path.read_bytes()) if path.exists() else _Tally()
    except ValidationError:
        raise MedFabricError(
            Code.HOME_DAMAGED, f"{path} is damaged; restore the node's folder from its backup"
        ) from None
    scored = dict(before.scored)
    for digest in (hashlib.sha256(record).hexdigest() for record in records):
        models = tuple(sorted({*scored.get(digest, ()), lent}))
        if len(models) > MOST_MODELS:
            raise MedFabricError(
                Code.NOT_PRIVATE,
                f"a record was scored by {MOST_MODELS} lent models already; leave it out",
            )
        scored[digest] = models
    return _Tally(scored=scored)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unusable(path, error) from None
