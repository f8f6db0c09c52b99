"""Records in a NumPy archive: arrays ``features``, ``labels`` and, where known, ``patients``."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from chaincode.schema.errors import Code, MedFabricError
from trainer.data.files import Raw

_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, NotImplementedError)


def read(path: Path) -> Raw:
    """Read an ``.npz`` file; nothing in it is executed."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            features, labels = arrays["features"], arrays["labels"]
            patients = arrays.get("patients")
    except (ValueError, TypeError, KeyError, EOFError, *_BAD_ARCHIVE) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"{path} needs arrays 'features' and 'labels': {error}"
        ) from None
    whole = [labels] if patients is None else [labels, patients]
    if features.dtype.kind not in "fiu" or any(array.dtype.kind not in "iu" for array in whole):
        raise MedFabricError(
            Code.DATA_VALUE, f"{path}: features are numbers, labels and patients integers"
        )
    values = features.astype(np.float32 if features.dtype == np.float32 else np.float64)
    return Raw(
        values,
        labels.astype(np.int64),
        None if patients is None else patients.astype(np.int64),
    )
