"""Threads that carry transactions out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

_IDLE_SECONDS = 5.0


Job = Callable[[], Callable[[], None]]
"""Returns what is left to do at once when the thread counts as free again: whoever learns of the
job's end may start another one."""


class Workers:
    """Threads made as they are needed and kept for a while, at most ``limit`` at once.

    A transaction that runs on after its time holds its thread, so that runaway transactions cannot
    take more of the machine than this.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0

    @property
    def busy(self) -> int:
        """How many are at work."""
        with self._lock:
            return self._threads - self._free

    def start(self, job: Job) -> bool:
        """Have a thread do it, now; False where none is free and none may be made.

        The job must not raise.
        """
        with self._lock:
            if not self._free and not self._more():
                return False
            self._free -= 1
            self._jobs.put(job)
        return True

    def _more(self) -> bool:
        if self._threads >= self._limit:
            return False
        try:
            threading.Thread(target=self._work, name="transaction", daemon=True).start()
        except RuntimeError:  # the system gives no more threads
            return False
        self._threads += 1
        self._free += 1
        return True

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    # Not if a job was put for it between the two lines above.
                    if self._free:
                        self._free -= 1
                        self._threads -= 1
                        return
                continue
            finish = job()
            with self._lock:
                self._free += 1
            finish()
            del job, finish
