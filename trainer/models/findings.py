"""What keeps a model from being trained here, layer by layer, and what to put instead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """``layer``: the path of a layer or a parameter within the model, ``(model)`` for the whole.
    ``refused``: training with it is; otherwise it is said for the author to know."""

    layer: str
    kind: str
    problem: str
    instead: str
    refused: bool = True


WHOLE = "(model)"
