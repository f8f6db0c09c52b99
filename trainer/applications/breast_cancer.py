"""Breast cancer Wisconsin (diagnostic): 569 real patients, shipped with scikit-learn."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np

from chaincode.schema.data import DataTerms, Feature
from trainer.applications.application import Application, Sample, Tuned
from trainer.applications.provenance import Provenance, Use, text

REACH = Fraction(13, 20)
"""The columns have long upper tails: values above this part of the range are clipped, so that the
others spread over [-1, 1]. Chosen on hospitals' validation records."""


def terms() -> DataTerms:
    """Each measure's mean and worst value, 20 of the 30 columns: every column costs noise, and the
    standard errors add less than they cost (seen on hospitals' validation records). Bounds are the
    lower REACH of the range that the public description prints."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    bounds = dict(_bounds(data.DESCR))
    features = tuple(
        Feature(name=name, low_micro=bounds[name][0], high_micro=bounds[name][1])
        for name in map(str, data.feature_names)
        if not name.endswith(" error")
    )
    return DataTerms(
        application=APPLICATION.id,
        features=features,
        label="diagnosis",
        classes=("malignant", "benign"),
    )


def sample(_: int) -> Sample:
    """All patients, one record each."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    columns = [names.index(feature.name) for feature in terms().features]
    labels = data.target.astype(np.int64)
    return Sample(data.data[:, columns], labels, np.arange(labels.size))


_KINDS = {"mean": "mean {}", "standard error": "{} error", "worst": "worst {}"}


def _bounds(description: str) -> list[tuple[str, tuple[int, int]]]:
    """Lower and upper bound of each column, in 1e-6, from the description's table."""
    row = re.compile(r"^\s*([a-z ]+) \((mean|standard error|worst)\):\s+([\d.]+)\s+([\d.]+)$", re.M)
    found = []
    for name, kind, low, high in row.findall(description):
        least, most = Fraction(low) * 10**6, Fraction(high) * 10**6
        bounds = (round(least), round(least + REACH * (most - least)))
        found.append((_KINDS[kind].format(name), bounds))
    return found


PROVENANCE = Provenance(
    fields={
        "source": text(),
        "specimen": text("fine needle aspirate", "core biopsy"),
        "measured": text("cell nuclei in a digitised image"),
        "diagnosis_by": text("histology", "cytology"),
    },
    origin={
        "source": "Breast Cancer Wisconsin (Diagnostic), as scikit-learn ships it",
        "specimen": "fine needle aspirate",
        "measured": "cell nuclei in a digitised image",
        "diagnosis_by": "histology",
    },
    use=Use(
        intended="Tells malignant from benign breast masses by measures of cell nuclei; for study.",
        users="Researchers, and pathologists who review every result.",
        not_for="Diagnosis without histology; specimens prepared or measured in another way.",
        factors="How the image was taken and its nuclei outlined; the mix of patients.",
        caveats="One centre's patients of the early 1990s; age and origin are not recorded.",
    ),
    per_record={"patients": 1},
)

APPLICATION = Application(
    id="breast-cancer",
    title="Breast cancer Wisconsin (diagnostic)",
    simulated=False,
    about="569 real patients of the University of Wisconsin, as scikit-learn ships them",
    terms=terms,
    sample=sample,
    provenance=PROVENANCE,
    architecture="logistic",
    config={"features": 20, "classes": 2},
    tuned=Tuned(rounds=6, steps=10, batch=32, learning_rate=2.0, clip=0.5),
)
