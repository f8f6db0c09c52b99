"""When an update leaves its round: most hospitals object to it firmly.

What is wrong with content of the right hash is wrong for good, so an objection by such a code is
firm at once. A store's copy may be repaired by its owner: an objection by any other code is firm
once the same hospital says so again, a quarter of the stage later. The codes need not agree: a
dishonest owner may give some hospitals nothing, and others something wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from chaincode.schema.plans import ParticipationTerms
from chaincode.schema.rounds import Objection


@dataclass(frozen=True)
class Verdict:
    """That an update is dropped; the code that most objections have, and the ``objectors``,
    sorted."""

    update_sha256: str
    code: str
    objectors: tuple[str, ...]


def repeatable_at(objection: Objection, terms: ParticipationTerms) -> int:
    """From when the hospital may object again, in seconds of the epoch."""
    return objection.posted_at + terms.stage_seconds // 4


def verdicts(objections: Iterable[Objection], terms: ParticipationTerms) -> list[Verdict]:
    """What is to be dropped, in the order of the contents' hashes.

    Args:
        objections: in one round.
    """
    firm: dict[str, dict[str, str]] = {}
    for objection in objections:
        if objection.firm:
            firm.setdefault(objection.subject_sha256, {})[objection.msp_id] = objection.code
    return [
        Verdict(subject, _most(codes.values()), tuple(sorted(codes)))
        for subject, codes in sorted(firm.items())
        if len(codes) >= terms.agreement
    ]


def _most(codes: Iterable[str]) -> str:
    return max(Counter(codes).items(), key=lambda item: (item[1], item[0]))[0]
