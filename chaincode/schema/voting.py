"""Rules by which hospitals decide; themselves changed by vote."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chaincode.schema.base import Count, Language, Seconds, Sha256

HALF, TWO_THIRDS = 500_000, 666_666
"""Fractions in millionths; more than that must approve."""


class VotingRule(Language):
    """When a vote is decided, counted over all hospitals; one that is to be expelled has no vote.

    Carried as soon as more than ``fraction_micro`` of them approve and at least ``quorum_micro`` of
    them have voted; defeated as soon as that can no longer happen; lapsed when ``open_seconds``
    have passed since the proposal. Not less than half, so that no two opposite votes both carry.
    """

    fraction_micro: Annotated[int, Field(ge=HALF, lt=1_000_000)] = HALF
    quorum_micro: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    open_seconds: Annotated[int, Field(ge=1, le=10**8)] = 30 * 24 * 3600


class VotingRules(Language):
    """One rule for each kind of subject. The charter itself needs all of its founders."""

    admission: VotingRule = VotingRule()
    expulsion: VotingRule = VotingRule(fraction_micro=TWO_THIRDS)
    rules: VotingRule = VotingRule(fraction_micro=TWO_THIRDS)
    plan: VotingRule = VotingRule()
    recall: VotingRule = VotingRule()
    complaint: VotingRule = VotingRule()
    classifier: VotingRule = VotingRule()


class Rulebook(Language):
    """The rules in force; exactly one on a channel. ``motion_sha256`` is what changed it last: the
    charter's hash while ``version`` is 1."""

    version: Count
    rules: VotingRules
    motion_sha256: Sha256
    changed_at: Seconds
