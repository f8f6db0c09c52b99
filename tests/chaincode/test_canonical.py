"""The bytes that the ledger holds."""

from __future__ import annotations

from typing import Literal

from support.scenario import at

from chaincode.schema import canonical
from chaincode.schema.base import Language
from chaincode.shim.stub import composite_key


class Part(Language):
    kind: Literal["a"] = "a"
    many: tuple[int, ...] = ()


class Whole(Language):
    needed: int | None
    parts: tuple[Part, ...]
    named: dict[str, Part]
    factor: int = 1000
    flagged: bool = False
    said: str = ""
    none: int | None = None


def test_what_is_empty_by_default_is_left_out_and_nothing_else():
    whole = Whole(needed=None, parts=(Part(), Part(many=(1,))), named={"x": Part()})

    written = canonical.brief(whole)

    left = b'{"factor":1000,"named":{"x":{"kind":"a"}},"needed":null'
    assert written == left + b',"parts":[{"kind":"a"},{"kind":"a","many":[1]}]}'
    assert Whole.model_validate_json(written) == whole
    told = whole.model_copy(update={"factor": 0, "flagged": True, "said": "x", "none": 0})
    assert Whole.model_validate_json(canonical.brief(told)) == told


def test_no_asset_says_what_its_reader_takes_for_granted():
    round_ = at("published").ledger.state[composite_key("round", ("plan-1", "00001"))]

    assert not [empty for empty in (b"null", b"[]", b'""', b"false") if empty in round_]
