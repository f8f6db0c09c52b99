"""FHIR R4 resources of patients: from Bundles, or one resource per line as bulk exports write them.

Resources are checked by ``fhir.resources``. Its models are of R4B (4.3.0), in which Patient,
Observation and Condition are those of R4 (4.0.1). Observations count that are final, amended or
corrected; Conditions that are neither refuted nor entered in error. Everything else is passed over,
and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chaincode.schema.errors import Code, MedFabricError
from trainer.data.raw import wrong_value

FILE_LIMIT = 512 * 1024**2
"""Bytes of one file: it is read whole."""
_KINDS = ("Patient", "Observation", "Condition")
_RESULTS = ("final", "amended", "corrected")
_NO_DIAGNOSIS = ("refuted", "entered-in-error")
_NOT_PATIENTS = ("Group/", "Device/", "Location/")
_SUFFIXES = (".json", ".ndjson")


@dataclass(frozen=True)
class Found:
    """A resource, and where it is."""

    file: Path
    place: str
    url: str
    resource: Any


@dataclass
class Patient:
    """A patient and the resources that refer to them."""

    found: Found
    observations: list[Found] = field(default_factory=list)
    conditions: list[Found] = field(default_factory=list)


def collect(source: Path, passed_over: Counter[str]) -> list[Patient]:
    """Patients in the order of files and entries, with what refers to them.

    Args:
        source: a file, or a folder of them.
        passed_over: counts what does not count, by reason.

    Raises:
        MedFabricError: ``DATA_FILE`` where a file is no FHIR; ``DATA_VALUE`` where a resource is
            invalid, or refers to nobody. File, entry and element are named.
    """
    found = [one for file in _files(source) for one in _resources(file, passed_over)]
    patients: dict[str, Patient] = {}
    for one in found:
        if _kind(one) == "Patient":
            _add_patient(patients, one)
    for one in found:
        if _kind(one) == "Patient":
            continue
        reference = _referred(one)
        if reference.startswith(_NOT_PATIENTS):
            passed_over[f"{_kind(one)}: of no patient"] += 1
            continue
        patient = patients.get(reference)
        if patient is None:
            raise wrong_value(one.file, one.place, "subject.reference is to no Patient here")
        (patient.observations if _kind(one) == "Observation" else patient.conditions).append(one)
    return list({id(patient): patient for patient in patients.values()}.values())


def _add_patient(patients: dict[str, Patient], one: Found) -> None:
    """Under every name that others may refer by; a second copy must say the same."""
    if not one.resource.id:
        raise wrong_value(one.file, one.place, "Patient.id is missing")
    name = f"Patient/{one.resource.id}"
    known = patients.setdefault(name, Patient(one))
    if known.found.resource.model_dump() != one.resource.model_dump():
        raise wrong_value(
            one.file,
            one.place,
            f"is another Patient than {known.found.file}, {known.found.place}, of the same id",
        )
    if one.url:
        patients[_relative(one.url)] = known


def _referred(one: Found) -> str:
    subject = one.resource.subject
    return _relative(subject.reference or "") if subject is not None else ""


def _relative(reference: str) -> str:
    """``Patient/ID`` of an absolute URL; a URN as it is."""
    return reference if reference.startswith("urn:") else "/".join(reference.split("/")[-2:])


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.iterdir() if path.suffix in _SUFFIXES)
    if not found:
        raise MedFabricError(Code.DATA_FILE, f"{source} has no .json or .ndjson file")
    return found


def _resources(file: Path, passed_over: Counter[str]) -> Iterator[Found]:
    for place, url, content in _entries(file):
        kind = content.get("resourceType")
        if kind not in _KINDS:
            passed_over[f"{kind}: no column is made of it"] += 1
            continue
        try:
            resource = _model(str(kind)).model_validate(content)
        except ValidationError as error:
            raise _invalid(file, place, str(kind), error) from None
        if why := _excluded(str(kind), resource):
            passed_over[f"{kind}: {why}"] += 1
            continue
        yield Found(file, place, url, resource)


def _entries(file: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Place, full URL and content of each resource.

    Raises:
        MedFabricError: ``DATA_FILE``.
    """
    try:
        if file.stat().st_size > FILE_LIMIT:
            raise MedFabricError(Code.DATA_FILE, f"{file} is larger than {FILE_LIMIT} bytes")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MedFabricError(Code.DATA_FILE, f"cannot read {file}: {error}") from None
    if file.suffix == ".ndjson":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"line {number}", "", _object(file, f"line {number}", line)
        return
    bundle = _object(file, "the file", text)
    entries = bundle.get("entry", [])
    if bundle.get("resourceType") != "Bundle" or not isinstance(entries, list):
        raise MedFabricError(Code.DATA_FILE, f"{file} holds no Bundle; export one, or NDJSON")
    for number, entry in enumerate(entries):
        place = f"entry {number}"
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            raise MedFabricError(Code.DATA_FILE, f"{file}, {place}: no resource")
        yield place, str(entry.get("fullUrl") or ""), resource


def _object(file: Path, place: str, text: str) -> dict[str, Any]:
    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        content = json.loads(text, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"{file}, {place}: no JSON ({type(error).__name__})"
        ) from None
    if not isinstance(content, dict):
        raise MedFabricError(Code.DATA_FILE, f"{file}, {place}: no resource")
    return content


@cache
def _model(kind: str) -> Any:
    from fhir.resources.R4B.condition import Condition
    from fhir.resources.R4B.observation import Observation
    from fhir.resources.R4B.patient import Patient

    return {"Patient": Patient, "Observation": Observation, "Condition": Condition}[kind]


def _invalid(file: Path, place: str, kind: str, error: ValidationError) -> MedFabricError:
    # The library's message may repeat the value, which is a patient's.
    element = ".".join([kind, *map(str, error.errors()[0]["loc"])])
    return wrong_value(file, place, f"{element} is not as FHIR R4 has it")


def _excluded(kind: str, resource: Any) -> str | None:
    """Why a resource does not count, or None."""
    if kind == "Observation" and resource.status not in _RESULTS:
        return f"status {resource.status}"
    if kind == "Condition" and resource.verificationStatus is not None:
        codes = {coding.code for coding in resource.verificationStatus.coding or ()}
        for code in _NO_DIAGNOSIS:
            if code in codes:
                return f"verification status {code}"
    return None


def _kind(one: Found) -> str:
    return str(one.resource.get_resource_type())
