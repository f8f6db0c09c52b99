"""Integer weights of the updates in a round.

Weight follows samples times standing, at a resolution of ``2^bits`` for the whole sum, and no
hospital's nodes together weigh more than 1.5/k of the sum, k being the number of hospitals that
contributed: one poisoned hospital cannot bend the mean far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

CAP = Fraction(3, 2)


@dataclass(frozen=True)
class Claim:
    """One node's claim to weight. ``score_milli`` is what its reputation multiplies it by."""

    msp_id: str
    node_id: str
    samples: int
    score_milli: int


def alike(claims: Sequence[Claim]) -> list[Claim]:
    """The claims of nodes that all weigh the same, whatever their samples and reputation."""
    return [replace(claim, samples=1, score_milli=1) for claim in claims]


def weigh(claims: Sequence[Claim], bits: int) -> list[int]:
    """Weights in the order of ``claims``, each at least 1, summing to at most ``2^bits``.

    Raises:
        ValueError: no claims, or more claims than the resolution can tell apart.
    """
    if not 0 < len(claims) <= 1 << (bits - 1):
        raise ValueError("the number of updates does not fit the weights' resolution")
    raw = [Fraction(max(1, c.samples * c.score_milli)) for c in claims]
    by_hospital: dict[str, Fraction] = {}
    for claim, share in zip(claims, raw, strict=True):
        by_hospital[claim.msp_id] = by_hospital.get(claim.msp_id, Fraction(0)) + share
    capped = _capped(by_hospital)
    # One unit per claim is set aside, so that rounding up to 1 cannot exceed the sum.
    room = (1 << bits) - len(claims)
    return [
        1 + int(room * capped[claim.msp_id] * share / by_hospital[claim.msp_id])
        for claim, share in zip(claims, raw, strict=True)
    ]


def _capped(by_hospital: Mapping[str, Fraction]) -> dict[str, Fraction]:
    """Shares of hospitals, summing to 1, none above the cap: what is cut off goes to the others
    in proportion, until nobody is above."""
    cap = min(Fraction(1), CAP / len(by_hospital))
    fixed: dict[str, Fraction] = {}
    free = dict(by_hospital)
    while free:
        left = 1 - cap * len(fixed)
        total = sum(free.values(), Fraction(0))
        above = [name for name, share in free.items() if left * share / total > cap]
        if not above:
            return fixed | {name: left * share / total for name, share in free.items()}
        for name in above:
            fixed[name] = cap
            del free[name]
    return fixed
