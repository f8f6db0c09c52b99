"""Simulated: will a ward patient deteriorate within a day? Vital signs and laboratory values.

A latent severity shifts each value from its healthy mean by an amount that differs between
patients; age and chronic disease raise the base risk. Values and their units are those of common
early-warning scores (Royal College of Physicians, NEWS2, 2017); the records are nobody's.
"""

from __future__ import annotations

import numpy as np

from chaincode.schema.data import DataTerms, Feature
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

RECORDS = 2400
# Name, healthy mean, spread between healthy patients, shift at severity 1, bounds.
_SIGNS = (
    ("heart rate", 78, 11, 24, 30, 180),
    ("respiratory rate", 16, 2.2, 6, 5, 45),
    ("systolic pressure", 126, 15, -20, 60, 220),
    ("diastolic pressure", 76, 10, -9, 30, 130),
    ("temperature", 36.8, 0.4, 0.8, 33, 42),
    ("oxygen saturation", 97.2, 1.3, -4.2, 70, 100),
    ("oxygen flow", 0.4, 0.8, 2.6, 0, 15),
    ("consciousness score", 14.8, 0.5, -1.5, 3, 15),
    ("lactate", 1.1, 0.4, 1.5, 0, 12),
    ("white cells", 7.8, 2.2, 4.5, 0, 40),
    ("creatinine", 84, 22, 42, 20, 500),
    ("urea", 5.6, 1.8, 3.6, 1, 50),
)


def terms() -> DataTerms:
    """Fourteen bounded features."""
    bounds = [(name, low, high) for name, *_, low, high in _SIGNS]
    bounds += [("age", 18, 100), ("chronic diseases", 0, 8)]
    return DataTerms(
        application=APPLICATION.id,
        features=tuple(
            Feature(name=name, low_micro=round(low * 10**6), high_micro=round(high * 10**6))
            for name, low, high in bounds
        ),
        label="deteriorates",
        classes=("no", "yes"),
    )


def sample(seed: int) -> Sample:
    """RECORDS patients, one record each."""
    draw = np.random.default_rng([seed, 1])
    age = np.clip(draw.normal(64, 17, RECORDS), 18, 100)
    chronic = draw.poisson(0.02 * age)
    risk = -0.9 + 0.02 * (age - 64) + 0.3 * chronic
    ill = (draw.random(RECORDS) < 1 / (1 + np.exp(-1.6 * risk))).astype(np.int64)
    severity = np.where(ill == 1, draw.gamma(4, 0.3, RECORDS), draw.gamma(1.1, 0.16, RECORDS))
    columns = []
    for _, mean, spread, shift, low, high in _SIGNS:
        response = shift * severity * draw.lognormal(-0.1, 0.45, RECORDS)
        value = draw.normal(mean, spread, RECORDS) + response
        columns.append(np.clip(value, low, high))
    values = np.column_stack([*columns, age, np.minimum(chronic, 8)])
    return Sample(np.round(values, 2), ill, np.arange(RECORDS))


PROVENANCE = Provenance(
    fields={
        "ward": text(),
        "vital_signs": whole(1, 50),
        "laboratory_values": whole(0, 200),
        "outcome_within_hours": whole(1, 168),
        "outcome_by": text("simulation", "chart review", "intensive care admission"),
    },
    origin={
        "ward": "general medicine, simulated",
        "vital_signs": 8,
        "laboratory_values": 4,
        "outcome_within_hours": 24,
        "outcome_by": "simulation",
    },
    use=Use(
        intended="Warns that a ward patient may deteriorate within a day; for study.",
        users="Researchers; ward staff beside the early-warning score in use, never instead.",
        not_for="Withholding care; intensive care, children, pregnancy: not in the records.",
        factors="Age, number of chronic diseases, how often values are measured.",
        caveats="The records are simulated: nothing is known of real patients.",
    ),
    per_record={"stays": 1},
)

APPLICATION = Application(
    id="deterioration",
    title="Deterioration of ward patients",
    simulated=True,
    about="vital signs and laboratory values of 2400 simulated ward patients",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="mlp",
    config={"features": 14, "classes": 2, "hidden": 16},
    tuned=Tuned(rounds=6, steps=20, batch=96, learning_rate=1.0, clip=1.0),
)
