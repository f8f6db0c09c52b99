"""Provenance in the terms of W3C PROV: what there is, what was done, by whom, and how it hangs
together.

Everything that a contract writes under a name of the ledger is an element: an entity, an activity
or an agent. What an element came from is read from its own fields, by :mod:`~chaincode.schema
.meanings`; what came of it is kept under a key for each relation. Every transaction that writes is
an activity of its own, an :class:`Act`.
"""

from __future__ import annotations

import string
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from chaincode.schema.base import (
    Language,
    MspId,
    Name,
    PageArgs,
    Reason,
    Seconds,
    Sha256,
)
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.keys import Key

ElementName = Annotated[
    str,
    StringConstraints(max_length=4096, pattern=r"^[a-z][a-z-]{0,31}(/[A-Za-z0-9%._~-]+){1,6}$"),
]
"""Kind and parts of a ledger's name: ``update/plan-1/00001/Hospital1MSP/node1``."""

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")

ACCESS_SECONDS = 900
"""How long an access to other hospitals' lineage stands once it is recorded."""


class CoreType(StrEnum):
    """What an element is, in PROV."""

    ENTITY = "entity"
    ACTIVITY = "activity"
    AGENT = "agent"


class Relation(StrEnum):
    """From an element to what it came from, by PROV-DM's names."""

    USED = "used"
    GENERATED_BY = "wasGeneratedBy"
    DERIVED_FROM = "wasDerivedFrom"
    ATTRIBUTED_TO = "wasAttributedTo"
    ASSOCIATED_WITH = "wasAssociatedWith"
    ACTED_FOR = "actedOnBehalfOf"
    INFORMED_BY = "wasInformedBy"
    INFLUENCED_BY = "wasInfluencedBy"


ENDS: dict[Relation, tuple[CoreType, CoreType] | None] = {
    Relation.USED: (CoreType.ACTIVITY, CoreType.ENTITY),
    Relation.GENERATED_BY: (CoreType.ENTITY, CoreType.ACTIVITY),
    Relation.DERIVED_FROM: (CoreType.ENTITY, CoreType.ENTITY),
    Relation.ATTRIBUTED_TO: (CoreType.ENTITY, CoreType.AGENT),
    Relation.ASSOCIATED_WITH: (CoreType.ACTIVITY, CoreType.AGENT),
    Relation.ACTED_FOR: (CoreType.AGENT, CoreType.AGENT),
    Relation.INFORMED_BY: (CoreType.ACTIVITY, CoreType.ACTIVITY),
    Relation.INFLUENCED_BY: None,
}
"""What each relation goes from and to; None where it may be anything."""


def name_of(key: Key) -> str:
    """The element at a key. Every part is percent-encoded (RFC 3986), so that names take apart
    again."""
    kind, parts = key
    return "/".join((kind, *map(encoded, parts)))


def key_of(name: str) -> Key:
    """The key of an element.

    Raises:
        MedFabricError: ``NOT_FOUND`` where it is no name that :func:`name_of` gives.
    """
    kind, *rest = name.split("/")
    try:
        key = (kind, tuple(map(_decoded, rest)))
    except ValueError:
        key = ("", ())
    forbidden = any(c in part for part in key[1] for c in ("\x00", "\U0010ffff"))
    if forbidden or name_of(key) != name:
        raise MedFabricError(Code.NOT_FOUND, f"no element {name}; check its name with a query")
    return key


def encoded(part: str) -> str:
    """A part of a name, percent-encoded (RFC 3986)."""
    return "".join(
        c if c in _PLAIN else "".join(f"%{byte:02X}" for byte in c.encode("utf-8")) for c in part
    )


def _decoded(part: str) -> str:
    first, *rest = part.split("%")
    raw = b"".join(bytes.fromhex(piece[:2]) + piece[2:].encode("utf-8") for piece in rest)
    return (first.encode("utf-8") + raw).decode("utf-8")


class Act(Language):
    """A committed transaction that wrote: PROV's activity, associated with who signed it.

    ``node_id`` is the signer's common name. ``wrote`` are the elements that it wrote, sorted;
    ``made`` those among them that it wrote first.
    """

    tx_id: Sha256
    function: Name
    msp_id: MspId
    node_id: Name
    at: Seconds
    wrote: tuple[ElementName, ...]
    made: tuple[ElementName, ...]


class Edge(Language):
    """``source`` came from ``target``."""

    relation: Relation
    source: ElementName
    target: ElementName


class Element(Language):
    """One element. ``says`` are those fields of its asset that are worth telling."""

    name: ElementName
    type: CoreType
    says: dict[str, str | int | bool]
    began_at: Seconds | None = None
    ended_at: Seconds | None = None


class Access(Language):
    """A reader's access to a hospital's lineage: who, why, until when. Never changed."""

    access: Sha256
    hospital: MspId
    msp_id: MspId
    node_id: Name
    purpose: Reason
    opened_at: Seconds
    until: Seconds


# Arguments


class OpenAccessArgs(Language):
    """Whose lineage is to be read, and for what purpose; both stay on the ledger."""

    hospitals: Annotated[tuple[MspId, ...], Field(min_length=1, max_length=64)]
    purpose: Annotated[Reason, Field(min_length=1)]


class TraceArgs(PageArgs):
    """``access`` is that of a recorded access, where the element is another hospital's."""

    name: ElementName
    access: Sha256 | None = None


class SignedArgs(PageArgs):
    """``node_id`` is the signer's common name."""

    msp_id: MspId
    node_id: Name
    access: Sha256 | None = None


class AccessPageArgs(PageArgs):
    """Accesses to the lineage of ``hospital``."""

    hospital: MspId


# Results


class Accesses(Language):
    """One access for each hospital named; queries name it by ``access``."""

    access: Sha256
    accesses: tuple[Access, ...]


class Ancestors(Language):
    """An element, what it came from, and a page of the acts that wrote it, oldest first."""

    element: Element
    edges: tuple[Edge, ...]
    acts: tuple[Act, ...]
    bookmark: str


class Descendants(Language):
    """A page of what came of an element."""

    edges: tuple[Edge, ...]
    bookmark: str


class ActPage(Language):
    """Oldest first."""

    acts: tuple[Act, ...]
    bookmark: str


class AccessPage(Language):
    accesses: tuple[Access, ...]
    bookmark: str


# As it is stored


class StoredAct(Language):
    """An act under the key that holds who, when and which transaction. ``made`` are the elements
    that it wrote first, ``changed`` the others that it wrote, both sorted."""

    function: Name
    made: tuple[ElementName, ...] = ()
    changed: tuple[ElementName, ...] = ()
