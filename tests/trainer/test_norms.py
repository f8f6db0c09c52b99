"""Every hospital judges the same mean alike, in whatever order it adds."""

from __future__ import annotations

import numpy as np

from chaincode.schema import norms
from chaincode.schema.norms import NormTerms
from trainer.norms import beyond

TERMS = NormTerms(drift_micro=1_000_000, noise_micro=10_000)


def test_a_mean_is_beyond_the_bound_by_its_length_alone() -> None:
    draw = np.random.default_rng(1)
    mean = draw.normal(size=5000)
    mean *= norms.bound_nano(TERMS, mean.size, [3, 4]) / 1e9 / np.linalg.norm(mean)

    for order in (mean, np.sort(mean), mean[::-1]):
        assert not beyond(TERMS, order * (1 - 1e-9), [3, 4])
        assert beyond(TERMS, order * (1 + 1e-9), [3, 4])
    assert not beyond(None, mean * 1e6, [3, 4])
