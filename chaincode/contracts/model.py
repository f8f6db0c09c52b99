"""Global models by address: found, deprecated, recalled."""

from __future__ import annotations

from chaincode.contracts import motion as motions
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, states
from chaincode.schema.base import PageArgs
from chaincode.schema.consortium import Subject
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.motions import Motion
from chaincode.schema.plans import PlanState
from chaincode.schema.rounds import (
    DeprecateArgs,
    Model,
    ModelArgs,
    ModelPage,
    ModelStatus,
    RecallArgs,
)


class ModelContract:
    """Models are written by rounds; what becomes of them later is decided here."""

    @transaction("model:Get")
    def get(self, context: Context, args: ModelArgs) -> Model:
        return context.get(keys.model(args.sha256), Model)

    @transaction("model:List")
    def list(self, context: Context, args: PageArgs) -> ModelPage:
        models, bookmark = context.page("model", (), Model, args.page_size, args.bookmark)
        return ModelPage(models=models, bookmark=bookmark)

    @transaction("model:Deprecate")
    def deprecate(self, context: Context, args: DeprecateArgs) -> Model:
        model = context.get(keys.model(args.sha256), Model)
        proposer = context.get(keys.plan(model.plan_id), PlanState).proposed_by
        if proposer != context.msp_id:
            raise MedFabricError(
                Code.NOT_OWNER, f"the model is of a plan of {proposer}; ask its admin to decide"
            )
        if args.successor_sha256 is not None:
            context.get(keys.model(args.successor_sha256), Model)
            usable(context, args.successor_sha256)
        return _move(
            context, model, ModelStatus.DEPRECATED, args.reason, successor=args.successor_sha256
        )

    @transaction("model:ProposeRecall")
    def propose_recall(self, context: Context, args: RecallArgs) -> Motion:
        model = context.get(keys.model(args.sha256), Model)
        states.check(states.MODEL, model.status, ModelStatus.RECALLED)
        motion = motions.propose(context, Subject.RECALL, args.sha256, args.reason)
        context.emit("model.recall-proposed", msp_id=context.msp_id, subject=args.sha256)
        return motion

    @transaction("model:RecallDerived")
    def recall_derived(self, context: Context, args: ModelArgs) -> Model:
        model = context.get(keys.model(args.sha256), Model)
        parents = context.existing([keys.model(parent) for parent in model.parents], Model)
        recalled = [p.model.sha256 for p in parents if p.status is ModelStatus.RECALLED]
        if not recalled:
            raise MedFabricError(
                Code.NOT_YET, "no model that this one was trained on from is recalled; move to vote"
            )
        return _move(context, model, ModelStatus.RECALLED, f"trained on from {recalled[0]}")


def voted(context: Context, motion: Motion, carried: bool) -> None:
    """Carry out what the votes on a recall decided."""
    address = motion.terms.subject_id
    if not carried:
        context.emit("recall.refused", subject=address)
        return
    model = context.get(keys.model(address), Model)
    if model.status is ModelStatus.RECALLED:
        # By rule, while the votes were cast: the motion must not stay open for that.
        context.emit("recall.late", subject=address)
        return
    _move(context, model, ModelStatus.RECALLED, motion.terms.reason)


def usable(context: Context, address: str) -> None:
    """Refuse a model that was recalled; of one that is not on the ledger nothing is known.

    Raises:
        MedFabricError: ``MODEL_RECALLED``, with the reason.
    """
    model = context.find(keys.model(address), Model)
    if model is not None and model.status is ModelStatus.RECALLED:
        raise MedFabricError(
            Code.MODEL_RECALLED,
            f"model {address} was recalled ({model.reason}); begin from one that was not",
        )


def _move(
    context: Context, model: Model, to: ModelStatus, reason: str, successor: str | None = None
) -> Model:
    states.check(states.MODEL, model.status, to)
    changes = {
        "status": to,
        "reason": reason,
        "changed_at": context.now,
        "successor_sha256": successor or model.successor_sha256,
    }
    moved = model.model_copy(update=changes)
    context.put(keys.model(model.model.sha256), moved)
    context.emit(f"model.{to.value.lower()}", plan_id=model.plan_id, subject=model.model.sha256)
    return moved
