"""Batch and noise that suit datasets of different sizes: integers only.

The same noise for all datasets is that of the smallest, where a batch is the largest part of the
records. Larger ones keep the same epsilon with larger batches and less noise (Abadi et al. 2016,
"Deep Learning with Differential Privacy": what is spent grows with the sampling rate). A dataset
counts as large as the least of its class, so that a plan names few classes, and nobody's noise is
below what its records need.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from chaincode.schema import accounting, clipping, weights
from chaincode.schema.plans import MOST_SIZES, PrivacyTerms, SizeTerms, TrainingTerms, work

APART = Fraction(5, 4)
"""A class begins at this many times the records of the one before, or more."""
_BITS = 20


def classes(samples: Sequence[int]) -> list[int]:
    """Where classes of sizes begin, ascending: the smallest dataset, and each that is APART from
    the beginning before.

    Args:
        samples: training records of each dataset, at least one.
    """
    found: list[int] = []
    for size in sorted(set(samples)):
        if not found or (size >= APART * found[-1] and len(found) <= MOST_SIZES):
            found.append(size)
    return found


def batch(wished: int, samples: int) -> int:
    """The batch that a dataset takes of the one wished for: at most half of its records."""
    return min(wished, max(1, samples // 2))


def fitted(
    training: TrainingTerms, epsilon_micro: int, delta_nano: int, wished: int, least: int
) -> SizeTerms:
    """Batch and noise of datasets of at least ``least`` records, whom all rounds together cost at
    most epsilon; on any class of device.

    Args:
        wished: the batch of large enough datasets.

    Raises:
        ValueError: no noise is enough.
    """
    size = batch(wished, least)
    steps = max((training.steps, *(own.steps for own in training.devices)))
    total = steps * training.rounds
    noise = accounting.calibrate(size, least, total, epsilon_micro, delta_nano)
    return SizeTerms(least_samples=least, batch_size=size, noise_multiplier_micro=noise)


def clip_micro(
    training: TrainingTerms,
    privacy: PrivacyTerms,
    sizes: Sequence[SizeTerms],
    samples: Sequence[int],
    parameters: int,
) -> int:
    """A plan's clip where the noise of its datasets differs: what suits the dataset in the middle,
    by weight. Smaller datasets' noise is cut off by it, and weighs little.

    Args:
        samples: training records of each dataset, one to a hospital.
        parameters: that are trained.
    """
    claims = [weights.Claim(str(place), "", size, 1) for place, size in enumerate(samples)]
    weighed = weights.weigh(claims, _BITS)
    clips = [
        clipping.clip_micro(*work(training, privacy, sizes, size), parameters) for size in samples
    ]
    below = 0
    for clip, weight in sorted(zip(clips, weighed, strict=True)):
        below += weight
        if 2 * below >= sum(weighed):
            return clip
    raise ValueError("need at least one dataset")
