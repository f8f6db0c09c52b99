"""A node's personal model: a global one trained on for its own patients (transfer learning).

It stays with the node: training has no noise, and nothing but its hash and its parent goes on the
ledger.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from chaincode.schema.rounds import Model, ModelStatus
from chaincode.schema.sharing import LocalKind
from client.consortium import Consortium
from client.content import ContentStore
from client.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.node.learner import Learner, Tuning


@dataclass(frozen=True)
class Personal:
    """What personalising gave: correct predictions of ``total`` validation records of this
    hospital, by the global model and by the personal one. ``element`` names it on the ledger."""

    file: str
    sha256: str
    element: str
    base_sha256: str
    base_correct: int
    correct: int
    total: int
    gain: float
    """In accuracy; 0 without validation records."""


def personalise(
    consortium: Consortium,
    store: ContentStore,
    learner: Callable[[PlanTerms], Learner],
    address: str,
    model_id: str,
    tuning: Callable[[PlanTerms], Tuning],
    out: Path,
) -> Personal:
    """Fetch a global model by its address, train it on, and record its lineage.

    Args:
        learner: of a plan, on this node's records.
        tuning: of the plan that made the model.
        out: where the personal model goes, for its owner's eyes.

    Raises:
        MedFabricError: ``MODEL_RECALLED``; ``EXISTS`` for a model id that is taken, before anything
            is trained; as of learners, transactions and stores.
    """
    model = consortium.models.get(sha256=address)
    _usable(model)
    _unused(consortium, model_id)
    terms = consortium.plans.get(plan_id=model.plan_id).plan.terms
    own = learner(terms)
    base = store.get(model.model)
    content = own.personalised(base, tuning(terms))
    base_correct, total = own.evaluate(base)
    correct, _ = own.evaluate(content)
    try:
        write_whole(out, content, mode=0o600)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot write {out}: {error.strerror}; name another place"
        ) from None
    sha256 = hashlib.sha256(content).hexdigest()
    record = consortium.sharing.publish(
        model_id=model_id, kind=LocalKind.PERSONAL, base_sha256=address, plain_sha256=sha256
    )
    return Personal(
        file=str(out),
        sha256=sha256,
        element=f"local-model/{record.msp_id}/{model_id}",
        base_sha256=address,
        base_correct=base_correct,
        correct=correct,
        total=total,
        gain=(correct - base_correct) / total if total else 0.0,
    )


def _usable(model: Model) -> None:
    if model.status is ModelStatus.RECALLED:
        raise MedFabricError(
            Code.MODEL_RECALLED, f"{model.model.sha256} was recalled ({model.reason}); name another"
        )


def _unused(consortium: Consortium, model_id: str) -> None:
    try:
        consortium.sharing.get(msp_id=consortium.identity.msp_id, model_id=model_id)
    except MedFabricError as error:
        if error.code != Code.NOT_FOUND:
            raise
        return
    raise MedFabricError(Code.EXISTS, f"{model_id} is published; name another")
