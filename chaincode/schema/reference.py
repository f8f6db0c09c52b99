"""Reference documentation, made from the tables that the contracts run by.

``python -m chaincode.schema.reference docs/reference`` writes it again.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from chaincode.schema import base, states
from chaincode.schema.declaration import Declaration
from chaincode.schema.transactions import ANYONE, TRANSACTIONS

Schema = Mapping[str, Any]

_MADE = "<!-- Made by `python -m chaincode.schema.reference docs/reference`. -->\n"

_PLAIN = {
    "Id": (base.Id, "lower-case letters, digits and dashes, at most 63"),
    "MspId": (base.MspId, "a hospital's MSP identifier"),
    "Sha256": (base.Sha256, "64 lower-case hexadecimal digits"),
    "Cid": (base.Cid, "where the content store keeps the content"),
    "Name": (base.Name, "text without control characters, at most 128"),
    "Reason": (base.Reason, "text, at most 512 characters, may be empty"),
    "Micro": (base.Micro, "a number that is not negative, in units of 0.000001"),
    "Nano": (base.Nano, "a number from 0 to 1 in units of 0.000000001"),
    "Seconds": (base.Seconds, "whole seconds; a point in time counts from 1970 in UTC"),
    "Count": (base.Count, "a whole number that is not negative"),
}
_NAMED = [(TypeAdapter(kind).json_schema(), name) for name, (kind, _) in _PLAIN.items()]
_LIMITS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "minLength", "maxLength")
_SIGNS = ("at least", "more than", "at most", "less than", "length at least", "length at most")

_MACHINES: tuple[tuple[str, str, Mapping[str, frozenset[StrEnum]]], ...] = (
    ("Consortium", "`consortium:Found`, then the votes of all founders.", states.CONSORTIUM),
    ("Motion", "A proposal, votes; `consortium:Advance` draws the conclusion.", states.MOTION),
    (
        "Hospital",
        "`consortium:ProposeHospital`, votes; then `consortium:Leave`, or votes to expel it.",
        states.HOSPITAL,
    ),
    ("Node", "`node:Register`; its own hospital, or the node itself, moves it.", states.NODE),
    ("Plan", "`plan:Propose`, votes, the key ceremony, rounds.", states.PLAN),
    (
        "Key ceremony",
        "Opened by the approval of a plan; `ceremony:Advance` moves it.",
        states.CEREMONY,
    ),
    ("Round", "`round:Open`; `round:Advance` moves it.", states.ROUND),
    (
        "Group test",
        "Drawn as a round of a plan that allows it is decrypted; `grouptest:Advance` moves it.",
        states.GROUP_TEST,
    ),
    (
        "Model",
        "Published by a round; `model:Deprecate`; recalled by vote, or as a recalled one's child.",
        states.MODEL,
    ),
    ("Grant", "`sharing:Grant`; `sharing:Revoke`, and granted again.", states.GRANT),
    (
        "Challenge",
        "`storage:Challenge`; answered by the holder, checked by others, `storage:Conclude`.",
        states.CHALLENGE,
    ),
    ("Complaint", "`complaint:Open`, then votes.", states.COMPLAINT),
    ("Classifier", "`classifier:Propose`, then votes.", states.CLASSIFIER),
    (
        "Study",
        "`study:Propose`, votes; `study:Sum` by the holder, otherwise `study:Advance` moves it.",
        states.STUDY,
    ),
)


def transactions_page(table: Mapping[str, Declaration] = TRANSACTIONS) -> str:
    """Every transaction, and every type that its arguments and results are made of."""
    types: dict[str, Schema] = {}
    arguments = {row.name: _schema(row.args, types) for row in table.values()}
    for row in table.values():
        types[row.result.__name__] = _schema(row.result, types)
    lines = [
        _MADE,
        "# Transactions",
        "",
        "A proposal has two arguments: the transaction's name and one JSON object. The result is",
        "canonical JSON: sorted keys, no spaces, UTF-8. Numbers are whole; unknown fields are",
        "refused, and one that is empty, false or 0 by default is left out where it is so. A",
        "refusal starts with a code ([failures](../failures.md)) and writes nothing.",
        "*Submit* sends a transaction to be ordered; *evaluate* asks one peer.",
        "`org.hyperledger.fabric:GetMetadata`, without an argument, answers all this as Fabric's",
        "contract metadata.",
        "",
        "| Transaction | | Roles | What it does |",
        "|---|---|---|---|",
        *(_line(row) for row in table.values()),
    ]
    for row in table.values():
        lines += ["", *_transaction(row, arguments[row.name])]
    lines += ["", "# Types", "", "| Plain type | |", "|---|---|"]
    lines += [f"| {name} | {meaning} |" for name, (_, meaning) in _PLAIN.items()]
    for name in sorted(types):
        lines += ["", f"## {name}", *_body(types[name])]
    return "\n".join(lines) + "\n"


def states_page() -> str:
    """The state machines as diagrams."""
    lines = [
        _MADE,
        "# States",
        "",
        "The only moves there are: the contracts refuse every other one with MF-1013.",
    ]
    for name, how, table in _MACHINES:
        lines += ["", f"## {name}", "", how, "", "```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {state}" for state in states.first(table)]
        for state, targets in table.items():
            lines += [f"    {state} --> {to}" for to in table if to in targets]
            lines += [] if targets else [f"    {state} --> [*]"]
        lines += ["```"]
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "transactions.md": transactions_page,
    "states.md": states_page,
}


def _line(row: Declaration) -> str:
    link = f"[{row.name}](#{row.name.replace(':', '').lower()})"
    return f"| {link} | {_how(row)} | {_roles(row)} | {row.summary} |"


def _transaction(row: Declaration, args: Schema) -> Iterator[str]:
    yield f"## {row.name}"
    yield ""
    yield f"{row.summary} Roles: {_roles(row)}. {_how(row).capitalize()}."
    yield from _body(args)
    yield ""
    yield f"Result: {_link(row.result.__name__)}"


def _how(row: Declaration) -> str:
    return "submit" if row.writes else "evaluate"


def _roles(row: Declaration) -> str:
    return "any" if row.roles in (ANYONE, frozenset()) else ", ".join(sorted(row.roles))


def _schema(model: type[BaseModel], types: dict[str, Schema]) -> Schema:
    """A model's schema; those of all that it holds are added to ``types`` by name."""
    schema = model.model_json_schema(ref_template="{model}")
    types.update(schema.pop("$defs", {}))
    return schema


def _body(schema: Schema) -> Iterator[str]:
    if text := schema.get("description"):
        yield ""
        yield _prose(text)
    if values := schema.get("enum"):
        yield ""
        yield "One of " + ", ".join(f"`{value}`" for value in values) + "."
    if parts := schema.get("prefixItems"):
        yield ""
        yield (
            "A list: "
            + ", ".join(f"{part['title'].lower()} ({_kind(part)})" for part in parts)
            + "."
        )
    if fields := schema.get("properties"):
        yield ""
        yield "| Field | Type | |"
        yield "|---|---|---|"
        for name, field in fields.items():
            yield f"| `{name}` | {_kind(field)} | {_default(name, field, schema)} |"


def _default(name: str, field: Schema, schema: Schema) -> str:
    if name in schema.get("required", ()):
        return ""
    return f"else `{json.dumps(field.get('default'))}`"


def _prose(text: str) -> str:
    plain = re.sub(r":\w+:`([^`]*)`", r"`\1`", text)
    return " ".join(plain.replace("``", "`").split())


def _kind(field: Schema) -> str:
    """A field's type in words."""
    if "$ref" in field:
        return _link(field["$ref"])
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"])
    if "const" in field or "enum" in field:
        values = field.get("enum") or [field["const"]]
        return "one of " + ", ".join(f"`{value}`" for value in values)
    bare = {k: v for k, v in field.items() if k not in ("title", "description", "default")}
    return next((name for schema, name in _NAMED if schema == bare), None) or _simple(bare)


def _simple(field: Schema) -> str:
    kind = field.get("type")
    if kind == "array":
        least, most = field.get("minItems"), field.get("maxItems")
        span = f" ({least} to {most} of them)" if most is not None else ""
        return f"list of {_kind(field['items'])}{span}"
    if kind == "object":
        # Keys of a pattern are told by it.
        (values,) = field.get("patternProperties", {}).values() or [field["additionalProperties"]]
        return f"map of text to {_kind(values)}"
    limits = [
        f"{sign} {field[limit]}"
        for limit, sign in zip(_LIMITS, _SIGNS, strict=True)
        if limit in field
    ]
    if pattern := field.get("pattern"):
        limits.append(f"`{pattern}`")
    return ", ".join([str(kind), *limits])


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def main(folder: Path) -> None:
    """Write every page into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
