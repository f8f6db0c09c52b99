"""Simulated chips, each made once, and a kernel's files around them."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from trainer.enclave.simulated import CHIP, TCB, SimulatedChip

__all__ = ["CHIP", "MEASURED", "TCB", "Kernel", "SimulatedChip", "chip"]

MEASURED = bytes(range(48))
_OVER = b"over"


@lru_cache(maxsize=4)
def chip(name: str = "chip") -> SimulatedChip:
    """A chip with a chain of its own."""
    return SimulatedChip.make(name)


def _signed(report_data: bytes) -> bytes:
    return chip().report(report_data, MEASURED)


@dataclass
class Kernel:
    """Answers requests in a folder by named pipes, as Linux answers those for reports.

    Args:
        answer: the report on what was written.
        meddled: how often somebody else writes to a request, by request.
    """

    folder: Path
    answer: Callable[[bytes], bytes] = _signed
    provider: str = "sev_guest"
    meddled: tuple[int, ...] = ()
    asked: list[bytes] = field(default_factory=list)

    @contextmanager
    def request(self) -> Iterator[Path]:
        """A request that the kernel has made the files of, and answers once."""
        request = self.folder / str(len(list(self.folder.iterdir())))
        request.mkdir()
        (request / "provider").write_text(f"{self.provider}\n")
        (request / "generation").write_text("6\n")
        os.mkfifo(request / "inblob")
        os.mkfifo(request / "outblob")
        written = os.open(request / "inblob", os.O_RDWR)
        answering = threading.Thread(target=self._answer, args=(request, written), daemon=True)
        answering.start()
        try:
            yield request
        finally:
            # Where nothing was written, the thread is waiting for it.
            os.write(written, _OVER)
            answering.join(10)
            os.close(written)
            shutil.rmtree(request)

    def _answer(self, request: Path, written: int) -> None:
        report_data = os.read(written, 4096)
        if report_data == _OVER:
            return
        turn = len(self.asked)
        others = self.meddled[turn] if turn < len(self.meddled) else 0
        self.asked.append(report_data)
        (request / "generation").write_text(f"{7 + others}\n")
        (request / "outblob").write_bytes(self.answer(report_data))
