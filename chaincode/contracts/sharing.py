"""Local models: published by their hospital, granted to chosen nodes, fetched against receipt."""

from __future__ import annotations

from chaincode.contracts import dataset as datasets
from chaincode.contracts import model as models
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys, states
from chaincode.schema.base import PageArgs
from chaincode.schema.consortium import Node, NodeStatus
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.rounds import Model
from chaincode.schema.sharing import (
    GainPage,
    Grant,
    GrantArgs,
    GrantPage,
    GrantStatus,
    LocalGain,
    LocalKind,
    LocalModel,
    LocalModelArgs,
    LocalModelPageArgs,
    PublishLocalArgs,
    Receipt,
    ReceiptPage,
    RevokeArgs,
    SharedModel,
)


class SharingContract:
    """A grant lets a node ask; what it fetches it signs for first."""

    @transaction("sharing:Publish")
    def publish(self, context: Context, args: PublishLocalArgs) -> LocalModel:
        key = keys.local_model(context.msp_id, args.model_id)
        if context.find(key, LocalModel) is not None:
            raise MedFabricError(Code.EXISTS, f"{args.model_id} is published; name another")
        if args.base_sha256 is not None:
            context.get(keys.model(args.base_sha256), Model)
            models.usable(context, args.base_sha256)
        if args.kind is LocalKind.PERSONAL and args.content is not None and args.trained is None:
            raise MedFabricError(
                Code.LOCAL_UNPROTECTED,
                f"{args.model_id} would be shared, and says of no training with differential "
                "privacy; train it so, or leave it with its node",
            )
        trained = None
        if args.trained is not None:
            trained = datasets.charge_local(context, args.model_id, args.trained)
        model = LocalModel(
            msp_id=context.msp_id,
            model_id=args.model_id,
            kind=args.kind,
            node_id=context.node_id,
            base_sha256=args.base_sha256,
            plain_sha256=args.plain_sha256,
            content=args.content,
            trained=trained,
            gain=args.gain,
            published_at=context.now,
        )
        context.put_owned(key, model, context.msp_id)
        context.emit("sharing.published", msp_id=context.msp_id, subject=args.model_id)
        return model

    @transaction("sharing:Grant")
    def grant(self, context: Context, args: GrantArgs) -> Grant:
        model = context.get(keys.local_model(context.msp_id, args.model_id), LocalModel)
        if model.content is None:
            raise MedFabricError(
                Code.BAD_STATE,
                f"{args.model_id} stays with its node; publish an enciphered copy to share it",
            )
        node = context.get(keys.node(args.recipient_msp, args.recipient_node), Node)
        if node.status is not NodeStatus.ACTIVE:
            raise MedFabricError(
                Code.NODE_NOT_ACTIVE,
                f"node {node.node_id} of {node.msp_id} is {node.status}; name another",
            )
        if args.until <= context.now:
            raise MedFabricError(Code.BAD_ARGUMENT, "the grant would be over already; extend it")
        key = keys.grant(context.msp_id, args.model_id, args.recipient_msp, args.recipient_node)
        before = context.find(key, Grant)
        if before is not None and before.status is not GrantStatus.GRANTED:
            states.check(states.GRANT, before.status, GrantStatus.GRANTED)
        grant = Grant(
            msp_id=context.msp_id,
            model_id=args.model_id,
            recipient_msp=args.recipient_msp,
            recipient_node=args.recipient_node,
            public_key_sha256=node.public_key_sha256,
            key=args.key,
            until=args.until,
            status=GrantStatus.GRANTED,
            reason="",
            changed_at=context.now,
        )
        context.put_owned(key, grant, context.msp_id)
        context.emit("sharing.granted", msp_id=args.recipient_msp, subject=args.model_id)
        return grant

    @transaction("sharing:Revoke")
    def revoke(self, context: Context, args: RevokeArgs) -> Grant:
        key = keys.grant(context.msp_id, args.model_id, args.recipient_msp, args.recipient_node)
        grant = context.get(key, Grant)
        states.check(states.GRANT, grant.status, GrantStatus.REVOKED)
        changes = {
            "status": GrantStatus.REVOKED,
            "reason": args.reason,
            "changed_at": context.now,
        }
        revoked = grant.model_copy(update=changes)
        context.put_owned(key, revoked, context.msp_id)
        context.emit("sharing.revoked", msp_id=args.recipient_msp, subject=args.model_id)
        return revoked

    @transaction("sharing:Receive")
    def receive(self, context: Context, args: LocalModelArgs) -> Receipt:
        model = context.get(keys.local_model(args.msp_id, args.model_id), LocalModel)
        _granted(context, args)
        receipt = Receipt(
            msp_id=args.msp_id,
            model_id=args.model_id,
            recipient_msp=context.msp_id,
            recipient_node=context.node_id,
            plain_sha256=model.plain_sha256,
            received_at=context.now,
        )
        context.put(keys.receipt(args.msp_id, args.model_id, context.tx_id), receipt)
        context.emit("sharing.received", msp_id=args.msp_id, subject=args.model_id)
        return receipt

    @transaction("sharing:Get")
    def get(self, context: Context, args: LocalModelArgs) -> SharedModel:
        grant = None if args.msp_id == context.msp_id else _granted(context, args)
        model = context.get(keys.local_model(args.msp_id, args.model_id), LocalModel)
        return SharedModel(model=model, grant=grant)

    @transaction("sharing:Grants")
    def grants(self, context: Context, args: LocalModelPageArgs) -> GrantPage:
        place = (context.msp_id, args.model_id)
        grants, bookmark = context.page("grant", place, Grant, args.page_size, args.bookmark)
        return GrantPage(grants=grants, bookmark=bookmark)

    @transaction("sharing:Gains")
    def gains(self, context: Context, args: PageArgs) -> GainPage:
        found, bookmark = context.page("local-model", (), LocalModel, args.page_size, args.bookmark)
        told = tuple(
            LocalGain(
                msp_id=one.msp_id, model_id=one.model_id, base_sha256=one.base_sha256, gain=one.gain
            )
            for one in found
            if one.gain is not None
        )
        return GainPage(gains=told, bookmark=bookmark)

    @transaction("sharing:Receipts")
    def receipts(self, context: Context, args: LocalModelPageArgs) -> ReceiptPage:
        place = (context.msp_id, args.model_id)
        receipts, bookmark = context.page("receipt", place, Receipt, args.page_size, args.bookmark)
        return ReceiptPage(receipts=receipts, bookmark=bookmark)


def _granted(context: Context, args: LocalModelArgs) -> Grant:
    """The caller's grant, while it holds and for the key that the caller signs with."""
    key = keys.grant(args.msp_id, args.model_id, context.msp_id, context.node_id)
    grant = context.find(key, Grant)
    if (
        grant is None
        or grant.status is not GrantStatus.GRANTED
        or context.now > grant.until
        or grant.public_key_sha256 != context.key_sha256
    ):
        raise MedFabricError(
            Code.GRANT_MISSING,
            f"no grant of {args.msp_id} to {context.node_id} of {context.msp_id} holds now for "
            f"{args.model_id}; "
            "ask its admin",
        )
    return grant
