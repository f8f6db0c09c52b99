"""The range of an update's values that a plan's own noise suggests: integers only.

Nobody sees a single update, so a dishonest one is bounded by the range of its values alone, and the
range is best as small as honest training allows. What an honest update's value is, is mostly the
noise that hides its records: local training of T steps moves a parameter by the learning rate times
momentum's sums of T independent noises. A range of one and a half standard deviations of that costs
honest training little, for what is cut off is mostly noise, and leaves a poisoner little more
weight than an honest hospital. The mean of values clipped so is close to a vote on each value's
sign (Bernstein et al. 2019, "signSGD with Majority Vote is Communication Efficient and Fault
Tolerant").

Large datasets need so little noise that records move a model more than noise does, and its range
would hold them back: with twenty times the records a model would learn less. No range is narrower
than a quarter of the drift that the norm bound allows, spread evenly over the parameters. An update
at that range's ends everywhere is no longer than a quarter of what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.norms import NormTerms
from chaincode.schema.plans import PrivacyTerms, SizeTerms, TrainingTerms, work

_ONE = 10**6
_LARGEST = 8 * _ONE


def noise_micro(training: TrainingTerms, privacy: PrivacyTerms) -> int:
    """Standard deviation of the privacy noise in one value of an update, in 1e-6, at least 1."""
    _, squares = _reached(training)
    step = (
        training.learning_rate_micro
        * privacy.sample_clip_micro
        * privacy.noise_multiplier_micro
        // (training.batch_size * _ONE)
    )
    return max(1, step * isqrt(squares) // _ONE**2)


def clip_micro(training: TrainingTerms, privacy: PrivacyTerms, parameters: int) -> int:
    """A plan's clip for these terms, as ``EncryptionTerms.clip_micro`` takes it.

    Args:
        parameters: that are trained, at least 1.
    """
    noise = 3 * noise_micro(training, privacy) // 2
    even = isqrt(_drift_micro(training, privacy) ** 2 // (16 * parameters))
    return min(max(1, noise, even), _LARGEST)


def norm_terms(
    training: TrainingTerms,
    privacy: PrivacyTerms,
    encryption: EncryptionTerms | MaskingTerms | None = None,
    sizes: Sequence[SizeTerms] = (),
    clip: int | None = None,
) -> NormTerms:
    """A plan's bound on the norm of a mean update, for these terms.

    Records move a model by no more than the learning rate times the gradients' clip, step by step,
    with momentum's sums: if every gradient were as long as its clip and all pointed one way. The
    drift that is allowed is a quarter of that; the applications that ship drift by a fifth or less.
    Of classes of devices and of dataset sizes the longest counts. Where whole hospitals are hidden,
    norm and noise are those of their terms, exactly.

    Args:
        encryption: the plan's, where its privacy terms hide hospitals.
        sizes: of datasets, as the plan names them.
        clip: an update's largest value, in 1e-6; no value's noise is larger.
    """
    if privacy.hospital is not None and encryption is not None:
        unit = encryption.clip_micro
        return NormTerms(
            drift_micro=-(-privacy.hospital.norm_levels * unit // encryption.levels),
            noise_micro=max(1, -(-privacy.hospital.noise_levels * unit // encryption.levels)),
        )
    works = [
        work(training, privacy, sizes, samples, device)
        for device in ("", *(own.device for own in training.devices))
        for samples in (0, *(size.least_samples for size in sizes))
    ]
    noise = max(noise_micro(*own) for own in works)
    return NormTerms(
        drift_micro=max(_drift_micro(own.training, privacy) for own in works),
        noise_micro=noise if clip is None else min(noise, clip),
    )


def _drift_micro(training: TrainingTerms, privacy: PrivacyTerms) -> int:
    reached, _ = _reached(training)
    longest = training.learning_rate_micro * privacy.sample_clip_micro * reached // _ONE**2
    return longest // 4


def _reached(training: TrainingTerms) -> tuple[int, int]:
    """How far the steps' gradients move a parameter, in millionths of themselves: the sum over the
    steps, and that of the squares. A step moves it again in each later one, momentum times as far.
    """
    reach, total, squares = 0, 0, 0
    for step in range(training.steps):
        before, reach = reach, _ONE + reach * training.momentum_micro // _ONE
        if reach == before:
            # All later steps reach as far: a plan may have very many.
            left = training.steps - step
            return total + left * reach, squares + left * reach * reach
        total += reach
        squares += reach * reach
    return total, squares
