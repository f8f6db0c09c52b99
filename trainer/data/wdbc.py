"""Breast cancer Wisconsin (diagnostic): 569 real patients, shipped with scikit-learn."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from chaincode.schema.plans import DataTerms, Feature
from trainer.data.files import read
from trainer.data.partition import PARTITIONERS, Rows
from trainer.data.records import Records

NAME = "Breast cancer Wisconsin (diagnostic)"
APPLICATION = "breast-cancer"
CLASSES = ("malignant", "benign")
TEST_EVERY = 5
"""Every fifth patient, in the data set's own order, is held out for the test and never given to
any hospital, whatever the seed: nothing that is chosen on hospitals' records has seen them."""
REACH = Fraction(13, 20)
"""The columns have long upper tails: values above this part of the range are clipped, so that the
others spread over [-1, 1]. Chosen on hospitals' validation records."""


@dataclass(frozen=True)
class Files:
    """One CSV file per hospital, and the held-out test records that no hospital has."""

    hospitals: tuple[Path, ...]
    test: Path


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
    return DataTerms(application=APPLICATION, features=features, label="diagnosis", classes=CLASSES)


def write(folder: Path, parts: int, seed: int, partition: str = "identical") -> Files:
    """Split the patients and write each hospital's records as its own CSV file."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    rest, test = _hold_out(data.target.size)
    folder.mkdir(parents=True, exist_ok=True)
    names = [*map(str, data.feature_names), "diagnosis"]

    def save(name: str, rows: Rows) -> Path:
        path = folder / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for row in rows:
                values = [repr(float(value)) for value in data.data[row]]
                writer.writerow([*values, CLASSES[int(data.target[row])]])
        return path

    shares = PARTITIONERS[partition](data.target[rest], parts, seed)
    files = [save(f"hospital{number}", rest[rows]) for number, rows in enumerate(shares, 1)]
    return Files(tuple(files), save("test", test))


def load(files: Files) -> tuple[list[Records], Records]:
    """The hospitals' records and the test records, read back as a hospital reads its own."""
    wanted = terms()
    return [read(path, wanted) for path in files.hospitals], read(files.test, wanted)


def _hold_out(records: int) -> tuple[Rows, Rows]:
    rows = np.arange(records)
    held_out = rows % TEST_EVERY == TEST_EVERY - 1
    return rows[~held_out], rows[held_out]


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
