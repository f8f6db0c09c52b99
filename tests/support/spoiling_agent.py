"""A node's agent that stores something else than its updates, and mends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from client.content import DirectoryStore
from client.content.store import Measured
from trainer.node import main
from trainer.node.content import Exchange
from trainer.node.rounds import Rounds

_store, _submit = DirectoryStore._store, Rounds.submit_update


def _spoilt(self: DirectoryStore, content: Measured) -> str:
    cid = _store(self, content)
    path = self._folder / cid
    path.chmod(0o600)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    return cid


def _submitted(self: Rounds, *args: Any) -> Any:
    with mock.patch.object(DirectoryStore, "_store", _spoilt):
        return _submit(self, *args)


Rounds.submit_update = _submitted  # type: ignore[method-assign]
Exchange.restore = lambda *_: None  # type: ignore[method-assign]

if __name__ == "__main__":
    main.run(Path("node.json"))
