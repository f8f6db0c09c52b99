"""Simulated patients as FHIR R4 bundles: what :mod:`trainer.data.fhir` makes the same table of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import Category, DataTerms
from chaincode.schema.fhir import Coding, FhirColumn, FhirTerms, Source
from trainer.applications.application import Sample

_PER_BUNDLE = 50
"""Patients in a file."""
_BEFORE, _AFTER = "-02-01", "-12-01"
"""Days of the reference date's year, when columns were observed and the label was recorded."""

Resource = dict[str, Any]


def write(sample: Sample, terms: DataTerms, folder: Path) -> None:
    """Write a bundle for every fifty patients into a new folder.

    Args:
        sample: one record of each patient.
    """
    folder.mkdir()
    rows = range(len(sample.labels))
    for number, first in enumerate(rows[::_PER_BUNDLE]):
        entries = [
            {"fullUrl": f"urn:medfabric:{one['resourceType']}/{one['id']}", "resource": one}
            for row in rows[first : first + _PER_BUNDLE]
            for one in _resources(sample, row, terms)
        ]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        (folder / f"bundle{number:04d}.json").write_text(json.dumps(bundle))


def _resources(sample: Sample, row: int, terms: DataTerms) -> Iterator[Resource]:
    assert terms.fhir is not None
    values = np.asarray(sample.values[row], np.float64)
    said = _said(values, int(sample.labels[row]), terms)
    name = f"p{int(sample.patients[row])}"
    patient: Resource = {"resourceType": "Patient", "id": name}
    for column in terms.fhir.columns:
        if column.source is Source.GENDER and column.name in said:
            patient["gender"] = said[column.name]
        if column.source is Source.AGE and column.name in said:
            patient["birthDate"] = f"{_year(terms.fhir) - int(float(said[column.name]))}-01-01"
    yield patient
    for number, column in enumerate(terms.fhir.columns):
        day = f"{_year(terms.fhir)}{_AFTER if column.name == terms.label else _BEFORE}"
        about = {"id": f"{name}-{number}", "subject": {"reference": f"Patient/{name}"}}
        if (text := said.get(column.name)) is not None:
            yield from _made(about, column, text, day)


def _made(about: Resource, column: FhirColumn, text: str, day: str) -> Iterator[Resource]:
    """The resource that a column is made of; none for a diagnosis that is absent."""
    if column.source is Source.CONDITION and text == column.present:
        coded = {"code": _concept(column.codings[0]), "recordedDate": day}
        yield {"resourceType": "Condition", **about, **coded}
    if column.source not in (Source.QUANTITY, Source.CODE):
        return
    observed = {"status": "final", "code": _concept(column.codings[0]), "effectiveDateTime": day}
    if column.source is Source.QUANTITY:
        value = {"valueQuantity": {"value": float(text), "code": column.unit}}
    else:
        assert column.system is not None
        value = {"valueCodeableConcept": _concept(Coding(system=column.system, code=text))}
    yield {"resourceType": "Observation", **about, **observed, **value}


def _concept(coding: Coding) -> Resource:
    return {"coding": [{"system": coding.system, "code": coding.code}]}


def _said(values: NDArray[np.float64], label: int, terms: DataTerms) -> dict[str, str]:
    """What each column says; nothing where a value is missing."""
    found = {terms.label: terms.classes[label]}
    for column, value in zip(terms.features, values, strict=True):
        if not np.isnan(value):
            coded = column.codes[int(value)] if isinstance(column, Category) else None
            found[column.name] = repr(float(value)) if coded is None else coded
    return found


def _year(fhir: FhirTerms) -> int:
    return int(fhir.reference_date[:4])
