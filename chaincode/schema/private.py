"""What is nobody else's business: a hospital's records about its own nodes and datasets.

A record lies in the hospital's implicit private data collection: on its own peer alone. The
channel holds SHA-256 of the record, which begins with a random salt, so that what it says cannot
be found by trying. Records come in as transient data, never as arguments: arguments are on the
ledger.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from chaincode.schema import canonical
from chaincode.schema.base import Count, Id, Language, MspId, Name, PageArgs, Seconds, Sha256

TRANSIENT = "record"
"""Name of the transient data that a record comes in."""

Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
Salt = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 random bytes in hex, new for every record."""


class RecordKind(StrEnum):
    """About a node, its inventory; about a dataset, its statistics."""

    INVENTORY = "inventory"
    STATISTICS = "statistics"


class Inventory(Language):
    """What machine a node is, and where."""

    maker: Name
    model: Name
    serial_number: Name
    location: Name
    processors: Annotated[int, Field(ge=1, le=2**20)]
    memory_mib: Annotated[int, Field(ge=1, le=2**40)]
    accelerators: Annotated[tuple[Name, ...], Field(max_length=64)] = ()
    software: Annotated[tuple[Name, ...], Field(max_length=256)] = ()


class ClassCount(Language):
    """Samples of one class."""

    name: Name
    samples: Count


class FeatureStatistics(Language):
    """One feature's values, in units of 1e-6."""

    name: Name
    missing: Count
    low_micro: Whole
    high_micro: Whole
    mean_micro: Whole
    deviation_micro: Annotated[int, Field(ge=0, le=2**53)]


class Statistics(Language):
    """What a dataset's records look like as a whole: without noise, so for the hospital alone."""

    samples: Count
    classes: Annotated[tuple[ClassCount, ...], Field(max_length=1000)]
    features: Annotated[tuple[FeatureStatistics, ...], Field(max_length=4096)]


class PrivateRecord(Language):
    """A record as the hospital's peer keeps it, and as the hospital hands it on.

    ``subject`` is the node or the dataset. One of ``inventory`` and ``statistics`` is there, by
    the kind.
    """

    kind: RecordKind
    msp_id: MspId
    subject: Id
    salt: Salt
    inventory: Inventory | None = None
    statistics: Statistics | None = None

    @property
    def sha256(self) -> str:
        """What the channel holds of it."""
        return hashlib.sha256(canonical.dumps(self)).hexdigest()

    @property
    def whole(self) -> bool:
        """Whether it holds what its kind says, and nothing else."""
        return (self.inventory is not None, self.statistics is not None) == (
            self.kind is RecordKind.INVENTORY,
            self.kind is RecordKind.STATISTICS,
        )


# Arguments


class PrivateRecordArgs(Language):
    """Which record; one that is to be kept comes as transient data itself."""

    kind: RecordKind
    subject: Id


class PrivateRecordPageArgs(PageArgs):
    """The records of a kind, by subject; ``bookmark`` is the subject that the page begins with."""

    kind: RecordKind


class VerifyRecordArgs(Language):
    """Whose record it is said to be; the record itself comes as transient data."""

    msp_id: MspId
    kind: RecordKind
    subject: Id


# Results


class KeptRecord(Language):
    """What everybody may know of a record: that it is there, and its hash."""

    kind: RecordKind
    msp_id: MspId
    subject: Id
    sha256: Sha256


class PurgedRecord(Language):
    """A record that is no more, on any peer."""

    kind: RecordKind
    msp_id: MspId
    subject: Id
    purged_at: Seconds


class PrivateRecordPage(Language):
    records: tuple[KeptRecord, ...]
    bookmark: str
