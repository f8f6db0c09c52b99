"""Records in folders of images: one folder per class, one PNG or JPEG file per record.

Whose an image is, where the plan asks, and which part it is in, where the node's configuration says
so, is in ``index.csv``: a row for each image, its name as ``CLASS/FILE`` in the column ``image``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.data import tables
from trainer.data.raw import Raw, whose
from trainer.data.sealed import Readable, entries
from trainer.data.split import part_named

INDEX = "index.csv"
_IMAGE = "image"
_KINDS = {1: "grey", 3: "colour"}
_MODES = {1: ("L", "1", "I;16", "I;16B", "I"), 3: ("RGB", "P")}
"""Of images that are read without a loss: grey ones of 16 bits have values up to 65535."""


def read(folder: Readable, terms: DataTerms, split_column: str | None = None) -> Raw:
    """Read every class's folder, files in order of their names.

    Raises:
        MedFabricError: ``DATA_MISMATCH`` where a class has no folder or a folder no class, or an
            image has another size or kind or is not in the index; ``DATA_FILE`` where a file is no
            image; naming the file.
    """
    if terms.tensor is None or len(terms.tensor.shape) != 3 or terms.shape[0] not in _MODES:
        raise MedFabricError(
            Code.DATA_MISMATCH, f"{folder}: the plan's records are no grey or coloured images"
        )
    for path in entries(folder):
        if path.is_dir() and path.name not in terms.classes:
            raise MedFabricError(
                Code.DATA_MISMATCH, f"{path} is none of the plan's classes; take it away"
            )
    images: list[NDArray[np.float32]] = []
    labels: list[int] = []
    places: list[str] = []
    for label, name in enumerate(terms.classes):
        if not (folder / name).is_dir():
            raise MedFabricError(Code.DATA_MISMATCH, f"{folder} has no folder {name!r}")
        for path in entries(folder / name):
            images.append(_image(path, terms.shape))
            labels.append(label)
            places.append(f"{name}/{path.name}")
    patients, parts = _index(folder, places, terms, split_column)
    return Raw(np.array(images), np.array(labels, dtype=np.int64), places, patients, parts)


def _index(
    folder: Readable, places: list[str], terms: DataTerms, split_column: str | None
) -> tuple[NDArray[np.int64] | None, NDArray[np.int8] | None]:
    """Whose each image is, and its part; None where nobody asks."""
    asked = [name for name in (terms.patient, split_column) if name is not None]
    if not asked:
        return None, None
    index = folder / INDEX
    if not index.is_file():
        raise MedFabricError(
            Code.DATA_MISMATCH,
            f"{folder} has no {INDEX}; its columns {_IMAGE!r} and {' and '.join(map(repr, asked))} "
            "say it of every image",
        )
    rows = {row[_IMAGE]: (place, row) for place, row in tables.rows(index, [_IMAGE, *asked])}
    if lacking := next((place for place in places if place not in rows), None):
        raise MedFabricError(Code.DATA_MISMATCH, f"{index} says nothing of {lacking}; add it")
    found = [rows[place] for place in places]
    patients = [tables.patient_of(index, place, row, terms) for place, row in found]
    parts = (
        [part_named(index, place, row[split_column]) for place, row in found]
        if split_column
        else []
    )
    return (
        whose(patients) if terms.patient else None,
        np.array(parts, dtype=np.int8) if split_column else None,
    )


def _image(path: Readable, shape: tuple[int, ...]) -> NDArray[np.float32]:
    from PIL import Image

    channels, height, width = shape
    try:
        with path.open("rb") as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            # The size is in the header: a picture that would fill the memory is not unpacked.
            if image.size != (width, height):
                raise MedFabricError(
                    Code.DATA_MISMATCH,
                    f"{path} is {image.size[0]} x {image.size[1]}, the plan's images "
                    f"{width} x {height}",
                )
            if image.mode not in _MODES[channels]:
                raise MedFabricError(
                    Code.DATA_MISMATCH,
                    f"{path} is of kind {image.mode}, the plan's images are {_KINDS[channels]}; "
                    "convert it",
                )
            whole = image.convert("RGB") if channels == 3 else image
            if image.mode == "1":
                whole = image.convert("L")
            pixels = np.asarray(whole, dtype=np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"{path} is no readable PNG or JPEG image ({type(error).__name__})"
        ) from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
