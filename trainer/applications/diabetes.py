"""Diabetes progression: 442 real patients (Efron et al. 2004, "Least Angle Regression", section 7),
shipped with scikit-learn.

The set's target is a quantitative measure of the disease a year after the base line. Our models
classify, so the label is whether the measure exceeds THRESHOLD: a cut through the middle of a
continuum, with as many patients close to it as anywhere. No model does well on it: see
docs/reference/benchmarks.md. It is here because it is real, has a coded column and is hard.
"""

from __future__ import annotations

import numpy as np

from chaincode.schema.data import Category, DataTerms, Feature
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text, whole

THRESHOLD = 140
"""Of the target, which ranges from 25 to 346 and has a median of 140.5."""
# Name here, name in scikit-learn's unscaled table, and bounds that common laboratories' reference
# ranges (and, for age, adulthood) suggest: not the least and largest of these patients.
_NUMBERS = (
    ("age", "age", 18, 80),
    ("body mass index", "bmi", 17, 42),
    ("mean arterial pressure", "bp", 60, 135),
    ("total cholesterol", "s1", 100, 300),
    ("low-density lipoproteins", "s2", 40, 240),
    ("high-density lipoproteins", "s3", 20, 100),
    ("cholesterol ratio", "s4", 2, 9),
    ("log of triglycerides", "s5", 3.3, 6.2),
    ("glucose", "s6", 60, 125),
)
SEX = Category(name="sex", codes=("1", "2"))
"""As the set codes it; which is which its description does not say."""


def terms() -> DataTerms:
    """Nine numbers and a code."""
    numbers = (
        Feature(name=name, low_micro=round(low * 10**6), high_micro=round(high * 10**6))
        for name, _, low, high in _NUMBERS
    )
    return DataTerms(
        application=APPLICATION.id,
        features=(*numbers, SEX),
        label="progression",
        classes=("lower", "higher"),
    )


def sample(_: int) -> Sample:
    """All patients, one record each; not the table that scikit-learn scales by all patients."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    columns = [list(data.feature_names).index(name) for _, name, _, _ in _NUMBERS]
    sex = data.data[:, list(data.feature_names).index("sex")] - 1
    labels = (data.target > THRESHOLD).astype(np.int64)
    values = np.column_stack([data.data[:, columns], sex])
    return Sample(values, labels, np.arange(labels.size))


PROVENANCE = Provenance(
    fields={
        "source": text(),
        "blood_taken": text("fasting", "any time", "not recorded"),
        "outcome": text(),
        "outcome_after_months": whole(1, 120),
        "higher_above": whole(25, 346),
    },
    origin={
        "source": "Efron, Hastie, Johnstone and Tibshirani 2004, as scikit-learn ships it",
        "blood_taken": "not recorded",
        "outcome": "a quantitative measure of the disease's progression",
        "outcome_after_months": 12,
        "higher_above": THRESHOLD,
    },
    use=Use(
        intended="Says whether diabetes will have progressed to above the middle; for study.",
        users="Researchers who compare methods on real records.",
        not_for="Any decision about a patient: one in four is told wrong.",
        factors="What the measure of progression is made of, which the set does not tell.",
        caveats="A continuum is cut in the middle; 442 patients, of whom little is recorded.",
    ),
    per_record={"patients": 1},
)

APPLICATION = Application(
    id="diabetes",
    title="Diabetes progression (above the middle or not)",
    simulated=False,
    about="442 real patients of Efron et al. 2004, as scikit-learn ships them",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="logistic",
    config={"features": 11, "classes": 2},
    tuned=Tuned(rounds=6, steps=10, batch=32, learning_rate=1.0, clip=1.0, plain_rate=0.3),
)
