"""The architecture ``square-cnn`` in whole numbers: convolution, sums over windows, squares, sums.

The same steps run on plain numbers and on ciphertexts, for both are added and multiplied alike:
a ciphertext is an array of residues, and a weight a small integer. A trained weight becomes the
nearest multiple of 2^-WEIGHT_BITS; an average over a window is the sum, of which the result's scale
takes account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chaincode.schema.errors import Code, MedFabricError

WEIGHT_BITS = 11
"""Binary places that a weight is rounded to."""
LARGEST_WEIGHT = 1 << 13
"""Of a value in a sum, in units of 2^-WEIGHT_BITS."""
ARCHITECTURE = "square-cnn"

Terms = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Of one sum: which values, and their weights."""


@dataclass(frozen=True)
class Network:
    """``kernel``: int64[filters, channels, 3, 3], ``dense``: int64[classes, units], both in units
    of 2^-WEIGHT_BITS; ``bias``, float64[filters], ``dense_bias``, float64[classes], as they are.
    """

    config: Mapping[str, int]
    kernel: NDArray[np.int64]
    bias: NDArray[np.float64]
    dense: NDArray[np.int64]
    dense_bias: NDArray[np.float64]

    @classmethod
    def of(cls, config: Mapping[str, int], weights: Mapping[str, NDArray[np.float32]]) -> Network:
        """Of a published model.

        Args:
            weights: by the names of the module's parameters.

        Raises:
            MedFabricError: ``NOT_PRIVATE`` where a weight is beyond what is computed exactly.
        """
        kernel, dense = (
            np.rint(weights[name] * 2.0**WEIGHT_BITS).astype(np.int64)
            for name in ("0.weight", "4.weight")
        )
        biases = (weights[name].astype(np.float64) for name in ("0.bias", "4.bias"))
        bias, dense_bias = biases
        made = cls(config, kernel, bias, dense, dense_bias)
        sums = (np.abs(used).max(initial=0) for _, (_, used) in made.convolution())
        if max(int(np.abs(dense).max()), *map(int, sums)) > LARGEST_WEIGHT:
            raise MedFabricError(
                Code.NOT_PRIVATE,
                f"a weight is beyond {LARGEST_WEIGHT >> WEIGHT_BITS}, which is not exact; "
                "train with weight decay",
            )
        return made

    @property
    def pixels(self) -> int:
        """Values of an image, in the order [channels, height, width]."""
        return self.config["channels"] * self.config["height"] * self.config["width"]

    @property
    def classes(self) -> int:
        """Values of a prediction."""
        return self.config["classes"]

    @property
    def window(self) -> int:
        """Values that one average is of."""
        return self.config["pool"] ** 2

    def convolution(self) -> Iterator[tuple[int, Terms]]:
        """For each value that is pooled, in the order [filters, rows, columns]: its filter, and the
        sum of pixels that it is, over its whole window."""
        c = self.config
        grid = np.arange(self.pixels).reshape(c["channels"], c["height"], c["width"])
        padded = np.pad(grid, ((0, 0), (1, 1), (1, 1)), constant_values=-1)
        high, wide = ((c[side] - 1) // c["stride"] + 1 for side in ("height", "width"))
        for filter_ in range(c["filters"]):
            for row in range(high // c["pool"]):
                for column in range(wide // c["pool"]):
                    yield filter_, self._window(padded, filter_, row, column)

    def _window(self, padded: NDArray[np.int64], filter_: int, row: int, column: int) -> Terms:
        pool, stride = self.config["pool"], self.config["stride"]
        weights = np.zeros(self.pixels + 1, dtype=np.int64)
        for y in range(row * pool, (row + 1) * pool):
            for x in range(column * pool, (column + 1) * pool):
                place = padded[:, y * stride : y * stride + 3, x * stride : x * stride + 3]
                np.add.at(weights, place.reshape(-1), self.kernel[filter_].reshape(-1))
        # What the padding holds is 0.
        weights[-1] = 0
        (used,) = np.nonzero(weights)
        return used, weights[used]
