"""Simulated: will a patient with diabetes have a chronic kidney disease within a year? From FHIR.

Hospitals keep the records as FHIR R4 resources: Patient, Observations, Conditions. A latent damage
raises creatinine, albumin in the urine, blood pressure and glycated haemoglobin (the directions are
those of KDIGO's 2022 guideline for diabetes in chronic kidney disease); age, smoking and
hypertension make it likelier. Some values were never taken. The patients are nobody.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import Category, Column, DataTerms, Expectation, Feature
from chaincode.schema.fhir import Coding, FhirColumn, FhirTerms, Source
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

PATIENTS = 2000
EXPECTED_SEED = 1_000_003
"""Of the simulated patients by which the plan says what hospitals' records should look like."""
_LOINC, _SNOMED = "http://loinc.org", "http://snomed.info/sct"
# Name, LOINC, unit, bounds, healthy mean, spread, shift by damage 1, part never taken, else stands.
_VALUES = (
    ("glycated haemoglobin", "4548-4", "%", (4, 14), 6.9, 0.9, 1.3, 0.1, 7.0),
    ("systolic pressure", "8480-6", "mm[Hg]", (80, 220), 128, 12, 22, 0.0, None),
    ("creatinine", "2160-0", "mg/dL", (0.3, 4), 0.85, 0.17, 0.75, 0.0, None),
    ("albumin per creatinine in urine", "9318-7", "mg/g", (0, 400), 14, 9, 150, 0.15, 20.0),
)
_SMOKING = ("266919005", "8517006", "77176002", "266927001")
"""SNOMED CT: never, formerly, now; and not known, which stands for one that is missing."""


def terms() -> DataTerms:
    """Eight columns, how each is made of FHIR resources, and what they should look like."""
    return _terms().model_copy(update={"expected": _expected()})


def sample(seed: int) -> Sample:
    """PATIENTS patients, one record each."""
    draw = np.random.default_rng([seed, 8])
    age = np.clip(np.rint(draw.normal(61, 12, PATIENTS)), 18, 95)
    smoking = draw.choice(4, PATIENTS, p=[0.5, 0.25, 0.15, 0.1])
    hypertension = (draw.random(PATIENTS) < 0.35 + 0.006 * (age - 61)).astype(np.float64)
    risk = -0.5 + 0.03 * (age - 61) + 0.5 * (smoking == 2) + 0.8 * hypertension
    ill = (draw.random(PATIENTS) < 1 / (1 + np.exp(-1.3 * risk))).astype(np.int64)
    damage = np.where(ill == 1, draw.gamma(5, 0.28, PATIENTS), draw.gamma(1.1, 0.12, PATIENTS))
    columns = [_taken(draw, damage, *value) for value in _VALUES]
    smoked = np.where(smoking == 3, np.nan, smoking)
    sex = draw.integers(2, size=PATIENTS)
    values = np.column_stack([age, sex, *columns, smoked, hypertension])
    return Sample(values, ill, np.arange(PATIENTS))


def _taken(
    draw: np.random.Generator,
    damage: NDArray[np.float64],
    _name: str,
    _code: str,
    _unit: str,
    bounds: tuple[float, float],
    mean: float,
    spread: float,
    shift: float,
    lacking: float,
    _stands: float | None,
) -> NDArray[np.float64]:
    response = shift * damage * draw.lognormal(-0.08, 0.4, PATIENTS)
    value = np.round(np.clip(draw.normal(mean, spread, PATIENTS) + response, *bounds), 2)
    return np.where(draw.random(PATIENTS) < lacking, np.nan, value)


def _terms() -> DataTerms:
    numbers = tuple(
        Feature(
            name=name,
            low_micro=round(low * 1e6),
            high_micro=round(high * 1e6),
            missing_micro=None if stands is None else round(stands * 1e6),
        )
        for name, _, _, (low, high), *_, stands in _VALUES
    )
    features: tuple[Column, ...] = (
        Feature(name="age", low_micro=18_000_000, high_micro=95_000_000),
        Category(name="gender", codes=("female", "male")),
        *numbers,
        Category(name="smoking", codes=_SMOKING, missing=_SMOKING[-1], other=_SMOKING[-1]),
        Category(name="hypertension", codes=("no", "yes")),
    )
    return DataTerms(
        application=APPLICATION.id,
        features=features,
        label="kidney disease",
        classes=("no", "yes"),
        fhir=_fhir(),
    )


def _fhir() -> FhirTerms:
    measured = tuple(
        FhirColumn(
            name=name,
            source=Source.QUANTITY,
            codings=(Coding(system=_LOINC, code=code),),
            unit=unit,
        )
        for name, code, unit, *_ in _VALUES
    )
    return FhirTerms(
        reference_date="2025-06-30",
        columns=(
            FhirColumn(name="age", source=Source.AGE),
            FhirColumn(name="gender", source=Source.GENDER),
            *measured,
            FhirColumn(
                name="smoking",
                source=Source.CODE,
                codings=(Coding(system=_LOINC, code="72166-2"),),
                system=_SNOMED,
            ),
            _diagnosis("hypertension", "38341003"),
            _diagnosis("kidney disease", "709044004"),
        ),
    )


def _diagnosis(name: str, code: str) -> FhirColumn:
    codings = (Coding(system=_SNOMED, code=code),)
    return FhirColumn(
        name=name, source=Source.CONDITION, codings=codings, present="yes", absent="no"
    )


@lru_cache(maxsize=1)
def _expected() -> Expectation:
    """Of simulated patients that no hospital has."""
    from trainer.data.columns import expectation
    from trainer.data.raw import Raw

    found = sample(EXPECTED_SEED)
    return expectation(Raw(np.asarray(found.values, np.float64), found.labels, ()), _terms())


PROVENANCE = Provenance(
    fields={
        "source": text("FHIR R4 bundles", "FHIR R4 bulk export"),
        "observed_within_days": whole(1, 3650),
        "outcome_within_days": whole(1, 3650),
        "diagnosis_by": text("simulation", "clinician", "laboratory criteria"),
    },
    origin={
        "source": "FHIR R4 bundles",
        "observed_within_days": 365,
        "outcome_within_days": 365,
        "diagnosis_by": "simulation",
    },
    use=Use(
        intended="Says whether a patient with diabetes will have a kidney disease; for study.",
        users="Researchers; clinicians who then measure, never instead.",
        not_for="Withholding tests or treatment; patients without diabetes.",
        factors="Which values are taken of whom, laboratories' methods, coding habits.",
        caveats="The patients are simulated: nothing is known of real ones.",
    ),
    per_record={"patients": 1},
)

APPLICATION = Application(
    id="kidney",
    title="Kidney disease in diabetes, from FHIR",
    simulated=True,
    about="FHIR R4 bundles of 2000 simulated patients with diabetes",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="logistic",
    config={"features": 13, "classes": 2},
    tuned=Tuned(rounds=6, steps=15, batch=64, learning_rate=2.0, clip=1.0),
)
