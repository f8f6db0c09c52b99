"""Disputes: what key holders prove of their shares where these decode to nothing; of a round's sum
here, of a study's in :mod:`chaincode.schema.studies`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated

from pydantic import Field

from chaincode.schema.base import ContentRef, Id, Language, MspId, RoundNumber, Seconds

Culprits = Annotated[tuple[MspId, ...], Field(max_length=64)]
"""Whose proofs a hospital finds not to hold."""


def unproven(
    key_holders: Sequence[str],
    proven: Collection[str],
    said: Iterable[Sequence[str]],
    hospitals: int,
) -> tuple[str, ...]:
    """Key holders who gave no proof, or one that most hospitals find not to hold.

    Args:
        proven: who gave one.
        said: of each hospital that judged, whose proofs it finds not to hold.
        hospitals: how many might judge.
    """
    tally = Counter(culprit for culprits in said for culprit in culprits)
    return tuple(h for h in key_holders if h not in proven or 2 * tally[h] > hospitals)


def verdict(before: str, found: Sequence[str], otherwise: str) -> str:
    """Why the decryption failed, once its shares were proven or not."""
    named = f"not shown to be right: that of {', '.join(found)}"
    return f"{before}; {named if found else f'each is proven, so {otherwise}'}"


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
    culprits: Culprits
