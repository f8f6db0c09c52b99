"""Native processes that outlive the command that starts them.

A process is known by its name; its id and start time lie in ``run/NAME.json``, so that a recycled
process id is never taken for it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaincode.schema.errors import Code, MedFabricError

_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Spec:
    """How a process is started. Secrets are in files, never in ``command`` or ``environment``."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


class Processes:
    """The processes of one consortium's folder.

    Args:
        run: where process ids are kept.
        logs: where output goes, one file per process, appended.
    """

    def __init__(self, run: Path, logs: Path) -> None:
        self._run = run
        self._logs = logs

    def start(self, spec: Spec) -> None:
        """Start a process in a session of its own, unless it runs already."""
        if self.pid(spec.name) is not None:
            return
        self._logs.mkdir(parents=True, exist_ok=True)
        with self.log(spec.name).open("ab") as log:
            process = subprocess.Popen(
                spec.command,
                cwd=spec.folder,
                env={**_base_environment(), **spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Some write keys, all write data, and not all mind who may read it.
                umask=0o077,
            )
        # Told not to wait: the process is looked after by its recorded id alone.
        process.returncode = 0
        self.adopt(spec.name, process.pid)

    def adopt(self, name: str, pid: int) -> None:
        """Look after a process that was started otherwise."""
        self._run.mkdir(parents=True, exist_ok=True)
        record = json.dumps({"pid": pid, "started": _start_time(pid)})
        self._file(name).write_text(record)

    def pid(self, name: str) -> int | None:
        """The id of the running process, or None."""
        try:
            record = json.loads(self._file(name).read_text())
            pid, started = int(record["pid"]), int(record["started"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        _reap(pid)
        return pid if _start_time(pid) == started else None

    def memory_kb(self, name: str) -> int:
        """Proportional share of memory that the process uses, 0 if it does not run."""
        pid = self.pid(name)
        return 0 if pid is None else proportional_memory_kb(pid)

    def stop(self, *names: str) -> None:
        """End processes gently, after ten seconds by force. All are told before any is waited
        for."""
        for name in names:
            self.signal(name, signal.SIGTERM)
        for name in names:
            if not self._gone(name, _STOP_SECONDS):
                self.kill(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process, if it runs."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, number)

    def kill(self, name: str) -> None:
        """End a process at once, as a crash would."""
        pid = self.pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._gone(name, _STOP_SECONDS)

    def log(self, name: str) -> Path:
        """The file with the process's output."""
        return self._logs / f"{name}.log"

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of its output."""
        path = self.log(name)
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def require_running(self, name: str) -> None:
        """Raises ``NOT_HEALTHY`` with the end of the log where the process has ended."""
        if self.pid(name) is None:
            said = self._last_words(name)
            why = f"its log closes with:\n{said}" if said.strip() else "it said nothing: killed?"
            raise MedFabricError(Code.NOT_HEALTHY, f"{name} has ended; {why}")

    def _last_words(self, name: str) -> str:
        """The end of its output, of a Go program that panicked without the stacks."""
        lines = self.tail(name, 200).splitlines()
        panics = [n for n, line in enumerate(lines, 1) if line.startswith("panic: ")]
        return "\n".join(lines[: panics[-1] if panics else None][-15:])

    def _file(self, name: str) -> Path:
        return self._run / f"{name}.json"

    def _gone(self, name: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid(name) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def proportional_memory_kb(pid: int) -> int:
    """Memory of a process with shared pages divided among their users (Linux's PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _reap(pid: int) -> None:
    # A child of this very process stays a zombie until it is waited for.
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def _start_time(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return None
    # While other threads are still ending, a zombie holds its ports.
    return None if fields[0] == "Z" and threads <= 1 else int(fields[19])


def _base_environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return {name: os.environ[name] for name in kept if name in os.environ}
