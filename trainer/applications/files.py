"""An application's records written to files as hospitals bring them, and read back.

FHIR bundles lie in a folder beside the table that a hospital makes of them; recordings in a folder.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import Category, DataTerms, RecordingTerms
from trainer.applications import bundles
from trainer.applications.application import Application, Sample
from trainer.data import fhir
from trainer.data.files import read
from trainer.data.partition import PARTITIONERS
from trainer.data.recordings import INDEX
from trainer.data.records import Records
from trainer.data.text import hashed

TEST_EVERY = 5
"""Every fifth patient, in the data set's own order, is held out for the test and never given to
any hospital, however the others are split: nothing chosen on hospitals' records has seen them."""


@dataclass(frozen=True)
class Files:
    """One file per hospital, and the held-out test records that no hospital has."""

    hospitals: tuple[Path, ...]
    test: Path


def write(
    application: Application,
    folder: Path,
    parts: int,
    seed: int,
    partition: str = "identical",
    sample_seed: int = 0,
) -> Files:
    """Split the patients and write each hospital's records as its own CSV or NPZ file.

    Args:
        seed: of the split.
        sample_seed: of simulated records.
    """
    sample = application.sample(sample_seed)
    folder.mkdir(parents=True, exist_ok=True)
    patients, first = np.unique(sample.patients, return_index=True)
    held_out = patients % TEST_EVERY == TEST_EVERY - 1
    rest, one_each = patients[~held_out], sample.take(first[~held_out])
    shares = PARTITIONERS[partition](_numbers(one_each), one_each.labels, parts, seed)

    def save(name: str, whose: NDArray[np.int64]) -> Path:
        rows = np.flatnonzero(np.isin(sample.patients, whose))
        return _save(application, folder / name, sample.take(rows))

    hospitals = [save(f"hospital{number}", rest[share]) for number, share in enumerate(shares, 1)]
    return Files(tuple(hospitals), save("test", patients[held_out]))


def existing(application: Application, folder: Path, parts: int) -> Files:
    """Files that :func:`write` wrote."""
    suffix = _suffix(application)
    names = [folder / f"hospital{number}{suffix}" for number in range(1, parts + 1)]
    return Files(tuple(names), folder / f"test{suffix}")


def load(application: Application, files: Files) -> tuple[list[Records], Records]:
    """The hospitals' records and the test records, read back as a hospital reads its own."""
    terms = application.terms()
    return [read(path, terms) for path in files.hospitals], read(files.test, terms)


def _numbers(sample: Sample) -> NDArray[np.float64]:
    """float64[n, d]: by what a partition may tell records apart."""
    if sample.values.dtype.kind == "U":
        return np.array([hashed(str(text), 256) for text in sample.values], dtype=np.float64)
    return sample.values.reshape(len(sample.labels), -1).astype(np.float64)


def _save(application: Application, path: Path, sample: Sample) -> Path:
    target, terms = path.with_suffix(_suffix(application)), application.terms()
    if terms.fhir is not None:
        bundles.write(sample, terms, path)
        fhir.write(path, terms, target)
        return target
    if terms.tensor is not None and terms.tensor.recording is not None:
        _save_recordings(target, sample, terms, terms.tensor.recording)
        return target
    if target.suffix == ".npz":
        np.savez(target, features=sample.values, labels=sample.labels, patients=sample.patients)
        return target
    with target.open("w", newline="") as file:
        csv.writer(file).writerows(_rows(application, sample))
    return target


def _save_recordings(
    folder: Path, sample: Sample, terms: DataTerms, recording: RecordingTerms
) -> None:
    """A patient's windows, one after the other, as one recording."""
    folder.mkdir()
    index = [["recording", "rate_hz", terms.label]]
    for patient in np.unique(sample.patients):
        rows = np.flatnonzero(sample.patients == patient)
        index.append(
            [
                f"{patient:05d}.csv",
                f"{recording.rate_millihertz / 1000:g}",
                terms.classes[sample.labels[rows[0]]],
            ]
        )
        samples = np.concatenate(list(sample.values[rows]), axis=1).T
        with (folder / index[-1][0]).open("w", newline="") as file:
            csv.writer(file).writerows([recording.channels, *samples.tolist()])
    with (folder / INDEX).open("w", newline="") as file:
        csv.writer(file).writerows(index)


def _suffix(application: Application) -> str:
    tensor = application.terms().tensor
    if tensor is None:
        return ".csv"
    return ".npz" if tensor.recording is None else ""


def _rows(application: Application, sample: Sample) -> list[list[str]]:
    terms = application.terms()
    names = [terms.text.column] if terms.text else [feature.name for feature in terms.features]
    rows = [[*names, terms.label]]
    for values, label in zip(sample.values, sample.labels, strict=True):
        row = [str(values)] if terms.text else _written(terms, values)
        rows.append([*row, terms.classes[label]])
    return rows


def _written(terms: DataTerms, values: NDArray[np.float64]) -> list[str]:
    """Numbers and codes of one record; nothing where a value is missing."""
    found = []
    for column, value in zip(terms.features, values, strict=True):
        if np.isnan(value):
            found.append("")
        elif isinstance(column, Category):
            found.append(column.codes[int(value)])
        else:
            found.append(repr(float(value)))
    return found
