"""Applications: health uses of models, each with a schema of its own provenance."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from chaincode.schema.base import Id, Language, MspId, Name, PageArgs, Seconds, Sha256
from chaincode.schema.provenance import ElementName

Version = Annotated[int, Field(ge=1, le=10_000)]
Plain = dict[str, JsonValue]
"""Any JSON object of integers, text, booleans, null, lists and objects; no fractions."""


class ApplicationSchema(Language):
    """One version of an application's schema. Never changed: a later version is another.

    ``definition`` is in the subset of JSON Schema 2020-12 that
    :mod:`~chaincode.schema.jsonschema` describes.
    """

    application: Id
    version: Version
    previous: Version | None
    msp_id: MspId
    title: Name
    definition: Plain
    definition_sha256: Sha256
    registered_at: Seconds


class SpecificRecord(Language):
    """A hospital's record by an application's schema, about an element of the provenance graph."""

    application: Id
    version: Version
    msp_id: MspId
    node_id: Name
    record_id: Id
    subject: ElementName
    record: Plain
    recorded_at: Seconds


# Arguments


class RegisterApplicationArgs(Language):
    """``version`` is 1, or follows the newest one, by the hospital that registered the first."""

    application: Id
    version: Version
    title: Name
    definition: Plain


class RecordArgs(Language):
    """``subject`` is an entity of the caller's hospital, or of the whole consortium."""

    application: Id
    version: Version
    record_id: Id
    subject: ElementName
    record: Plain


class ApplicationArgs(Language):
    application: Id
    version: Version


class RecordRefArgs(Language):
    application: Id
    msp_id: MspId
    record_id: Id
    access: Sha256 | None = None


class RecordPageArgs(PageArgs):
    """Records of one hospital by one application."""

    application: Id
    msp_id: MspId
    access: Sha256 | None = None


# Results


class ApplicationPage(Language):
    schemas: tuple[ApplicationSchema, ...]
    bookmark: str


class RecordPage(Language):
    records: tuple[SpecificRecord, ...]
    bookmark: str
