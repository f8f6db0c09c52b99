"""How every command ends that the machine or its user stops."""

from __future__ import annotations

import errno
import json

import pytest
from click.testing import CliRunner, Result

from chaincode.schema.errors import Code
from client.cli.output import Exit, Guarded, json_option


def ended_by(error: BaseException, *arguments: str) -> Result:
    group = Guarded("medfabric")

    @group.command()
    @json_option
    def work(as_json: bool) -> None:
        raise error

    return CliRunner().invoke(group, ["work", *arguments])


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "name a place where this user may write"),
        (errno.EACCES, "name a place where this user may write"),
        (errno.EMFILE, "raise the limit of open files"),
    ],
)
def test_what_the_machine_denies_is_told_with_what_to_do(number: int, words: str) -> None:
    done = ended_by(OSError(number, "denied", "/some/file"), "--json")

    told = json.loads(done.stderr)
    assert (done.exit_code, told["error"]) == (Exit.DATA, Code.FILE_UNUSABLE)
    assert "/some/file: denied" in told["message"]
    assert words in told["message"]


def test_an_error_that_nobody_foresaw_keeps_its_trace() -> None:
    unforeseen = OSError(errno.ENOTTY, "odd", "/some/file")

    done = ended_by(unforeseen)

    assert done.exit_code == Exit.BUG
    assert done.exception is unforeseen


def test_a_command_that_is_stopped_from_the_keyboard_says_so() -> None:
    done = ended_by(KeyboardInterrupt())

    assert done.exit_code == Exit.INTERRUPTED
    assert done.stderr == "stopped from the keyboard\n"
