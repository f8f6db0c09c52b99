"""Private predictions: asked and answered on the record, of no recalled model."""

from __future__ import annotations

from chaincode.contracts import model as models
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys
from chaincode.schema.inferences import (
    AnswerInquiryArgs,
    Inference,
    Inquiry,
    InquiryArgs,
    InquiryPage,
    InquiryPageArgs,
    InquiryView,
)
from chaincode.schema.rounds import Model


class InferenceContract:
    """A query stands on the ledger before it is answered."""

    @transaction("inference:Ask")
    def ask(self, context: Context, args: InquiryArgs) -> Inquiry:
        context.get(keys.model(args.model_sha256), Model)
        models.usable(context, args.model_sha256)
        inquiry = Inquiry(
            model_sha256=args.model_sha256,
            query_sha256=args.query_sha256,
            msp_id=context.msp_id,
            node_id=context.node_id,
            asked_at=context.now,
        )
        key = keys.inquiry(args.model_sha256, args.query_sha256)
        return context.post(key, inquiry, "inference.asked", subject=args.query_sha256)

    @transaction("inference:Answer")
    def answer(self, context: Context, args: AnswerInquiryArgs) -> Inference:
        context.get(keys.inquiry(args.model_sha256, args.query_sha256), Inquiry)
        models.usable(context, args.model_sha256)
        inference = Inference(
            model_sha256=args.model_sha256,
            query_sha256=args.query_sha256,
            answer_sha256=args.answer_sha256,
            msp_id=context.msp_id,
            node_id=context.node_id,
            answered_at=context.now,
        )
        key = keys.inference(args.model_sha256, args.query_sha256, context.msp_id, context.node_id)
        return context.post(key, inference, "inference.answered", subject=args.query_sha256)

    @transaction("inference:Get")
    def get(self, context: Context, args: InquiryArgs) -> InquiryView:
        inquiry = context.get(keys.inquiry(args.model_sha256, args.query_sha256), Inquiry)
        place = (args.model_sha256, args.query_sha256)
        return InquiryView(inquiry=inquiry, inferences=context.all("inference", place, Inference))

    @transaction("inference:List")
    def list(self, context: Context, args: InquiryPageArgs) -> InquiryPage:
        place = (args.model_sha256,)
        inquiries, bookmark = context.page("inquiry", place, Inquiry, args.page_size, args.bookmark)
        return InquiryPage(inquiries=inquiries, bookmark=bookmark)
