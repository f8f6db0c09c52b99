"""A node's agent that masks its values with another key than the one that it encrypts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from trainer.node import main
from trainer.privacy import Scheme
from trainer.privacy.kahe import TiedMasks
from trainer.privacy.sampling import fresh
from trainer.privacy.tied import Tied

_encrypt, _transformed = Scheme.encrypt, TiedMasks.transformed


def _with_another(self: TiedMasks, _: Any) -> Any:
    return _transformed(self, self.key(fresh()))


def _encrypted(self: Scheme, *args: Any) -> Iterator[bytes]:
    # Whatever proof comes out: there is none that holds.
    with (
        mock.patch.object(TiedMasks, "transformed", _with_another),
        mock.patch.object(Tied, "_tells_nothing", return_value=True),
    ):
        yield from _encrypt(self, *args)


Scheme.encrypt = _encrypted  # type: ignore[method-assign]

if __name__ == "__main__":
    main.run(Path("node.json"))
