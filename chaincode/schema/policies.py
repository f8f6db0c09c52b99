"""Endorsement policies of what a hospital owns, and how they follow the consortium's members.

A policy names the members of the day on which it was set: it needs the owner's peer and, with it,
a majority of theirs. Fabric lets a policy be replaced only while it can still be satisfied, so each
hospital renews its own while enough of those members remain, and says when it is done.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema.base import Count, Language, MspId, Name, PageArgs, Seconds

AT_ONCE = 50
"""Policies that one transaction renews at most."""
RENEWAL_SECONDS = 7 * 24 * 3600
"""How long a change of members makes the next departure wait for those who have not renewed."""


class Owned(StrEnum):
    """Kinds of assets that belong to one hospital, as keys name them; each has its ``msp_id``."""

    ACCOUNT = "account"
    CONSENT = "consent"
    DATASET = "dataset"
    GRANT = "grant"
    HOLDING = "holding"
    HOSPITAL_ACCOUNT = "hospital-account"
    LOCAL_MODEL = "local-model"
    NODE = "node"
    RELEASE = "release"
    STUDY_CONSENT = "study-consent"
    STUDY_LIMIT = "study-limit"


class Membership(Language):
    """Who the members were from ``since`` until the next number; the charter's founders are 1."""

    number: Count
    hospitals: tuple[MspId, ...]
    since: Seconds


class Renewal(Language):
    """``membership``: no policy of the hospital's is older than this one, as it says itself."""

    msp_id: MspId
    membership: Count
    changed_at: Seconds


class OwnedKey(Language):
    """An asset of the caller's hospital: kind and attributes of its key."""

    kind: Owned
    attributes: Annotated[tuple[Name, ...], Field(min_length=1, max_length=4)]


class RenewPoliciesArgs(Language):
    """``complete``: none of the hospital's keys has an older policy once these are renewed."""

    keys: Annotated[tuple[OwnedKey, ...], Field(max_length=AT_ONCE)] = ()
    complete: bool = False


class StandingArgs(Language):
    msp_id: MspId


class PolicyPageArgs(PageArgs):
    """Of one hospital's assets of one kind. A page has those of the assets looked through whose
    policy is not the members', which may be none of them."""

    msp_id: MspId
    kind: Owned


class Standing(Language):
    """How far a hospital has renewed; ``membership`` is the consortium's."""

    membership: Count
    renewal: Renewal


class OldPolicy(Language):
    """``lost``: too few of those whom the policy names are members; nobody can write the key."""

    key: OwnedKey
    lost: bool


class PolicyPage(Language):
    old: tuple[OldPolicy, ...]
    bookmark: str
