"""Records read from a hospital's own files: CSV, NumPy, a folder of images or of recordings."""

from __future__ import annotations

import csv

import numpy as np

from chaincode.schema.data import Category, DataTerms, problem
from chaincode.schema.errors import Code, MedFabricError
from trainer.data.inputs import Values, inputs
from trainer.data.raw import Raw, wrong_value
from trainer.data.records import Records
from trainer.data.sealed import Readable, size

FILE_LIMIT = 4 * 1024**3
"""Bytes of a records file."""


def read(path: Readable, terms: DataTerms) -> Records:
    """All records, as models take them.

    Raises:
        MedFabricError: as :func:`load`.
    """
    raw = load(path, terms)
    return Records(inputs(raw, terms), raw.labels, raw.patients)


def load(path: Readable, terms: DataTerms, split_column: str | None = None) -> Raw:
    """The records as they are in a ``.csv`` or ``.npz`` file, in a folder with one folder of images
    per class, or in one of recordings.

    Args:
        split_column: the column (of an archive, the array) that says which part a record is in.

    Raises:
        MedFabricError: ``DATA_FILE``, ``DATA_MISMATCH`` or ``DATA_VALUE``, naming file, row and
            column.
    """
    if wrong := problem(terms):
        raise MedFabricError(Code.DATA_MISMATCH, f"{wrong}; amend the plan")
    try:
        if path.is_file() and size(path) > FILE_LIMIT:
            raise MedFabricError(Code.DATA_FILE, f"{path} is larger than {FILE_LIMIT} bytes")
        raw = _raw(path, terms, split_column)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        where, why = path, str(error)
        if isinstance(error, OSError) and error.strerror:
            where, why = error.filename or path, error.strerror
        raise MedFabricError(
            Code.DATA_FILE, f"cannot read {where}: {why}; name a readable file of the plan's kind"
        ) from None
    return checked(path, raw, terms)


def checked(path: Readable, raw: Raw, terms: DataTerms) -> Raw:
    """Records that came from a file, if they are such as the plan describes.

    Raises:
        MedFabricError: ``DATA_MISMATCH`` or ``DATA_VALUE``, naming file, row and column.
    """
    _check_shape(path, raw, terms)
    _check_labels(path, raw, terms)
    if terms.features:
        _check_columns(path, raw, terms)
    else:
        _check_arrays(path, raw)
    return raw


def _raw(path: Readable, terms: DataTerms, split_column: str | None) -> Raw:
    if path.is_dir():
        if terms.tensor is not None and terms.tensor.recording is not None:
            from trainer.data import recordings

            return recordings.read(path, terms, split_column)
        from trainer.data import images

        return images.read(path, terms, split_column)
    if path.suffix == ".npz":
        from trainer.data import arrays

        return arrays.read(path, split_column)
    from trainer.data import tables

    return tables.read(path, terms, split_column)


def _check_shape(path: Readable, raw: Raw, terms: DataTerms) -> None:
    number = raw.labels.size
    if not number:
        raise MedFabricError(Code.DATA_MISMATCH, f"{path} has no records")
    if raw.labels.ndim != 1 or raw.values.shape[:1] != (number,):
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{path}: not one label for every record; records have the shape {raw.values.shape}, "
            f"labels {raw.labels.shape}",
        )
    shape = (len(terms.features),) if terms.features else terms.shape
    if raw.values.shape[1:] != shape:
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{path}: records have the shape {raw.values.shape[1:]}, the plan's {shape}",
        )
    if terms.patient is not None and raw.patients is None:
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{path} has no array 'patients'; the plan asks whose each record is",
        )
    for what, each in (("patient", raw.patients), ("part", raw.parts)):
        if each is not None and each.shape != (number,):
            raise MedFabricError(Code.DATA_MISMATCH, f"{path}: not one {what} for every record")


def _check_labels(path: Readable, raw: Raw, terms: DataTerms) -> None:
    wrong = np.flatnonzero((raw.labels < 0) | (raw.labels >= len(terms.classes)))
    if wrong.size:
        raise wrong_value(path, raw.places[wrong[0]], "the label is none of the plan's classes")


def _check_columns(path: Readable, raw: Raw, terms: DataTerms) -> None:
    for column, values in zip(terms.features, raw.values.T, strict=True):
        if isinstance(column, Category):
            usable = np.isin(values, np.arange(len(column.codes)))
            what = "is missing or none of the plan's codes"
        else:
            usable = np.isfinite(values)
            what = "is missing or not a finite number"
        wrong = np.flatnonzero(~(usable | np.isnan(values)) if column.may_lack else ~usable)
        if wrong.size:
            raise wrong_value(path, raw.places[wrong[0]], f"column {column.name!r} {what}")


def _check_arrays(path: Readable, raw: Raw) -> None:
    row = _first_not_finite(raw.values)
    if row is not None:
        at = tuple(map(int, np.argwhere(~np.isfinite(raw.values[row]))[0]))
        raise wrong_value(path, raw.places[row], f"the value at {at} is not finite")


def _first_not_finite(values: Values) -> int | None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    return int(bad[0]) if bad.size else None
