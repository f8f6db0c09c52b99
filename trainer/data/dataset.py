"""A hospital's dataset: its files read, split and checked against what the ledger records of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from chaincode.schema import canonical
from chaincode.schema.data import DataTerms
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from client.identity import Identity
from trainer.data.files import load
from trainer.data.inputs import inputs
from trainer.data.manifest import Manifest
from trainer.data.raw import Raw
from trainer.data.records import VALIDATION_FRACTION, Records
from trainer.data.sealed import Readable, readable, record_of
from trainer.data.split import PARTS, TEST, TRAINING, VALIDATION, Split

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Source(BaseModel):
    """Where a dataset's records are, and how they are split.

    ``split_column`` names the column (of an NPZ file, the array) that says ``training``,
    ``validation`` or ``test`` of each record; without it patients are drawn by ``split_seed``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: Path
    split_seed: Annotated[int, Field(ge=0)] = 0
    validation_fraction: Fraction = VALIDATION_FRACTION
    test_fraction: Fraction = 0.0
    split_column: str | None = None


@dataclass(frozen=True)
class Recorded:
    """What is known of a dataset since it was registered: the ledger's record, the salt of its
    hashes, and the hashes of its files one by one."""

    dataset: Dataset
    salt: bytes
    files: Manifest


@dataclass(frozen=True)
class Opened:
    """A dataset's records, as they are and as models take them, and their split."""

    raw: Raw
    split: Split
    records: Records

    @property
    def training(self) -> Records:
        """What is trained on."""
        return self.records.take(self.split.rows(TRAINING))

    @property
    def validation(self) -> Records:
        """What candidates are judged by."""
        return self.records.take(self.split.rows(VALIDATION))

    @property
    def test(self) -> Records:
        """What neither training nor judging has seen."""
        return self.records.take(self.split.rows(TEST))


def open_dataset(source: Source, terms: DataTerms, identity: Identity | None = None) -> Opened:
    """Read and split the records.

    Args:
        identity: opens them where they are sealed.

    Raises:
        MedFabricError: as :func:`trainer.data.files.load`; ``PATIENT_SPLIT``; ``CLASS_EMPTY`` where
            a class has fewer training records than the plan needs.
    """
    path = readable(source.file, identity)
    raw = load(path, terms, source.split_column)
    split = _split(source, path, raw)
    trained = np.bincount(raw.labels[split.rows(TRAINING)], minlength=len(terms.classes))
    for name, number in zip(terms.classes, trained, strict=True):
        if number < terms.least_per_class:
            raise MedFabricError(
                Code.CLASS_EMPTY,
                f"{source.file}: {number} training records of class {name!r} in column "
                f"{terms.label!r}, the plan needs {terms.least_per_class}; bring more of them",
            )
    return Opened(raw, split, Records(inputs(raw, terms), raw.labels, raw.patients))


def open_recorded(
    source: Source, terms: DataTerms, recorded: Recorded, identity: Identity | None = None
) -> Opened:
    """The same, of files and a split that are still those on the ledger.

    Raises:
        MedFabricError: ``DATA_CHANGED``, naming the file; as :func:`open_dataset`.
    """
    dataset, path = recorded.dataset, readable(source.file, identity)
    _check_sealed(path, dataset)
    now = Manifest.of(path)
    if now.commitment(recorded.salt) != dataset.commitment_sha256:
        which = recorded.files.difference(now) or "its hash is not the recorded one"
        raise MedFabricError(
            Code.DATA_CHANGED,
            f"{source.file} is not what {dataset.dataset_id} was registered with: {which}; "
            "restore it, or register the new records as another dataset",
        )
    opened = open_dataset(source, terms, identity)
    if opened.split.sha256(recorded.salt) != dataset.split_sha256:
        raise MedFabricError(
            Code.DATA_CHANGED,
            f"{source.file}: the parts {', '.join(PARTS)} are not those that "
            f"{dataset.dataset_id} was registered with; restore the split in node.json",
        )
    return opened


def describe(
    source: Source, terms: DataTerms, salt: bytes, identity: Identity | None = None
) -> tuple[dict[str, Any], Manifest]:
    """The fields of a registration that follow from the records, and the hashes of the files.

    Args:
        salt: kept by the hospital; without it the commitments could be tried out.
    """
    files = Manifest.of(readable(source.file, identity))
    opened = open_dataset(source, terms, identity)
    about = {
        "application": terms.application,
        "commitment_sha256": files.commitment(salt),
        "split_sha256": opened.split.sha256(salt),
        "descriptor_sha256": canonical.sha256(terms),
        "train_samples": int(opened.split.rows(TRAINING).size),
        "validation_samples": int(opened.split.rows(VALIDATION).size),
        "test_samples": int(opened.split.rows(TEST).size),
    }
    return about, files


def _check_sealed(path: Readable, dataset: Dataset) -> None:
    record = record_of(path)
    if record is None:
        return
    named = (record.msp_id, record.dataset_id, record.commitment_sha256)
    if named != (dataset.msp_id, dataset.dataset_id, dataset.commitment_sha256):
        raise MedFabricError(
            Code.DATA_CHANGED,
            f"{path} is sealed as {record.dataset_id} of {record.msp_id}, not as the ledger has "
            f"{dataset.dataset_id}; restore it, or seal the registered records",
        )


def _split(source: Source, path: Readable, raw: Raw) -> Split:
    if source.split_column is not None:
        return Split.told(path, raw)
    return Split.drawn(
        raw.labels.size,
        raw.patients,
        source.split_seed,
        source.validation_fraction,
        source.test_fraction,
    )
