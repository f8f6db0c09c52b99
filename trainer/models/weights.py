"""Model files: the safetensors format, written canonically, read by our own checked parser.

Parameters are float32, concatenated in the order of the layout; names and
shapes are in the header. Behind them stands what the plan's strategy carries from round to round,
of the parameters that the plan trains alone.
A file holds numbers alone: nothing in it can execute. The SHA-256 of the file is the model's
address on the ledger.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms
from trainer import strategies
from trainer.models.registry import Layout, size

_LENGTH = struct.Struct("<Q")


def encode(
    parameters: NDArray[np.float32],
    shapes: Layout,
    state: Mapping[str, NDArray[np.float32]] | None = None,
) -> bytes:
    """The file of these parameters: the same bytes on every machine.

    Args:
        parameters: ``float32[n]``, all finite, n the layout's size.
        state: of the plan's strategy, by slot: ``float32[m]`` each, all finite; m those of the
            parameters that the plan trains.
    """
    state = state or {}
    slots = sorted(state)
    trained = len(state[slots[0]]) if slots else 0
    arrays = [parameters, *(state[slot] for slot in slots)]
    for array, number in zip(arrays, [size(shapes), *(trained for _ in slots)], strict=True):
        if array.dtype != np.float32 or array.shape != (number,):
            raise ValueError("parameters are float32, as many as the layout has")
        if not np.isfinite(array).all():
            raise MedFabricError(
                Code.MODEL_FILE, "a parameter is not finite; the model is no model"
            )
    return _header(shapes, slots, trained) + b"".join(a.astype("<f4").tobytes() for a in arrays)


def decode(
    content: bytes, shapes: Layout, slots: Sequence[str] = (), trained: int | None = None
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Read a file of this layout.

    Args:
        slots: of the plan's strategy; a file without any begins with zeros.
        trained: parameters that the plan trains; all, where not said.

    Returns:
        Parameters ``float32[n]``, and the state by slot, ``float32[trained]`` each.

    Raises:
        MedFabricError: ``MODEL_FILE`` where it is not exactly what :func:`encode` writes.
    """
    number = size(shapes)
    trained = number if trained is None else trained
    # One layout has one header: comparing it needs no parser for a stranger's bytes.
    for names in (sorted(slots), []):
        header = _header(shapes, names, trained)
        if content.startswith(header):
            break
    else:
        raise _bad("its header is not that of this architecture")
    if len(content) != len(header) + 4 * (number + trained * len(names)):
        raise _bad("its length is not that of this architecture")
    values = np.frombuffer(content, dtype="<f4", offset=len(header)).astype(np.float32)
    if not np.isfinite(values).all():
        raise _bad("a parameter is not finite")
    carried = values[number:].reshape(len(names), trained)
    state = {slot: np.zeros(trained, np.float32) for slot in slots}
    return values[:number], state | dict(zip(names, carried, strict=True))


def decode_of(
    terms: PlanTerms, content: bytes, shapes: Layout
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """Read a file of a plan's model, as :func:`decode` does."""
    slots = strategies.find(terms.training.strategy).slots
    return decode(content, shapes, slots, terms.trained_parameters)


def _header(shapes: Layout, slots: Sequence[str], trained: int) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "medfabric-1"}}
    place = 0
    for name, shape in shapes:
        end = place + 4 * size(((name, shape),))
        entries[name] = {"data_offsets": [place, end], "dtype": "F32", "shape": list(shape)}
        place = end
    for slot in slots:
        end = place + 4 * trained
        entries[f"server.{slot}"] = {
            "data_offsets": [place, end],
            "dtype": "F32",
            "shape": [trained],
        }
        place = end
    header = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    # Readers map the file: the data begins at a multiple of 8.
    header += b" " * (-len(header) % 8)
    return _LENGTH.pack(len(header)) + header


def _bad(why: str) -> MedFabricError:
    return MedFabricError(
        Code.MODEL_FILE, f"not a model file of this architecture: {why}; fetch it again"
    )
