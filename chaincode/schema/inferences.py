"""Private predictions of global models, as the ledger knows them: who asked, who answered.

Queries and answers are ciphertexts that go by hand; their hashes are here.
"""

from __future__ import annotations

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


# Results


class InquiryView(Language):
    """A query and every node's answer to it."""

    inquiry: Inquiry
    inferences: tuple[Inference, ...]


class InquiryPage(Language):
    inquiries: tuple[Inquiry, ...]
    bookmark: str
