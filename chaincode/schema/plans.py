"""Training plans: what is trained, how, under which privacy terms, by whom."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from chaincode.schema import canonical
from chaincode.schema.base import (
    ContentRef,
    Count,
    Id,
    Language,
    Micro,
    MspId,
    Name,
    Reason,
    Seconds,
    Sha256,
)
from chaincode.schema.consortium import Vote


class PlanStatus(StrEnum):
    PROPOSED = "PROPOSED"
    APPROVED = "APPROVED"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


class Strategy(StrEnum):
    FEDAVG = "fedavg"
    FEDSGD = "fedsgd"


class Feature(Language):
    """One input column and the public bounds it is scaled by; never fitted on records."""

    name: Name
    low_micro: Annotated[int, Field(ge=-(10**15), le=10**15)]
    high_micro: Annotated[int, Field(ge=-(10**15), le=10**15)]


class DataTerms(Language):
    """What a record is: bounded features in this order, and the classes of the label."""

    application: Id
    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=4096)]
    label: Name
    classes: Annotated[tuple[Name, ...], Field(min_length=2, max_length=256)]


class ModelTerms(Language):
    """The architecture, pinned by hash, and the base model of the first round."""

    architecture: Id
    config: dict[str, int]
    architecture_sha256: Sha256
    parameters: Annotated[int, Field(ge=1, le=10**9)]
    base: ContentRef


class TrainingTerms(Language):
    """Local training of one round: ``steps`` optimiser steps on Poisson batches.

    ``batch_size`` is the expected size; the sampling rate is batch_size / train_samples.
    """

    strategy: Strategy
    rounds: Annotated[int, Field(ge=1, le=10_000)]
    steps: Annotated[int, Field(ge=1, le=100_000)]
    batch_size: Annotated[int, Field(ge=1, le=2**30)]
    learning_rate_micro: Annotated[int, Field(ge=1, le=10**9)]
    momentum_micro: Annotated[int, Field(ge=0, lt=10**6)] = 0
    weight_decay_micro: Micro = 0


class PrivacyTerms(Language):
    """Example-level differential privacy (Abadi et al. 2016) of every accepted update.

    ``sample_clip_micro``: per-sample gradient norm. ``noise_multiplier_micro``: sigma.
    ``epsilon_micro``: what the plan may spend on any one dataset, at ``delta_nano``.
    """

    epsilon_micro: Annotated[int, Field(ge=1, le=10**9)]
    delta_nano: Annotated[int, Field(ge=1, lt=10**9)]
    noise_multiplier_micro: Annotated[int, Field(ge=50_000, le=10**9)]
    sample_clip_micro: Annotated[int, Field(ge=1, le=10**9)]


class EncryptionTerms(Language):
    """Threshold CKKS with coefficient packing. ``clip_micro`` bounds every value of an update.

    The last modulus is TenSEAL's special prime and carries no ciphertext.
    """

    scheme: Literal["ckks-threshold-v1"] = "ckks-threshold-v1"
    poly_modulus_degree: Literal[4096, 8192, 16384, 32768] = 8192
    modulus_bits: Annotated[
        tuple[Annotated[int, Field(ge=20, le=60)], ...], Field(min_length=2, max_length=12)
    ] = (48, 48, 60)
    scale_bits: Annotated[int, Field(ge=41, le=400)] = 80
    flood_bits: Annotated[int, Field(ge=10, le=200)] = 52
    weight_bits: Annotated[int, Field(ge=1, le=20)] = 10
    clip_micro: Annotated[int, Field(ge=1, le=10**9)] = 8_000_000


class Participant(Language):
    """A trainer node and the dataset it trains on."""

    msp_id: MspId
    node_id: Id
    dataset_id: Id


class ParticipationTerms(Language):
    """Who takes part, and how many are enough.

    ``quorum``: updates needed to seal once the deadline has passed. ``agreement``: hospitals that
    must attest the same aggregate, and the same candidate. The hospitals of ``participants`` hold
    the key, every one of them (n of n).
    """

    participants: Annotated[tuple[Participant, ...], Field(min_length=2, max_length=1024)]
    quorum: Annotated[int, Field(ge=2, le=1024)]
    agreement: Annotated[int, Field(ge=2, le=64)]
    ceremony_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600
    update_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600
    stage_seconds: Annotated[int, Field(ge=1, le=10**7)] = 600


class AcceptanceTerms(Language):
    """A hospital accepts a candidate whose validation accuracy is at least the base model's less
    ``max_drop_micro``; the candidate is published when a majority of the evaluations accept."""

    max_drop_micro: Annotated[int, Field(ge=0, le=10**6)] = 50_000


class PlanTerms(Language):
    """All that is agreed; votes and consents bind to the SHA-256 of its canonical form."""

    plan_id: Id
    title: Name
    data: DataTerms
    model: ModelTerms
    training: TrainingTerms
    privacy: PrivacyTerms
    encryption: EncryptionTerms
    participation: ParticipationTerms
    acceptance: AcceptanceTerms

    @property
    def sha256(self) -> str:
        """What hospitals vote on and what seeds the common reference polynomial."""
        return canonical.sha256(self)

    @property
    def hospitals(self) -> tuple[str, ...]:
        """The MSP ids that take part and hold the key, sorted, each once."""
        return tuple(sorted({p.msp_id for p in self.participation.participants}))


class Plan(Language):
    terms: PlanTerms
    terms_sha256: Sha256
    status: PlanStatus
    proposed_by: MspId
    proposed_at: Seconds
    changed_at: Seconds
    model_sha256: Sha256
    """Address of the newest published model; the base model before the first."""
    rounds_opened: Count
    reason: Reason


# Arguments


class PlanArgs(Language):
    plan_id: Id


class AbortArgs(Language):
    plan_id: Id
    reason: Annotated[str, Field(min_length=1, max_length=512)]


# Results


class PlanView(Language):
    plan: Plan
    votes: tuple[Vote, ...]


class PlanPage(Language):
    plans: tuple[Plan, ...]
    bookmark: str
