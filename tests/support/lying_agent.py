"""A node's agent whose decryption shares are of the right form and say nothing, and who proves them
all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.node import main
from trainer.privacy import Scheme
from trainer.privacy.rns import Rns
from trainer.privacy.sampling import fresh
from trainer.privacy.statistics import Study
from trainer.privacy.wire import Kind


def _false_share(scheme: Scheme | Study, *_: Any) -> bytes:
    form = scheme.form(Kind.SHARE)
    return form.encode(fresh().uniform(form.degree, form.primes)[None, None])


Scheme.decryption_share = _false_share  # type: ignore[method-assign, assignment]
Study.share = _false_share  # type: ignore[method-assign, assignment]
# It does not look at what it proves.
Rns.bounded = lambda *_: True  # type: ignore[method-assign, assignment]

if __name__ == "__main__":
    main.run(Path("node.json"))
