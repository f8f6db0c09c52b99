"""The client's reference documentation, made from its docstrings.

``python -m client.reference docs/reference`` writes it again.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = "client.md"
_CHAPTERS = {
    "The ledger's transactions, typed": ("client.consortium", ("Consortium", "Events", "every")),
    "Who signs, and where to": (
        "client.identity client.signing client.connection",
        ("Identity", "Signer", "Connection", "Endpoint"),
    ),
    "Any chaincode": (
        "client.gateway",
        (
            "Gateway",
            "Policy",
            "Scope",
            "Endorsers",
            "Proposal",
            "Transaction",
            "Commit",
            "Status",
            "Committed",
        ),
    ),
    "Events": (
        "client.gateway client.following",
        (
            "ChaincodeEventsRequest",
            "ChaincodeEvents",
            "ChaincodeEvent",
            "BlockEventsRequest",
            "BlockEvents",
            "Form",
            "BlockFollower",
            "Checkpoint",
            "MemoryCheckpoint",
            "FileCheckpoint",
        ),
    ),
    "Errors": (
        "client.gateway",
        (
            "GatewayError",
            "EvaluateError",
            "EndorseError",
            "SubmitError",
            "CommitStatusError",
            "CommitError",
            "EventsError",
            "Detail",
        ),
    ),
    "Content": ("client.content", ("ContentStore", "DirectoryStore", "KuboStore")),
}
_SECTION = re.compile(r"(Args|Raises|Returns)( \(.*\))?:")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def client_page() -> str:
    """The page, as Markdown."""
    lines = [
        "<!-- Made by `python -m client.reference docs/reference`. -->",
        "",
        "# The client",
        "",
        "[How to use it](../how-to/use-the-client.md) shows all of it at work. Codes are those of "
        "[the catalogue of failures](../failures.md).",
        "",
    ]
    for title, (modules, names) in _CHAPTERS.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += _entry(*_find(modules.split(), name))
    return "\n".join(lines).rstrip() + "\n"


def main(folder: Path) -> None:
    """Write the page into a folder."""
    (folder / PAGE).write_text(client_page(), encoding="utf-8")


def _find(modules: list[str], name: str) -> tuple[str, Any]:
    for module in modules:
        found = getattr(importlib.import_module(module), name, None)
        if found is not None:
            return f"{module}.{name}", found
    raise LookupError(f"{name} is in none of {modules}")


def _entry(name: str, found: Any) -> Iterator[str]:
    yield from (f"### {name}", "")
    if inspect.isclass(found):
        yield from _block(_signature(found.__name__, found), inspect.getdoc(found))
        for member, value in _members(found):
            yield from (f"**`{member}`**", "")
            yield from _block(_signature(member, value), inspect.getdoc(value))
    else:
        yield from _block(_signature(found.__name__, found), inspect.getdoc(found))


def _members(owner: Any) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that have something to say, those of our own bases too."""
    seen = set()
    for base in owner.__mro__:
        if not base.__module__.startswith("client."):
            continue
        for name, value in vars(base).items():
            target = value.__func__ if isinstance(value, classmethod) else value
            told = isinstance(target, property) or inspect.isfunction(target)
            if told and not name.startswith("_") and name not in seen and inspect.getdoc(target):
                seen.add(name)
                yield name, target


def _signature(name: str, value: Any) -> str:
    if isinstance(value, property) or _is_plain(value):
        return ""
    text = re.sub(
        r"\((self|cls)(, )?", "(", str(inspect.signature(value)).replace("'", ""), count=1
    )
    return f"{name}{text}"


def _is_plain(value: Any) -> bool:
    """Enumerations, exceptions and interfaces are not made by calling them."""
    made = inspect.isclass(value)
    return made and (issubclass(value, Exception) or "__init__" not in _own_names(value))


def _own_names(value: Any) -> set[str]:
    return {
        name
        for base in value.__mro__
        if base.__module__.startswith("client.")
        for name in vars(base)
    }


def _block(signature: str, doc: str | None) -> Iterator[str]:
    if signature:
        yield from ("```python", signature, "```", "")
    if doc:
        text = _ROLE.sub(lambda role: f"`{role[1]}`", doc).replace("``", "`")
        yield from ("\n".join(_sections(text.splitlines())), "")


def _sections(lines: list[str]) -> Iterator[str]:
    """Sections of a docstring ("Raises:") as lists."""
    inside = False
    for line in lines:
        if _SECTION.fullmatch(line):
            inside = True
            yield from (line, "")
        elif inside and line.startswith(" " * 4):
            entry = line[4:]
            yield f"- {entry}" if not entry.startswith(" ") else f"  {entry.strip()}"
        else:
            inside = False
            yield line


if __name__ == "__main__":
    main(Path(sys.argv[1]))
