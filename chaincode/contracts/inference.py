"""Private predictions: asked and answered, lent and scored on the record, of no recalled model."""

from __future__ import annotations

from chaincode.contracts import model as models
from chaincode.contracts.framework import Context, transaction
from chaincode.schema import keys
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.inferences import (
    AnswerInquiryArgs,
    Inference,
    Inquiry,
    InquiryArgs,
    InquiryPage,
    InquiryPageArgs,
    InquiryView,
    LendArgs,
    Loan,
    LoanArgs,
    LoanPage,
    LoanPageArgs,
    LoanView,
    ScoreArgs,
    Scoring,
)
from chaincode.schema.plans import PlanState
from chaincode.schema.rounds import Model


class InferenceContract:
    """A query stands on the ledger before it is answered, and a loan before anything is scored."""

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
        place = (args.model_sha256, args.query_sha256)
        return _answered(context, context.get(keys.inquiry(*place), Inquiry))

    @transaction("inference:List")
    def list(self, context: Context, args: InquiryPageArgs) -> InquiryPage:
        place = (args.model_sha256,)
        found, bookmark = context.page("inquiry", place, Inquiry, args.page_size, args.bookmark)
        return InquiryPage(
            inquiries=tuple(_answered(context, inquiry) for inquiry in found), bookmark=bookmark
        )

    @transaction("inference:Lend")
    def lend(self, context: Context, args: LendArgs) -> Loan:
        context.get(keys.plan(args.plan_id), PlanState)
        models.usable(context, args.model_sha256)
        if args.borrower not in context.consortium().hospitals:
            raise MedFabricError(
                Code.NOT_ADMITTED, f"{args.borrower} is not an admitted hospital; name another"
            )
        loan = Loan(
            **dict(args),
            published=context.find(keys.model(args.model_sha256), Model) is not None,
            msp_id=context.msp_id,
            node_id=context.node_id,
            lent_at=context.now,
        )
        key = keys.loan(args.plan_id, args.lent_sha256)
        return context.post(key, loan, "inference.lent", subject=args.lent_sha256)

    @transaction("inference:Score")
    def score(self, context: Context, args: ScoreArgs) -> Scoring:
        loan = context.get(keys.loan(args.plan_id, args.lent_sha256), Loan)
        models.usable(context, loan.model_sha256)
        if context.msp_id != loan.borrower:
            raise MedFabricError(
                Code.GRANT_MISSING,
                f"{args.lent_sha256} was lent to {loan.borrower}; ask its owner to lend it",
            )
        scoring = Scoring(
            **dict(args), msp_id=context.msp_id, node_id=context.node_id, scored_at=context.now
        )
        key = keys.scoring(args.plan_id, args.lent_sha256, args.scores_sha256)
        return context.post(key, scoring, "inference.scored", subject=args.scores_sha256)

    @transaction("inference:Loan")
    def loan(self, context: Context, args: LoanArgs) -> LoanView:
        return _scored(context, context.get(keys.loan(args.plan_id, args.lent_sha256), Loan))

    @transaction("inference:Loans")
    def loans(self, context: Context, args: LoanPageArgs) -> LoanPage:
        place = (args.plan_id,)
        found, bookmark = context.page("loan", place, Loan, args.page_size, args.bookmark)
        return LoanPage(loans=tuple(_scored(context, loan) for loan in found), bookmark=bookmark)


def _answered(context: Context, inquiry: Inquiry) -> InquiryView:
    place = (inquiry.model_sha256, inquiry.query_sha256)
    return InquiryView(inquiry=inquiry, inferences=context.all("inference", place, Inference))


def _scored(context: Context, loan: Loan) -> LoanView:
    place = (loan.plan_id, loan.lent_sha256)
    return LoanView(loan=loan, scorings=context.all("scoring", place, Scoring))
