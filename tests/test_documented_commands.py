"""Every command that the documentation names is there, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from client.cli.main import cli

_ROOT = Path(__file__).parents[1]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_PROMPT = re.compile(r"^\s*(?:\.venv/bin/)?medfabric (.+)$", re.MULTILINE)
_INLINE = re.compile(r"`medfabric ([^`]+)`")
_REDIRECTION = re.compile(r"\s>\s*\S+")


def _commands(page: Path) -> list[tuple[str, bool]]:
    """What is named on a page, and whether it is a whole command to be typed."""
    text = page.read_text().replace("\\\n", " ")
    typed = [(_REDIRECTION.sub("", found), True) for found in _PROMPT.findall(text)]
    return typed + [(found.replace("\n", " "), False) for found in _INLINE.findall(text)]


def _problem(command: str, whole: bool) -> str | None:
    words = shlex.split(command, comments=True)
    found: click.Command = cli
    context = click.Context(cli)
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        below = found.get_command(context, name)
        if below is None:
            return f"there is no {name}"
        found, context = below, click.Context(below, parent=context, info_name=name)
    options = [one for one in found.params if isinstance(one, click.Option)]
    known = {"--help", *(name for one in options for name in (*one.opts, *one.secondary_opts))}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    if given - known:
        return f"it takes no {', '.join(sorted(given - known))}"
    needed = [one for one in options if one.required and one.envvar is None]
    lacking = [one.opts[0] for one in needed if not given & {*one.opts, *one.secondary_opts}]
    return f"it lacks {', '.join(lacking)}" if whole and lacking and "--help" not in given else None


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_what_a_page_says_to_type_is_there(page: Path) -> None:
    problems = {command: _problem(command, whole) for command, whole in _commands(page)}

    assert {command: why for command, why in problems.items() if why} == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("admin charter", "no charter"),
        ("admin study fit draft.json --sigma 3", "no --sigma"),
        ("audit verify blocks", "lacks --genesis"),
    ],
)
def test_what_is_not_there_is_found(command: str, why: str) -> None:
    assert why in (_problem(command, True) or "")
