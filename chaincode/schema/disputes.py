"""Disputes: what a round's key holders prove of their shares where these decode to nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chaincode.schema.base import ContentRef, Id, Language, MspId, RoundNumber, Seconds


class ShareProof(Language):
    """A key holder's proof that its decryption share is right (``trainer.privacy.shareproof``)."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    proof: ContentRef
    posted_at: Seconds


class ShareVerdict(Language):
    """Whose proofs this hospital finds not to hold, having checked every one for itself."""

    plan_id: Id
    round: RoundNumber
    msp_id: MspId
    node_id: Id
    culprits: tuple[MspId, ...]
    posted_at: Seconds


class ProveShareArgs(Language):
    plan_id: Id
    round: RoundNumber
    proof: ContentRef


class JudgeSharesArgs(Language):
    plan_id: Id
    round: RoundNumber
    culprits: Annotated[tuple[MspId, ...], Field(max_length=64)]
