"""Private predictions, as the ledger knows them: who asked a global model, and who answered; who
lent whom a model of its own, and who scored records by it.

Queries and answers, lent models and scores are ciphertexts that go by hand; their hashes are here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chaincode.schema.base import Id, Language, MspId, PageArgs, Seconds, Sha256


class Inquiry(Language):
    """A node's encrypted query to a global model. Never changed."""

    model_sha256: Sha256
    query_sha256: Sha256
    msp_id: MspId
    node_id: Id
    asked_at: Seconds


class Inference(Language):
    """A node's encrypted answer. The same model and query give the same answer on every node, so
    that of answers that differ one at least is wrong. Never changed."""

    model_sha256: Sha256
    query_sha256: Sha256
    answer_sha256: Sha256
    msp_id: MspId
    node_id: Id
    answered_at: Seconds


class Loan(Language):
    """A model, of this hash, that a node lent to another hospital: encrypted, as ``lent_sha256``.
    ``plan_id`` names the plan whose architecture and units it has; ``published``: whether it is a
    global model of the ledger. Never changed."""

    plan_id: Id
    lent_sha256: Sha256
    model_sha256: Sha256
    published: bool
    borrower: MspId
    msp_id: MspId
    node_id: Id
    lent_at: Seconds


class Scoring(Language):
    """What a node of the borrower gave back: encrypted scores of ``records`` records. Never
    changed."""

    plan_id: Id
    lent_sha256: Sha256
    scores_sha256: Sha256
    records: Annotated[int, Field(ge=1, le=2**20)]
    msp_id: MspId
    node_id: Id
    scored_at: Seconds


# Arguments


class InquiryArgs(Language):
    """A query to the global model with this address."""

    model_sha256: Sha256
    query_sha256: Sha256


class AnswerInquiryArgs(Language):
    """The answer to a query that stands on the ledger."""

    model_sha256: Sha256
    query_sha256: Sha256
    answer_sha256: Sha256


class InquiryPageArgs(PageArgs):
    """Queries to one global model, by their hashes."""

    model_sha256: Sha256


class LendArgs(Language):
    """A model of the plan's architecture, the hash of its encrypted form, and for whom that is."""

    plan_id: Id
    lent_sha256: Sha256
    model_sha256: Sha256
    borrower: MspId


class LoanArgs(Language):
    """A model that was lent, by the hash of its encrypted form."""

    plan_id: Id
    lent_sha256: Sha256


class ScoreArgs(Language):
    """Scores by a model that stands on the ledger as lent."""

    plan_id: Id
    lent_sha256: Sha256
    scores_sha256: Sha256
    records: Annotated[int, Field(ge=1, le=2**20)]


class LoanPageArgs(PageArgs):
    """Models lent of one plan's architecture, by the hashes of their encrypted forms."""

    plan_id: Id


# Results


class InquiryView(Language):
    """A query and every node's answer to it."""

    inquiry: Inquiry
    inferences: tuple[Inference, ...]


class InquiryPage(Language):
    inquiries: tuple[InquiryView, ...]
    bookmark: str


class LoanView(Language):
    """A loan and all scores that came of it."""

    loan: Loan
    scorings: tuple[Scoring, ...]


class LoanPage(Language):
    loans: tuple[LoanView, ...]
    bookmark: str
