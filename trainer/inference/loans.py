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


def lend_model(config: Path, plan_id: str, model: Path, key: Path, out: Path) -> dict[str, Any]:
    """Encrypt a model of a plan's architecture under a fresh key.

    Raises:
        MedFabricError: ``NOT_PRIVATE``, ``FILE_UNUSABLE``, or as of model files.
    """
    terms, _ = _linear(load(config), plan_id)
    shapes = registry.layout(registry.build(ARCHITECTURE, terms.model.config))
    flat, _ = weights.decode_of(terms, _read(model), shapes)
    by_name = named(flat, shapes)
    lent = lend(by_name["weight"], by_name["bias"])
    kept = _Kept(plan_id=plan_id, lent_sha256=lent.sha256, secret_hex=lent.secret.seed.hex())
    write(key, canonical.dumps(kept))
    write(out, lent.content)
    return {"plan": plan_id, "lent": lent.sha256, "bytes": len(lent.content)}


def score_records(
    config: Path, plan_id: str, lent: Path, records: Path, out: Path
) -> dict[str, Any]:
    """Score this hospital's records by a model that was lent encrypted.

    Raises:
        MedFabricError: ``NOT_PRIVATE`` for a record that was scored by MOST_MODELS already, before
            anything is computed; ``KEY_SHARE_INVALID``, ``DATA_FILE``, ``FILE_UNUSABLE``.
    """
    node = load(config)
    terms, shape = _linear(node, plan_id)
    content, found = _read(lent), features(records, terms.data)
    digest = hashlib.sha256(content).hexdigest()
    tally = _tallied(node.home / "lent.json", [row.tobytes() for row in found], digest)
    answer = score(content, found, shape)
    # First, so that a node that is stopped here has counted too much rather than too little.
    node.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    write(node.home / "lent.json", canonical.dumps(tally))
    write(out, answer)
    sha256 = hashlib.sha256(answer).hexdigest()
    return {"plan": plan_id, "lent": digest, "scores": sha256, "records": len(found)}


def read_scores(config: Path, key: Path, scores: Path, records: int) -> dict[str, Any]:
    """What the model that one lent says of the other hospital's records."""
    try:
        kept = _Kept.model_validate_json(_read(key))
    except ValidationError:
        raise MedFabricError(Code.FILE_UNUSABLE, f"{key} opens no scores; name its key") from None
    terms, shape = _linear(load(config), kept.plan_id)
    secret = KeySecret.from_bytes(bytes.fromhex(kept.secret_hex))
    found = read(_read(scores), secret, records, shape, kept.lent_sha256)
    return {
        "lent": kept.lent_sha256,
        "predictions": [
            {
                "record": number,
                "class": terms.data.classes[int(row.argmax())],
                "scores": rounded(row),
            }
            for number, row in enumerate(found)
        ],
    }


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
