"""What the consortium is told of a dataset: counts and hashes, never a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chaincode.schema import canonical
from chaincode.schema.plans import DataTerms
from trainer.data.files import read
from trainer.data.records import split


def describe(
    file: Path, terms: DataTerms, validation_fraction: float, split_seed: int, salt: bytes
) -> dict[str, Any]:
    """The fields of a registration that follow from the records.

    Args:
        salt: kept by the hospital; without it the commitment could be tried out.
    """
    records = read(file, terms)
    training, validation = split(records, validation_fraction, split_seed)
    return {
        "application": terms.application,
        "commitment_sha256": records.commitment(salt),
        "descriptor_sha256": canonical.sha256(terms),
        "train_samples": len(training),
        "validation_samples": len(validation),
    }
