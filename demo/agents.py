"""The hospitals' agents: one process each, started and watched like any node's."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from network.processes import Processes, Spec
from trainer.report.resources import journal


class Agents:
    """Agent processes of a demonstration.

    Args:
        folder: of the run; homes, configurations and logs lie below.
    """

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder
        self._processes = processes
        self.names: list[str] = []

    def add(self, slug: str, config: dict[str, Any]) -> None:
        """Write a node's configuration."""
        home = self.home(slug)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (home / "node.json").write_text(json.dumps({**config, "home": "state"}, indent=1))
        self.names.append(slug)

    def start(self) -> None:
        """Start every agent that does not run."""
        for slug in self.names:
            self._processes.start(self._spec(slug))

    def restart(self, slug: str) -> None:
        """Start one again."""
        self._processes.start(self._spec(slug))

    def kill(self, slug: str) -> None:
        """End one as a crash would."""
        self._processes.kill(f"{slug}.agent")

    def stop(self) -> None:
        """End all."""
        self._processes.stop(*(f"{slug}.agent" for slug in self.names))

    def check(self) -> None:
        """Raise where an agent has ended by itself."""
        for slug in self.names:
            self._processes.require_running(f"{slug}.agent")

    def memory_kb(self) -> int:
        """Memory of all agents."""
        return sum(self._processes.memory_kb(f"{slug}.agent") for slug in self.names)

    def home(self, slug: str) -> Path:
        """The node's folder."""
        return self._folder / "nodes" / slug

    def journal(self, slug: str) -> Iterator[dict[str, Any]]:
        """What a node wrote down of its duties."""
        yield from journal(self.home(slug) / "state")

    def _spec(self, slug: str) -> Spec:
        command = [sys.executable, "-m", "client.cli", "node", "run", "node.json"]
        # Applications and architectures of other packages may lie there.
        packages = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        return Spec(f"{slug}.agent", command, packages, self.home(slug))
