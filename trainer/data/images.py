"""Records in folders of images: one folder per class, one PNG or JPEG file per record."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.data import DataTerms
from chaincode.schema.errors import Code, MedFabricError
from trainer.data.raw import Raw
from trainer.data.sealed import Readable, entries

_MODES = {1: "L", 3: "RGB"}


def read(folder: Readable, terms: DataTerms) -> Raw:
    """Read every class's folder, files in order of their names.

    Raises:
        MedFabricError: ``DATA_MISMATCH`` where a class has no folder or an image has another size,
            ``DATA_FILE`` where a file is no image; naming the file.
    """
    if terms.tensor is None or len(terms.tensor.shape) != 3 or terms.shape[0] not in _MODES:
        raise MedFabricError(
            Code.DATA_MISMATCH, f"{folder}: the plan's records are no grey or coloured images"
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
    return Raw(np.array(images), np.array(labels, dtype=np.int64), places)


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
            pixels = np.asarray(image.convert(_MODES[channels]), dtype=np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MedFabricError(
            Code.DATA_FILE, f"{path} is no readable PNG or JPEG image ({type(error).__name__})"
        ) from None
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)
