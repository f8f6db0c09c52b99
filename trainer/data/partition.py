"""Named ways of splitting one data set among hospitals, for experiments and demonstrations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError

Rows = NDArray[np.int64]
LEAST = 10
"""Records of a part."""


def identical(labels: NDArray[np.int64], parts: int, seed: int) -> list[Rows]:
    """Equal shares of every class: independent and identically distributed."""
    generator = np.random.default_rng(seed)
    shares: list[list[Rows]] = [[] for _ in range(parts)]
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        for part, some in enumerate(np.array_split(rows, parts)):
            shares[part].append(some)
    return [np.sort(np.concatenate(share)) for share in shares]


def dirichlet(labels: NDArray[np.int64], parts: int, seed: int, alpha: float = 0.5) -> list[Rows]:
    """Every class divided in Dirichlet(alpha) proportions: the smaller alpha, the more skewed.

    Drawn again until every part has at least LEAST records (Hsu et al. 2019).

    Raises:
        MedFabricError: ``DATA_MISMATCH`` where a thousand draws gave no such parts.
    """
    generator = np.random.default_rng(seed)
    for _ in range(1000):
        shares: list[list[Rows]] = [[] for _ in range(parts)]
        for label in np.unique(labels):
            rows = generator.permutation(np.flatnonzero(labels == label))
            cuts = np.cumsum(generator.dirichlet([alpha] * parts))[:-1] * rows.size
            for part, some in enumerate(np.split(rows, cuts.astype(np.int64))):
                shares[part].append(some)
        result = [np.sort(np.concatenate(share)) for share in shares]
        if min(rows.size for rows in result) >= LEAST:
            return result
    raise MedFabricError(
        Code.DATA_MISMATCH,
        f"{labels.size} records hardly make {parts} parts of {LEAST} at alpha {alpha}; "
        "ask for fewer parts or a larger alpha",
    )


PARTITIONERS = {"identical": identical, "dirichlet": dirichlet}
