"""Records in a NumPy archive: arrays ``features``, ``labels`` and, where known, ``patients``."""

from __future__ import annotations

import zipfile
import zlib

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.data.raw import Raw, numbered, whose
from trainer.data.sealed import Readable
from trainer.data.split import part_named

_BAD_ARCHIVE = (zipfile.BadZipFile, zlib.error, NotImplementedError)


def read(path: Readable, split_column: str | None = None) -> Raw:
    """Read an ``.npz`` file; nothing in it is executed.

    Args:
        split_column: the array of text that says which part a record is in.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            features, labels = arrays["features"], arrays["labels"]
            patients = arrays.get("patients")
            parts = None if split_column is None else arrays[split_column]
    except (ValueError, TypeError, KeyError, EOFError, *_BAD_ARCHIVE) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"{path} needs arrays 'features' and 'labels': {error}"
        ) from None
    known = patients is None or patients.dtype.kind in "iuU"
    if features.dtype.kind not in "fiu" or labels.dtype.kind not in "iu" or not known:
        raise MedFabricError(
            Code.DATA_VALUE,
            f"{path}: features are numbers, labels integers, patients integers or text",
        )
    if patients is not None:
        patients = whose(patients) if patients.dtype.kind == "U" else patients.astype(np.int64)
    return Raw(
        features.astype(np.float32 if features.dtype == np.float32 else np.float64),
        labels.astype(np.int64),
        numbered(labels.size),
        patients,
        None if parts is None else _parts(path, parts),
    )


def _parts(path: Readable, names: NDArray[np.str_]) -> NDArray[np.int8]:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise MedFabricError(Code.DATA_VALUE, f"{path}: the parts are an array of text")
    places = numbered(names.size)
    found = [part_named(path, place, str(name)) for place, name in zip(places, names, strict=True)]
    return np.array(found, dtype=np.int8)
