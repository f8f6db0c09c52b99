"""Assets as they are stored: what the key says, the value does not say again.

Every round writes these kinds for every node or stage, and whatever is written stays in the blocks
for good.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from chaincode.schema import canonical
from chaincode.schema.keys import Key

IN_KEY: Mapping[str, tuple[str, ...]] = {
    "plan": ("plan_id",),
    "account": ("dataset_id",),
    "round": ("plan_id", "number"),
    "cohort": ("plan_id", "number", "page"),
    "contributions": ("plan_id", "number", "page"),
    "update": ("plan_id", "round", "msp_id", "node_id"),
    "decline": ("plan_id", "round", "msp_id", "node_id"),
    "attestation": ("plan_id", "round", "dropped", "msp_id"),
    "share": ("plan_id", "round", "attempt", "msp_id"),
    "evaluation": ("plan_id", "round", "attempt", "msp_id"),
}
"""By kind of asset, the fields that the parts of its key are, in order."""
_NUMBERS = frozenset({"number", "page", "round", "dropped", "attempt"})


def value(key: Key, asset: BaseModel) -> bytes:
    """What is written at the key.

    Raises:
        TypeError: as :func:`chaincode.schema.canonical.dumps`.
    """
    return canonical.brief(asset, without=IN_KEY.get(key[0], ()))


def whole(key: Key, value: bytes) -> bytes:
    """The asset's JSON, from a key and what is written there."""
    kind, parts = key
    if kind not in IN_KEY:
        return value
    named = zip(IN_KEY[kind], parts, strict=True)
    said = {name: int(part) if name in _NUMBERS else part for name, part in named}
    rest = value.removeprefix(b"{")
    return canonical.dumps(said).removesuffix(b"}") + (b"" if rest == b"}" else b",") + rest
