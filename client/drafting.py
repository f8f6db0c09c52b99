"""A plan's terms from what is wished for: noise, classes of sizes, encryption and bounds follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from chaincode.schema import clipping, masking, sizes, strategies
from chaincode.schema.data import DataTerms
from chaincode.schema.encryption import EncryptionTerms, Workload, choose
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import (
    AcceptanceTerms,
    ModelTerms,
    Participant,
    ParticipationTerms,
    PlanTerms,
    PrivacyTerms,
    TrainingTerms,
)

ERROR_NANO = 10_000
"""Largest absolute error of a decrypted mean, in units of 1e-9."""


class Aggregation(StrEnum):
    """How a plan's updates are hidden and summed. ``TIED``: with proofs, larger ones, that masked
    values open under their key: so who sends what does not open is named."""

    CKKS = "ckks"
    TIED = "ckks-tied"
    SECRET_SHARING = "secret-sharing"  # noqa: S105


@dataclass(frozen=True)
class Wish:
    """What whoever drafts a plan decides.

    ``training``: with the batch that large datasets take; small ones take at most half of their
    records. ``epsilon_micro``: what all rounds together may spend on a dataset.
    """

    plan_id: str
    title: str
    data: DataTerms
    model: ModelTerms
    training: TrainingTerms
    sample_clip_micro: int
    epsilon_micro: int
    delta_nano: int
    aggregation: Aggregation = Aggregation.CKKS
    acceptance: AcceptanceTerms = field(default_factory=AcceptanceTerms)


def draft(wish: Wish, participants: tuple[Participant, ...], samples: Sequence[int]) -> PlanTerms:
    """The plan: no dataset has more noise than it needs, values and mean updates are bounded by
    what its own terms say of honest ones, and one update of a round may be missing.

    Args:
        samples: training records of each participant's dataset.

    Raises:
        MedFabricError: ``BAD_ARGUMENT`` where no noise is enough, or the strategy lacks a setting;
            ``PARAMETERS_REFUSED``.
    """
    if wrong := strategies.problem(wish.training.strategy, wish.training.settings):
        raise MedFabricError(Code.BAD_ARGUMENT, f"{wrong}; name them with --set")
    wished, least = wish.training.batch_size, min(samples)
    training = wish.training.model_copy(update={"batch_size": sizes.batch(wished, least)})
    try:
        smallest, *larger = (
            sizes.fitted(training, wish.epsilon_micro, wish.delta_nano, wished, size)
            for size in sizes.classes(samples)
        )
    except ValueError as error:
        why = f"{error}; leave small datasets out, or take fewer rounds or steps, or more epsilon"
        raise MedFabricError(Code.BAD_ARGUMENT, why) from None
    privacy = PrivacyTerms(
        epsilon_micro=wish.epsilon_micro,
        delta_nano=wish.delta_nano,
        noise_multiplier_micro=smallest.noise_multiplier_micro,
        sample_clip_micro=wish.sample_clip_micro,
    )
    hospitals = len({participant.msp_id for participant in participants})
    work = Workload(
        hospitals,
        len(participants),
        training.layers.parameters if training.layers else wish.model.parameters,
        training.rounds * (1 + wish.acceptance.group_tests),
    )
    clip = sizes.clip_micro(training, privacy, larger, samples, work.parameters)
    hidden = _HIDDEN[wish.aggregation]
    norm = clipping.norm_terms(training, privacy, sizes=larger, clip=clip)
    return PlanTerms(
        plan_id=wish.plan_id,
        title=wish.title,
        data=wish.data,
        model=wish.model,
        training=training,
        privacy=privacy,
        sizes=tuple(larger),
        encryption=hidden(work, clip),
        participation=ParticipationTerms(
            participants=participants,
            quorum=max(2, len(participants) - 1),
            agreement=hospitals // 2 + 1,
        ),
        acceptance=wish.acceptance.model_copy(update={"norm": norm}),
    )


def encryption(work: Workload, clip_micro: int, *, tied: bool = False) -> EncryptionTerms:
    """Small ciphertexts; one hospital may be missing from a decryption where there are four or
    more."""
    threshold = work.hospitals - 1 if work.hospitals >= 4 else None
    # Every update weighs at least a unit, and on average two.
    weight_bits = max(10, (2 * work.updates - 1).bit_length())
    return choose(
        work,
        clip_micro=clip_micro,
        error_nano=ERROR_NANO,
        weight_bits=weight_bits,
        threshold=threshold,
        tied=tied,
    )


def masked(work: Workload, clip_micro: int) -> MaskingTerms:
    """The same error by additive secret sharing; one hospital may be missing from the recovery
    where there are three or more."""
    threshold = max(work.hospitals // 2 + 1, work.hospitals - 1)
    return masking.choose(work, clip_micro=clip_micro, error_nano=ERROR_NANO, threshold=threshold)


_HIDDEN: dict[Aggregation, Callable[[Workload, int], EncryptionTerms | MaskingTerms]] = {
    Aggregation.CKKS: encryption,
    Aggregation.TIED: partial(encryption, tied=True),
    Aggregation.SECRET_SHARING: masked,
}
