"""A node's personal model: a global one trained on for its own patients (transfer learning).

It stays with the node, trained without noise, and nothing but its hash and its parent goes on the
ledger; or it is trained with differential privacy, which the ledger charges to the dataset's
account, and an enciphered copy is published that the hospital's admin may grant to others.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chaincode.schema import accounting
from chaincode.schema.datasets import LocalTraining
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms, PrivacyTerms, TrainingTerms
from chaincode.schema.rounds import Model, ModelStatus
from chaincode.schema.sharing import Gain, LocalKind, LocalModel
from client import sharing
from client.consortium import Consortium
from client.content import ContentStore
from client.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.node.learner import Learner, Tuning


PERSONALISED = "personalise"
"""What the node's journal calls it."""


@dataclass(frozen=True)
class Personal:
    """What personalising gave. ``element`` names it on the ledger; ``part``: whose ``total``
    records of this hospital it was judged by, empty where there are none; ``epsilon``: charged to
    the dataset's account, None for a model that stays with its node."""

    file: str
    sha256: str
    element: str
    plan_id: str
    base_sha256: str
    part: str
    base_correct: int
    correct: int
    total: int
    gain: float
    """In accuracy; 0 without records."""
    epsilon: float | None


@dataclass(frozen=True)
class Wish:
    """What is to become of the model. ``out``: where it goes, for its owner's eyes. ``epsilon``:
    what it may tell of a patient where it is to be shared, under a content key that goes into
    ``key_file``; None where it is not. ``tell_gain``: whether the ledger is to have its gain."""

    model_id: str
    out: Path
    epsilon: float | None = None
    key_file: Path | None = None
    tell_gain: bool = False


def personalise(
    consortium: Consortium,
    store: ContentStore,
    learner: Callable[[PlanTerms], Learner],
    address: str,
    wish: Wish,
    tuning: Callable[[PlanTerms, PrivacyTerms | None], Tuning],
) -> Personal:
    """Fetch a global model by its address, train it on, and record its lineage.

    Args:
        learner: of a plan, on this node's records.
        tuning: of the plan that made the model, and with what noise.

    Raises:
        MedFabricError: ``MODEL_RECALLED``; ``EXISTS`` for a model id that is taken, before anything
            is trained; ``BUDGET_EXCEEDED``; as of learners, transactions and stores.
    """
    model = consortium.models.get(sha256=address)
    _usable(model)
    _unused(consortium, wish.model_id)
    if wish.key_file is not None and wish.key_file.exists():
        raise MedFabricError(Code.FILE_UNUSABLE, f"{wish.key_file} exists; name another")
    terms = consortium.plans.get(plan_id=model.plan_id).plan.terms
    own = learner(terms)
    noise = None
    if wish.epsilon is not None:
        noise = _noise(consortium, own.dataset_id, terms, tuning(terms, None).terms, wish.epsilon)
    chosen = tuning(terms, noise)
    base = store.get(model.model)
    content = own.personalised(base, chosen)
    gain = own.gain(base, content)
    _write(wish.out, content)
    record = _published(consortium, store, own.dataset_id, address, content, chosen, wish, gain)
    return Personal(
        file=str(wish.out),
        sha256=hashlib.sha256(content).hexdigest(),
        element=f"local-model/{record.msp_id}/{wish.model_id}",
        plan_id=model.plan_id,
        base_sha256=address,
        part=gain.part if gain else "",
        base_correct=gain.base_correct if gain else 0,
        correct=gain.correct if gain else 0,
        total=gain.total if gain else 0,
        gain=(gain.correct - gain.base_correct) / gain.total if gain else 0.0,
        epsilon=record.trained.epsilon_micro / 1e6 if record.trained else None,
    )


def _noise(
    consortium: Consortium,
    dataset_id: str,
    plan: PlanTerms,
    training: TrainingTerms,
    epsilon: float,
) -> PrivacyTerms:
    """Noise by which the whole training stays within epsilon, at the account's delta."""
    view = consortium.datasets.get(dataset_id=dataset_id)
    wanted, delta = round(epsilon * 1e6), view.account.delta_nano
    try:
        least = accounting.calibrate(
            training.batch_size, view.dataset.train_samples, training.steps, wanted, delta
        )
    except ValueError as error:
        raise MedFabricError(
            Code.TRAINING_REFUSED, f"{error}; take fewer steps, a smaller batch or more epsilon"
        ) from None
    return PrivacyTerms(
        epsilon_micro=wanted,
        delta_nano=delta,
        noise_multiplier_micro=least,
        sample_clip_micro=plan.privacy.sample_clip_micro,
    )


def _published(
    consortium: Consortium,
    store: ContentStore,
    dataset_id: str,
    address: str,
    content: bytes,
    tuning: Tuning,
    wish: Wish,
    gain: Gain | None,
) -> LocalModel:
    told = gain if wish.tell_gain else None
    if tuning.privacy is None:
        return consortium.sharing.publish(
            model_id=wish.model_id,
            kind=LocalKind.PERSONAL,
            base_sha256=address,
            plain_sha256=hashlib.sha256(content).hexdigest(),
            gain=told,
        )
    trained = LocalTraining(
        dataset_id=dataset_id,
        batch_size=tuning.terms.batch_size,
        noise_multiplier_micro=tuning.privacy.noise_multiplier_micro,
        steps=tuning.terms.steps,
    )
    record, key = sharing.publish(
        consortium,
        store,
        wish.model_id,
        content,
        kind=LocalKind.PERSONAL,
        base_sha256=address,
        trained=trained,
        gain=told,
    )
    assert wish.key_file is not None
    _write(wish.key_file, key.hex().encode())
    return record


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content, mode=0o600)
    except OSError as error:
        raise MedFabricError(
            Code.FILE_UNUSABLE, f"cannot write {path}: {error.strerror}; name another place"
        ) from None


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
