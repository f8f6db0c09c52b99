"""How a table is made of FHIR R4 resources, the same in every hospital: pinned by the plan.

Each column is one of: a measured quantity or a coded finding (Observation), gender or age
(Patient), the presence of a diagnosis (Condition). HL7 FHIR R4, v4.0.1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from chaincode.schema.base import Language, Name


class Source(StrEnum):
    """What a column is made of."""

    QUANTITY = "quantity"
    CODE = "code"
    GENDER = "gender"
    AGE = "age"
    CONDITION = "condition"


class Take(StrEnum):
    """Which of several observations of a patient counts."""

    FIRST = "first"
    LAST = "last"
    LOWEST = "lowest"
    HIGHEST = "highest"


class Coding(Language):
    """A code of a code system, as in ``http://loinc.org`` and ``8867-4``."""

    system: Name
    code: Name


class FhirColumn(Language):
    """One column of the table, or the label.

    ``codings`` are those of the Observations (QUANTITY, CODE) or Conditions (CONDITION) that count;
    any one will do. ``unit``: the UCUM code that a quantity must have. ``system``: of the codes
    that a CODE column takes from ``valueCodeableConcept``. ``present`` and ``absent``: what a
    CONDITION column says.
    """

    name: Name
    source: Source
    codings: Annotated[tuple[Coding, ...], Field(max_length=64)] = ()
    unit: Name | None = None
    system: Name | None = None
    take: Take = Take.LAST
    present: Name | None = None
    absent: Name | None = None


class FhirTerms(Language):
    """``reference_date``: YYYY-MM-DD. Ages are as of it; observations and diagnoses of later dates,
    or of none, make no column, only the label."""

    reference_date: Annotated[
        str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")
    ]
    columns: Annotated[tuple[FhirColumn, ...], Field(min_length=1, max_length=4096)]


_NEEDS = {
    Source.QUANTITY: {"codings", "unit"},
    Source.CODE: {"codings", "system"},
    Source.GENDER: set[str](),
    Source.AGE: set[str](),
    Source.CONDITION: {"codings", "present", "absent"},
}
_FIELDS = ("codings", "unit", "system", "present", "absent")


def problem(terms: FhirTerms, wanted: tuple[str, ...]) -> str | None:
    """Why these terms make no table of the columns ``wanted``, or None."""
    names = [column.name for column in terms.columns]
    if sorted(names) != sorted(wanted):
        return "FHIR terms have one column for each feature and for the label, and no other"
    for column in terms.columns:
        if {name for name in _FIELDS if getattr(column, name)} != _NEEDS[column.source]:
            needed = ", ".join(sorted(_NEEDS[column.source])) or "nothing else"
            return f"a {column.source} column as {column.name} needs {needed}, and no more"
        if column.source is Source.CODE and column.take in (Take.LOWEST, Take.HIGHEST):
            return f"the codes of {column.name} have no order: take the first or the last"
    return None
