"""Model files: the safetensors format, written canonically, read by our own checked parser.

Parameters are float32, concatenated in the order of the layout; names and
shapes are in the header. A file holds numbers alone: nothing in it can execute. The SHA-256 of
the file is the model's address on the ledger.
"""

from __future__ import annotations

import json
import struct

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from trainer.models.registry import Layout, size

_LENGTH = struct.Struct("<Q")


def encode(parameters: NDArray[np.float32], shapes: Layout) -> bytes:
    """The file of these parameters: the same bytes on every machine.

    Args:
        parameters: ``float32[n]``, all finite, n the layout's size.
    """
    if parameters.dtype != np.float32 or parameters.shape != (size(shapes),):
        raise ValueError("parameters are float32, as many as the layout has")
    if not np.isfinite(parameters).all():
        raise MedFabricError(Code.MODEL_FILE, "a parameter is not finite; the model is no model")
    return _header(shapes) + parameters.astype("<f4").tobytes()


def decode(content: bytes, shapes: Layout) -> NDArray[np.float32]:
    """Read a file of this layout.

    Returns:
        ``float32[n]``.

    Raises:
        MedFabricError: ``MODEL_FILE`` where it is not exactly what :func:`encode` writes.
    """
    header = _header(shapes)
    if len(content) != len(header) + 4 * size(shapes):
        raise _bad("its length is not that of this architecture")
    # One layout has one header: comparing it needs no parser for a stranger's bytes.
    if not content.startswith(header):
        raise _bad("its header is not that of this architecture")
    parameters = np.frombuffer(content, dtype="<f4", offset=len(header)).astype(np.float32)
    if not np.isfinite(parameters).all():
        raise _bad("a parameter is not finite")
    return parameters


def _header(shapes: Layout) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "medfabric-1"}}
    place = 0
    for name, shape in shapes:
        end = place + 4 * size(((name, shape),))
        entries[name] = {"data_offsets": [place, end], "dtype": "F32", "shape": list(shape)}
        place = end
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    # Readers map the file: the data begins at a multiple of 8.
    header += b" " * (-len(header) % 8)
    return _LENGTH.pack(len(header)) + header


def _bad(why: str) -> MedFabricError:
    return MedFabricError(
        Code.MODEL_FILE, f"not a model file of this architecture: {why}; fetch it again"
    )


def apply(base: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
    """The base model moved by the mean of the updates.

    Elementwise IEEE operations alone: every machine gets the same bytes.
    """
    return (base.astype(np.float64) + mean).astype(np.float32)
