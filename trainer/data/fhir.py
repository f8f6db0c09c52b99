"""A table made of FHIR R4 resources, by the plan's terms: a row for every Patient."""

from __future__ import annotations

import calendar
import csv
import datetime
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chaincode.schema.data import Category, DataTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.fhir import Coding, FhirColumn, FhirTerms, Source, Take
from trainer.data.bundles import Found, Patient, collect
from trainer.data.files import load
from trainer.data.raw import wrong_value


@dataclass(frozen=True)
class Table:
    """``rows``: text as a CSV file has it, with ``header``. ``passed_over``: how many resources,
    by reason."""

    header: list[str]
    rows: list[list[str]]
    passed_over: Counter[str]


def table(source: Path, terms: DataTerms) -> Table:
    """A row for every patient in a file, or in all files of a folder.

    Raises:
        MedFabricError: as :func:`collect`; ``DATA_MISMATCH`` where a quantity has another unit;
            ``DATA_VALUE`` where a Patient lacks what the plan has no value for.
    """
    if terms.fhir is None:
        raise MedFabricError(
            Code.DATA_MISMATCH, "the plan's terms do not say how a table is made of FHIR resources"
        )
    passed_over: Counter[str] = Counter()
    patients = collect(source, passed_over)
    if not patients:
        raise MedFabricError(Code.DATA_MISMATCH, f"{source} has no Patient")
    by_name = {column.name: column for column in terms.fhir.columns}
    names = [*(column.name for column in terms.features), terms.label]
    header = [*names, *([terms.patient] if terms.patient else [])]
    rows = []
    for patient in patients:
        row = [_text(patient, by_name[name], terms, terms.fhir) for name in names]
        rows.append([*row, *([str(patient.found.resource.id)] if terms.patient else [])])
    return Table(header, rows, passed_over)


def write(source: Path, terms: DataTerms, target: Path) -> dict[str, Any]:
    """Write the table as a CSV file that only its owner reads, once it is one that the plan takes.

    Raises:
        MedFabricError: as :func:`table` and :func:`trainer.data.files.load`; ``DATA_FILE`` where
            ``target`` exists: a dataset may be registered with it.
    """
    made = table(source, terms)
    if target.exists():
        raise MedFabricError(Code.DATA_FILE, f"{target} exists; name another file")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fhir-") as folder:
        partial = Path(folder) / target.name
        with partial.open("w", newline="", encoding="utf-8") as file:
            partial.chmod(0o600)
            csv.writer(file).writerows([made.header, *made.rows])
        raw = load(partial, terms)
        partial.rename(target)
    classes = np.bincount(raw.labels, minlength=len(terms.classes))
    return {
        "file": str(target),
        "records": len(made.rows),
        "classes": dict(zip(terms.classes, map(int, classes), strict=True)),
        "passed_over": dict(sorted(made.passed_over.items())),
    }


def _text(patient: Patient, column: FhirColumn, terms: DataTerms, fhir: FhirTerms) -> str:
    """What the CSV file says in this column; empty where there is nothing."""
    until = None if column.name == terms.label else fhir.reference_date
    made = _MAKERS[column.source](patient, column, until, fhir)
    if made is None:
        if any(one.name == column.name and one.may_lack for one in terms.features):
            return ""
        raise _unfit(patient, column, "nothing for", "value instead")
    if not _known(made, column.name, terms):
        raise _unfit(patient, column, "another code in", "such code")
    return made


def _known(text: str, name: str, terms: DataTerms) -> bool:
    """Whether the plan has this code, or takes any."""
    if name == terms.label:
        return text in terms.classes
    codes = [one for one in terms.features if one.name == name and isinstance(one, Category)]
    return all(one.other is not None or text in one.codes for one in codes)


def _unfit(patient: Patient, column: FhirColumn, has: str, no: str) -> MedFabricError:
    return wrong_value(
        patient.found.file,
        patient.found.place,
        f"this Patient has {has} column {column.name!r}, and the plan no {no}",
    )


def _quantity(patient: Patient, column: FhirColumn, until: str | None, _: FhirTerms) -> str | None:
    found = [
        (_when(one), _value(one, part.valueQuantity, column))
        for one, part in _observed(patient, column, until)
        if part.valueQuantity is not None and part.valueQuantity.value is not None
    ]
    if not found:
        return None
    place = 0 if column.take in (Take.FIRST, Take.LAST) else 1
    choose = min if column.take in (Take.FIRST, Take.LOWEST) else max
    return repr(choose(found, key=lambda pair: pair[place])[1])


def _value(one: Found, quantity: Any, column: FhirColumn) -> float:
    if column.unit != (quantity.code or quantity.unit):
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{one.file}, {one.place}: valueQuantity.code is not {column.unit!r}, the unit of "
            f"column {column.name!r}; convert it",
        )
    value = float(quantity.value)
    if not math.isfinite(value):
        raise wrong_value(one.file, one.place, "valueQuantity.value is not finite")
    return value


def _code(patient: Patient, column: FhirColumn, until: str | None, _: FhirTerms) -> str | None:
    found = [
        (_when(one), str(coding.code))
        for one, part in _observed(patient, column, until)
        if part.valueCodeableConcept is not None
        for coding in part.valueCodeableConcept.coding or ()
        if coding.system == column.system and coding.code
    ]
    if not found:
        return None
    choose = min if column.take is Take.FIRST else max
    return choose(found, key=lambda pair: pair[0])[1]


def _observed(
    patient: Patient, column: FhirColumn, until: str | None
) -> Iterator[tuple[Found, Any]]:
    """Observations of a column, each with the part that has its value: itself or a component."""
    for one in patient.observations:
        if _by(_when(one), until):
            for part in (one.resource, *(one.resource.component or ())):
                if _is(part.code, column.codings):
                    yield one, part


def _gender(patient: Patient, *_: Any) -> str | None:
    gender = patient.found.resource.gender
    return str(gender) if gender else None


def _age(patient: Patient, _: FhirColumn, __: str | None, fhir: FhirTerms) -> str | None:
    """Whole years; of somebody of whom only year or month of birth is known, as if born at its
    end."""
    born = patient.found.resource.birthDate
    if born is None:
        return None
    year, *rest = (int(part) for part in str(born).split("-"))
    month = rest[0] if rest else 12
    day = rest[1] if len(rest) == 2 else calendar.monthrange(year, month)[1]
    at = tuple(map(int, fhir.reference_date.split("-")))
    age = at[0] - year - (at[1:] < (month, day))
    if age < 0:
        raise wrong_value(
            patient.found.file, patient.found.place, "birthDate is after the plan's reference date"
        )
    return str(age)


def _condition(patient: Patient, column: FhirColumn, until: str | None, _: FhirTerms) -> str | None:
    present = any(
        _is(one.resource.code, column.codings) and _by(_began(one), until)
        for one in patient.conditions
    )
    return column.present if present else column.absent


_MAKERS: dict[Source, Callable[[Patient, FhirColumn, str | None, FhirTerms], str | None]] = {
    Source.QUANTITY: _quantity,
    Source.CODE: _code,
    Source.GENDER: _gender,
    Source.AGE: _age,
    Source.CONDITION: _condition,
}


def _is(concept: Any, wanted: tuple[Coding, ...]) -> bool:
    codings = {(coding.system, coding.code) for coding in (concept and concept.coding) or ()}
    return any((coding.system, coding.code) in codings for coding in wanted)


def _when(one: Found) -> str:
    """When it was observed: sorts by time. Empty, so before everything, where nothing is said."""
    resource = one.resource
    period = resource.effectivePeriod
    said = (
        resource.effectiveDateTime
        or resource.effectiveInstant
        or (period and (period.end or period.start))
        or resource.issued
    )
    return _sortable(said)


def _began(one: Found) -> str:
    resource = one.resource
    period = resource.onsetPeriod
    return _sortable(resource.onsetDateTime or (period and period.start) or resource.recordedDate)


def _sortable(moment: Any) -> str:
    """In UTC; a year or month alone is its beginning."""
    if moment is None:
        return ""
    if isinstance(moment, datetime.datetime):
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return zoned.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return str(moment)


def _by(moment: str, until: str | None) -> bool:
    """Whether it was surely by the end of that day; a year or month alone counts as its end."""
    if until is None:
        return True
    ends = {4: "-12-31", 7: "-31"}.get(len(moment), "")
    return moment != "" and (moment + ends)[:10] <= until
