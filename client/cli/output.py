"""What every command shares: results as text or JSON, errors, and exit codes.

Light on purpose: nothing here imports pydantic, grpc or cryptography.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from itertools import zip_longest
from typing import Any, TypeVar

import click

from chaincode.schema.errors import Code, MedFabricError

Command = TypeVar("Command", bound=Callable[..., Any])

_JSON = "medfabric.json"


class Exit(IntEnum):
    """Exit codes, one per kind of failure. Scripts may rely on them."""

    OK = 0
    BUG = 1
    """An error that MedFabric did not foresee; the trace is printed."""
    USAGE = 2
    """The command line itself is wrong."""
    REFUSED = 3
    """The channel or its contracts refused: identity, rights, state, budget, terms."""
    UNREACHABLE = 4
    """A peer, an orderer or a content store did not answer, or not in time."""
    UNVERIFIED = 5
    """A proof failed: audit, content hash, certificate."""
    MISSING = 6
    """Something that must be installed first is not."""
    DATA = 7
    """A file, an identity, a configuration or data is unusable."""
    NETWORK = 8
    """A consortium's network could not be made or kept running."""
    INTERRUPTED = 130
    """Stopped from the keyboard."""


_BY_CODE: dict[str, Exit] = {
    Code.INTERNAL: Exit.BUG,
    Code.IDENTITY_REFUSED: Exit.REFUSED,
    Code.UNREACHABLE: Exit.UNREACHABLE,
    Code.EVALUATE_FAILED: Exit.UNREACHABLE,
    Code.ENDORSE_FAILED: Exit.UNREACHABLE,
    Code.SUBMIT_FAILED: Exit.UNREACHABLE,
    Code.STATUS_UNKNOWN: Exit.UNREACHABLE,
    Code.NOT_COMMITTED: Exit.REFUSED,
    Code.CONFIG_REFUSED: Exit.REFUSED,
    Code.EVENTS_BROKEN: Exit.UNREACHABLE,
    Code.CONTENT_MISSING: Exit.UNREACHABLE,
    Code.STORE_UNREACHABLE: Exit.UNREACHABLE,
    Code.CONTENT_TAMPERED: Exit.UNVERIFIED,
    Code.PRIVATE_RECORD_MISMATCH: Exit.UNVERIFIED,
    Code.TOOL_MISSING: Exit.MISSING,
    Code.BINARY_MISSING: Exit.MISSING,
    Code.BINARY_WRONG: Exit.MISSING,
}
# By the code's first two digits (MF-20xx is the consortium's), where no row above says otherwise.
_BY_RANGE = {
    **dict.fromkeys(("10", "20", "30", "35", "40", "50"), Exit.REFUSED),
    **dict.fromkeys(("60", "70", "90", "91", "92"), Exit.DATA),
    **dict.fromkeys(("75", "76"), Exit.UNVERIFIED),
    **dict.fromkeys(("15", "80", "81", "85"), Exit.NETWORK),
}


_ROOM = "make room on that disk and try again"
_RIGHTS = "name a place where this user may write, or have the rights given"
_FILES = "raise the limit of open files (ulimit -n)"
# What the machine itself denies a command, and what to do.
_MACHINE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}
# How fields end that hold a point in time; and from when to when one is shown as a date.
_TIMES = frozenset({"at", "until", "deadline", "opened"})
_SECONDS = range(10**9, 10**11)


def exit_code(error: MedFabricError) -> Exit:
    """The exit code for this kind of error."""
    return _BY_CODE.get(error.code) or _BY_RANGE.get(error.code[3:5], Exit.BUG)


def json_option(command: Command) -> Command:
    """Give a command ``--json`` (parameter ``as_json``); its errors are then JSON too."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> bool:
        ctx.meta[_JSON] = value
        return value

    option = click.option("--json", "as_json", is_flag=True, callback=remember, help="Print JSON.")
    return option(command)


def show(value: Any, *, as_json: bool = False) -> None:
    """Print a result on standard output: a model, mapping, sequence or plain value."""
    plain = _plain(value)
    if as_json:
        click.echo(json.dumps(plain, indent=2, ensure_ascii=False, default=str))
    else:
        click.echo("\n".join(_lines(plain)))


def show_each(values: Iterable[Any], *, as_json: bool = False) -> None:
    """Print dataclasses as they come, each on a line: in its own words, after the time of day; or
    as JSON."""
    for value in values:
        if as_json:
            line = json.dumps(dataclasses.asdict(value), ensure_ascii=False)
        else:
            line = f"{datetime.now(UTC):%H:%M:%SZ} {_word(value)}"
        click.echo(line)


def show_error(ctx: click.Context, error: MedFabricError) -> None:
    """Print an error on standard error, as JSON where the command was asked for JSON."""
    if ctx.meta.get(_JSON):
        fields = {"error": error.code, "message": error.message, "exit": int(exit_code(error))}
        click.echo(json.dumps(fields, ensure_ascii=False), err=True)
    else:
        click.echo(str(error), err=True)


def warn(words: str) -> None:
    """Say on standard error what the user must know besides the result."""
    click.echo(_word(words), err=True)


class Guarded(click.Group):
    """A group whose commands' errors become a line on standard error and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MedFabricError as error:
            show_error(ctx, error)
            ctx.exit(exit_code(error))
        except OSError as error:
            if error.errno not in _MACHINE:
                raise
            refused = _of_machine(error)
            show_error(ctx, refused)
            ctx.exit(exit_code(refused))
        except ValueError as error:
            wrong = _of_argument(error)
            if wrong is None:
                raise
            show_error(ctx, wrong)
            ctx.exit(exit_code(wrong))
        except KeyboardInterrupt:
            click.echo("stopped from the keyboard", err=True)
            ctx.exit(Exit.INTERRUPTED)


def _of_argument(error: ValueError) -> MedFabricError | None:
    """What an option said that the ledger's language has no room for; None for other errors."""
    # Where it was not imported, nothing of it was raised.
    core = sys.modules.get("pydantic_core")
    if core is None or not isinstance(error, core.ValidationError):
        return None
    from client.files import wrong_fields

    return MedFabricError(Code.BAD_ARGUMENT, f"{wrong_fields(error)}; see the command's --help")


def _of_machine(error: OSError) -> MedFabricError:
    where = f"{error.filename}: " if error.filename else ""
    todo = _MACHINE[error.errno or 0]
    return MedFabricError(Code.FILE_UNUSABLE, f"{where}{error.strerror}; {todo}")


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    return value


def _lines(value: Any, indent: str = "") -> list[str]:
    if isinstance(value, dict):
        return _fields(value, indent)
    if isinstance(value, list):
        return _items(value, indent)
    return [indent + _word(value)]


def _fields(value: dict[str, Any], indent: str) -> list[str]:
    width = max((len(key) for key in value), default=0)
    lines = []
    for key, inner in value.items():
        if isinstance(inner, dict | list) and inner:
            lines += [f"{indent}{key}:", *_lines(inner, indent + "  ")]
        else:
            lines.append(f"{indent}{key + ':':<{width + 1}} {_word(inner, key)}")
    return lines


def _items(value: list[Any], indent: str) -> list[str]:
    if value and all(_is_row(item) for item in value):
        return _table(value, indent)
    if value and all(isinstance(item, list) and _is_flat(item) for item in value):
        return _aligned([[_word(inner) for inner in item] for item in value], indent)
    lines = []
    for item in value:
        first, *rest = _lines(item, indent + "  ") or [indent + "  "]
        lines += [f"{indent}- {first[len(indent) + 2 :]}", *rest]
    return lines or [indent + "(none)"]


def _is_row(item: Any) -> bool:
    return isinstance(item, dict) and _is_flat(item.values()) and len(item) <= 8


def _is_flat(values: Collection[Any]) -> bool:
    return not any(isinstance(value, dict | list) for value in values)


def _table(rows: list[dict[str, Any]], indent: str) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_word(row.get(column), column) for column in columns] for row in rows)]
    return _aligned(cells, indent)


def _aligned(cells: list[list[str]], indent: str) -> list[str]:
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return [
        indent + "  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=False)).rstrip()
        for line in cells
    ]


def _word(value: Any, key: str = "") -> str:
    if value is None or value == [] or value == {}:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and value in _SECONDS and key.rpartition("_")[2] in _TIMES:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Others' words are on the ledger: they write no control sequences on our terminal.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
