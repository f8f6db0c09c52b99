"""A network's processes, agents and commands forked off one that has imported what they need, and
so the process in which the demonstration makes the base model.

Each is a process of its own, with its own folder, log and session, that is killed and restarted
like one started from nothing; only the seconds of importing torch and Lightning are spent once for
the whole test run. The demonstration's own tests start agents as users do.
"""

from __future__ import annotations

import gc
import logging
import os
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory
from unittest import mock

from client.cli import main
from demo import measure
from network import processes
from network.processes import Processes, Spec

_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        *("client.cli.main", "trainer.node.main", "trainer.node.learner"),
        *("chaincode.server", "chaincode.contracts", "network.devnet.server"),
    ]
)
_FORKED = ("agent", "chaincode", "devnet")
start_alone = Processes.start
"""As users do, forked or not: what an agent's own memory is measured or limited by."""


@contextmanager
def processes_forked() -> Iterator[None]:
    """Within, :class:`Processes` forks what is our own, and :func:`measure.apart` too."""
    with (
        mock.patch.object(Processes, "start", _start),
        mock.patch.object(measure, "apart", partial(measure.apart, context=_SERVER)),
    ):
        yield


def command(
    *words: str, folder: Path, environment: Mapping[str, str] | None = None, seconds: float = 120
) -> CompletedProcess[str]:
    """What ``medfabric`` answers to these words, in a process of its own in a folder."""
    with TemporaryDirectory() as told:
        out, errors = Path(told) / "out", Path(told) / "errors"
        process = _SERVER.Process(
            target=_command, args=(words, folder, dict(environment or {}), out, errors), daemon=True
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutExpired(words, seconds)
        return CompletedProcess(words, process.exitcode, out.read_text(), errors.read_text())


def _command(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, errors: Path
) -> None:
    os.chdir(folder)
    for descriptor, file in ((1, out), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    main.cli(list(words), prog_name="medfabric")


def _start(self: Processes, spec: Spec) -> None:
    if spec.name.rpartition(".")[2] not in _FORKED:
        start_alone(self, spec)
        return
    if self.pid(spec.name) is not None:
        return
    self.log(spec.name).parent.mkdir(parents=True, exist_ok=True)
    process = _SERVER.Process(
        target=_run,
        args=(list(spec.command), dict(spec.environment), spec.folder, self.log(spec.name)),
        daemon=True,
    )
    process.start()
    assert process.pid is not None
    self.adopt(spec.name, process.pid)


def _run(command: list[str], environment: dict[str, str], folder: Path, log: Path) -> None:
    """What the process would do that this command starts."""
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    for descriptor in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    # What was imported has set up logging in its own way.
    logging.getLogger().handlers.clear()
    os.environ.clear()
    os.environ.update({**processes._base_environment(), **environment})
    # What is there already is not looked through again and again for what could be given back.
    gc.freeze()
    match command[1:]:
        case ["-m", module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *arguments]:
            sys.argv = [script, *arguments]
            runpy.run_path(script, run_name="__main__")
