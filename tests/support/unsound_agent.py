"""A node's agent whose updates have a proof that does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.node import main
from trainer.privacy.wellformed import WellFormed

_prove = WellFormed.prove


def _not_quite(self: WellFormed, *args: Any) -> bytes:
    proof = bytearray(_prove(self, *args))
    # The lowest byte of the last answer's first coefficient.
    proof[-3 * self._rns.degree] ^= 1
    return bytes(proof)


WellFormed.prove = _not_quite  # type: ignore[method-assign]

if __name__ == "__main__":
    main.run(Path("node.json"))
