"""Classifiers that recognise malicious nodes: additive, in whole numbers, explained by trait.

A classifier is a sum of step functions, one per trait of a node's reputation (a generalised
additive model: Hastie and Tibshirani 1986). The sum is the log-odds that the node is malicious;
each step function's value is its trait's part in it, exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from chaincode.schema.base import Id, Language, MspId, Name, Seconds, Sha256
from chaincode.schema.reputation import Evidence, Milli, Reputation, Tally

FLOOR_MILLI = 250
"""The least factor: however sure a classifier is, a node keeps a quarter of its weight."""
SPAN_MICRO = 2_000_000
"""Log-odds above the flag at which the floor is reached."""

LogOdds = Annotated[int, Field(ge=-20_000_000, le=20_000_000)]
"""Log-odds in millionths."""
Value = Annotated[int, Field(ge=-1000, le=1000)]
"""Of a trait, in thousandths."""


class Trait(StrEnum):
    """Of a node's reputation; rates of bad events in thousandths.

    A rate *ever* is bad / (good + bad + 2) of all events, a *recent* one the same of what has not
    faded: few events count for little.
    """

    MISSED_EVER = "missed-ever"
    MISSED_RECENT = "missed-recent"
    DUTY_EVER = "duty-ever"
    DUTY_RECENT = "duty-recent"
    AGREEMENT_EVER = "agreement-ever"
    AGREEMENT_RECENT = "agreement-recent"
    SHARE_EVER = "share-ever"
    CONTENT_EVER = "content-ever"
    EVALUATION_EVER = "evaluation-ever"
    EVALUATION_RECENT = "evaluation-recent"
    OUTCOME_EVER = "outcome-ever"
    OUTCOME_RECENT = "outcome-recent"
    OUTCOME_CONTRAST = "outcome-contrast"
    """How much oftener candidates were rejected with it than without it."""
    PROGRESS_EVER = "progress-ever"
    PROGRESS_CONTRAST = "progress-contrast"
    """How much oftener candidates were worse than their base with it than without it."""
    HASTE_EVER = "haste-ever"
    QUALITY_EVER = "quality-ever"
    """How often group tests found its hospital's contribution harmful; 0 where plans have none."""
    QUALITY_RECENT = "quality-recent"


_EVER = {
    Trait.MISSED_EVER: Evidence.UPDATE,
    Trait.DUTY_EVER: Evidence.DUTY,
    Trait.AGREEMENT_EVER: Evidence.AGREEMENT,
    Trait.SHARE_EVER: Evidence.SHARE,
    Trait.EVALUATION_EVER: Evidence.EVALUATION,
    Trait.OUTCOME_EVER: Evidence.OUTCOME,
    Trait.PROGRESS_EVER: Evidence.PROGRESS,
    Trait.HASTE_EVER: Evidence.HASTE,
    Trait.QUALITY_EVER: Evidence.QUALITY,
}
_RECENT = {
    Trait.MISSED_RECENT: Evidence.UPDATE,
    Trait.DUTY_RECENT: Evidence.DUTY,
    Trait.AGREEMENT_RECENT: Evidence.AGREEMENT,
    Trait.EVALUATION_RECENT: Evidence.EVALUATION,
    Trait.OUTCOME_RECENT: Evidence.OUTCOME,
    Trait.QUALITY_RECENT: Evidence.QUALITY,
}
_NOTHING = Tally(good=0, bad=0, recent_good_milli=0, recent_bad_milli=0)


class Curve(Language):
    """A step function of one trait: ``values_micro[i]`` where i of the ``cuts`` are not above
    the trait's value. Cuts ascend; there is one value more than cuts."""

    trait: Trait
    cuts: Annotated[tuple[Value, ...], Field(max_length=256)]
    values_micro: Annotated[tuple[LogOdds, ...], Field(min_length=1, max_length=257)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.cuts) != sorted(set(self.cuts)):
            raise ValueError("cuts must ascend")
        if len(self.values_micro) != len(self.cuts) + 1:
            raise ValueError("there is one value more than cuts")
        return self

    def at(self, value: int) -> int:
        """The trait's part in the log-odds, in millionths."""
        return self.values_micro[bisect_right(self.cuts, value)]


class ClassifierTerms(Language):
    """What is voted on. ``flag_micro``: log-odds from which a node is flagged.

    ``recipe_sha256`` is of the training's settings, for those who repeat it; ``simulated`` says
    that the behaviour it learned from was.
    """

    classifier_id: Id
    form: Literal["additive-steps-v1"] = "additive-steps-v1"
    bias_micro: LogOdds
    curves: Annotated[tuple[Curve, ...], Field(max_length=len(Trait))]
    flag_micro: LogOdds
    trained_on: Name
    simulated: bool
    recipe_sha256: Sha256

    @model_validator(mode="after")
    def _each_trait_once(self) -> Self:
        if len({curve.trait for curve in self.curves}) != len(self.curves):
            raise ValueError("a trait has one curve")
        return self


class ClassifierStatus(StrEnum):
    PROPOSED = "PROPOSED"
    ADOPTED = "ADOPTED"
    REJECTED = "REJECTED"
    RETIRED = "RETIRED"


class Classifier(Language):
    """An asset of the ledger, whole: a few kilobytes that were learned from no patient."""

    terms: ClassifierTerms
    terms_sha256: Sha256
    status: ClassifierStatus
    proposed_by: MspId
    proposed_at: Seconds
    changed_at: Seconds


class AdoptedClassifier(Language):
    """Which classifier scores nodes; at most one does."""

    classifier_id: Id


# Arguments


class ClassifierArgs(Language):
    classifier_id: Id


# Results


class ClassifierPage(Language):
    classifiers: tuple[Classifier, ...]
    bookmark: str


class Part(Language):
    """One trait's part in a score."""

    trait: Trait
    value: Value
    contribution_micro: int


class Assessment(Language):
    """A score and where it comes from: ``bias_micro`` and the parts add up to it."""

    classifier_id: Id
    bias_micro: int
    parts: tuple[Part, ...]
    suspicion_micro: int
    flag_micro: int
    flagged: bool
    factor_milli: Milli


def traits(tallies: Mapping[Evidence, Tally]) -> dict[Trait, int]:
    """The traits of a node whose reputation holds these tallies, in the order of :class:`Trait`."""

    def of(kind: Evidence) -> Tally:
        return tallies.get(kind, _NOTHING)

    values = {trait: _ever(of(kind)) for trait, kind in _EVER.items()}
    values |= {trait: _recent(of(kind)) for trait, kind in _RECENT.items()}
    unusable = of(Evidence.CONTENT).bad
    values[Trait.CONTENT_EVER] = 1000 * unusable // (of(Evidence.UPDATE).good + unusable + 2)
    values[Trait.OUTCOME_CONTRAST] = _contrast(of(Evidence.OUTCOME), of(Evidence.OUTCOME_ABSENT))
    values[Trait.PROGRESS_CONTRAST] = _contrast(of(Evidence.PROGRESS), of(Evidence.PROGRESS_ABSENT))
    return {trait: values[trait] for trait in Trait}


def assess(terms: ClassifierTerms, reputation: Reputation) -> Assessment:
    """Score a node in whole numbers, with the part of each trait."""
    values = traits(reputation.tallies)
    parts = tuple(
        Part(
            trait=curve.trait,
            value=values[curve.trait],
            contribution_micro=curve.at(values[curve.trait]),
        )
        for curve in terms.curves
    )
    suspicion = terms.bias_micro + sum(part.contribution_micro for part in parts)
    return Assessment(
        classifier_id=terms.classifier_id,
        bias_micro=terms.bias_micro,
        parts=parts,
        suspicion_micro=suspicion,
        flag_micro=terms.flag_micro,
        flagged=suspicion >= terms.flag_micro,
        factor_milli=factor_milli(suspicion - terms.flag_micro),
    )


def factor_milli(above_flag_micro: int) -> int:
    """What a node's weight is multiplied by: 1 up to the flag, then less, down to the floor."""
    beyond = min(max(0, above_flag_micro), SPAN_MICRO)
    return 1000 - (1000 - FLOOR_MILLI) * beyond // SPAN_MICRO


def _ever(tally: Tally) -> int:
    return 1000 * tally.bad // (tally.good + tally.bad + 2)


def _recent(tally: Tally) -> int:
    bad = tally.recent_bad_milli
    return 1000 * bad // (tally.recent_good_milli + bad + 2000)


def _contrast(present: Tally, absent: Tally) -> int:
    """Difference of the rates, shrunk where it was seldom absent: without absence there is none."""
    seen, unseen = present.good + present.bad, absent.good + absent.bad
    worse = 1000 * (present.bad + 1) // (seen + 2) - 1000 * (absent.bad + 1) // (unseen + 2)
    return worse * unseen // (unseen + 4)
