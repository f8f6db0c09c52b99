"""Every command that the documentation names is there, with the options that it is given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from client.cli.main import cli
from client.cli.options import aggregation
from client.drafting import Aggregation

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


def _all(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    yield context.command_path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _all(below, click.Context(below, parent=context, info_name=name))


def test_every_command_says_what_it_does_and_what_its_options_are() -> None:
    unsaid = []
    for path, command in _all(cli, click.Context(cli, info_name="medfabric")):
        options = [one for one in command.params if isinstance(one, click.Option)]
        unsaid += [] if command.help else [path]
        unsaid += [f"{path} {one.opts[0]}" for one in options if not one.help]
        names = {name for one in options for name in one.opts}
        if not isinstance(command, click.Group) and path != "medfabric node run":
            unsaid += [] if "--json" in names else [f"{path} --json"]

    assert unsaid == []


def test_help_s_examples_are_there() -> None:
    lines = str(cli.epilog).splitlines()
    typed = [line.strip() for line in lines if line.startswith("  medfabric ")]

    assert len(typed) >= 5
    assert {one: _problem(one.removeprefix("medfabric "), True) for one in typed} == dict.fromkeys(
        typed
    )


def test_the_choices_of_aggregation_are_those_that_a_draft_takes() -> None:
    @click.command()
    @aggregation
    def plan() -> None: ...

    (choice,) = plan.params
    assert isinstance(choice.type, click.Choice)
    assert set(choice.type.choices) == set(Aggregation)


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
