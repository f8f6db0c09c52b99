"""Named ways of splitting one data set among hospitals, for experiments and demonstrations.

Each takes the patients' values (float[n, d], one row per patient), their labels (int64[n]), the
number of parts and a seed, and gives the rows of each part: every row in exactly one. The kinds are
those of Li et al. 2022, "Federated Learning on Non-IID Data Silos: An Experimental Study".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError

Rows = NDArray[np.int64]
Values = NDArray[np.float64]
Partitioner = Callable[[Values, Rows, int, int], list[Rows]]
LEAST = 10
"""Records of a part."""


def identical(_: Values, labels: Rows, parts: int, seed: int) -> list[Rows]:
    """Equal shares of every class: independent and identically distributed."""
    generator = np.random.default_rng(seed)
    return _by_class(labels, generator, lambda rows: np.array_split(rows, parts))


def dirichlet(_: Values, labels: Rows, parts: int, seed: int, alpha: float = 0.5) -> list[Rows]:
    """Label skew: every class divided in Dirichlet(alpha) proportions of its own; the smaller
    alpha, the more skewed (Hsu et al. 2019).

    Raises:
        MedFabricError: ``DATA_MISMATCH`` where a thousand draws gave no parts of LEAST records.
    """
    generator = np.random.default_rng(seed)

    def draw() -> list[Rows]:
        def shared(rows: Rows) -> list[Rows]:
            return _cut(rows, generator.dirichlet([alpha] * parts))

        return _by_class(labels, generator, shared)

    return _until_large_enough(draw, labels.size, parts, alpha)


def quantity(_: Values, labels: Rows, parts: int, seed: int, alpha: float = 0.5) -> list[Rows]:
    """Quantity skew: parts of Dirichlet(alpha) sizes, each with the same shares of the classes.

    Raises:
        MedFabricError: as :func:`dirichlet`.
    """
    generator = np.random.default_rng(seed)

    def draw() -> list[Rows]:
        sizes = generator.dirichlet([alpha] * parts)
        return _by_class(labels, generator, lambda rows: _cut(rows, sizes))

    return _until_large_enough(draw, labels.size, parts, alpha)


def feature_shift(
    values: Values, labels: Rows, parts: int, seed: int, blend: float = 0.3
) -> list[Rows]:
    """Feature shift: equal parts of patients who are alike. Patients are ordered along the
    direction in which they differ most (the first principal component of the standardised values),
    blurred by ``blend`` (in [0, 1]; at 1 by chance alone), and cut. Nobody's values are changed.

    With the shares of the features the shares of the classes shift, where the label follows from
    them.
    """
    generator = np.random.default_rng(seed)
    order = np.argsort(np.argsort(_along(values), kind="stable")) / max(labels.size - 1, 1)
    blurred = (1 - blend) * order + blend * generator.random(labels.size)
    cut = np.array_split(np.argsort(blurred, kind="stable"), parts)
    return [np.sort(rows) for rows in cut]


PARTITIONERS: dict[str, Partitioner] = {
    "identical": identical,
    "dirichlet": dirichlet,
    "quantity": quantity,
    "feature-shift": feature_shift,
}
NAMES = tuple(PARTITIONERS)


def _by_class(
    labels: Rows, generator: np.random.Generator, shared: Callable[[Rows], list[Rows]]
) -> list[Rows]:
    """The shares of all classes, put together part by part."""
    shares = [
        shared(generator.permutation(np.flatnonzero(labels == label)))
        for label in np.unique(labels)
    ]
    return [np.sort(np.concatenate(part)) for part in zip(*shares, strict=True)]


def _cut(rows: Rows, fractions: Values) -> list[Rows]:
    return np.split(rows, (np.cumsum(fractions)[:-1] * rows.size).astype(np.int64))


def _until_large_enough(
    draw: Callable[[], list[Rows]], number: int, parts: int, alpha: float
) -> list[Rows]:
    for _ in range(1000):
        result = draw()
        if min(rows.size for rows in result) >= LEAST:
            return result
    raise MedFabricError(
        Code.DATA_MISMATCH,
        f"{number} records hardly make {parts} parts of {LEAST} at alpha {alpha}; "
        "ask for fewer parts or a larger alpha",
    )


def _along(values: Values) -> Values:
    """float[n]: place of each row along the first principal component, by power iteration."""
    known = np.where(np.isnan(values), np.nanmean(values, axis=0), values)
    spread = known.std(axis=0)
    standard = (known - known.mean(axis=0)) / np.where(spread > 0, spread, 1)
    direction = np.ones(values.shape[1])
    for _ in range(50):
        direction = standard.T @ (standard @ direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-300)
    return np.asarray(standard @ direction)
