"""Plans' terms that were found on validation data and are used by the demonstration and tests."""

from __future__ import annotations

from chaincode.schema import accounting
from chaincode.schema.base import ContentRef
from chaincode.schema.plans import (
    AcceptanceTerms,
    DataTerms,
    EncryptionTerms,
    ModelTerms,
    Participant,
    ParticipationTerms,
    PlanTerms,
    PrivacyTerms,
    Strategy,
    TrainingTerms,
)

ROUNDS, STEPS, BATCH = 6, 10, 32
EPSILON_MICRO, DELTA_NANO = 3_000_000, 10_000


def training(samples: int, rounds: int = ROUNDS) -> TrainingTerms:
    """Large steps and few of them: what clipped gradients want.

    Args:
        samples: training records of the smallest data set; its batch is at most half of them.
    """
    return TrainingTerms(
        strategy=Strategy.FEDAVG,
        rounds=rounds,
        steps=STEPS,
        batch_size=min(BATCH, max(1, samples // 2)),
        learning_rate_micro=2_000_000,
    )


def privacy(terms: TrainingTerms, samples: int, epsilon_micro: int = EPSILON_MICRO) -> PrivacyTerms:
    """Noise calibrated so that all rounds together stay within epsilon.

    Args:
        samples: training records of the smallest data set.
    """
    noise = accounting.calibrate(
        terms.batch_size, samples, terms.steps * terms.rounds, epsilon_micro, DELTA_NANO
    )
    return PrivacyTerms(
        epsilon_micro=epsilon_micro,
        delta_nano=DELTA_NANO,
        noise_multiplier_micro=noise,
        sample_clip_micro=500_000,
    )


def plan(
    plan_id: str,
    data: DataTerms,
    base: ContentRef,
    architecture_sha256: str,
    parameters: int,
    participants: tuple[Participant, ...],
    samples: int,
    rounds: int = ROUNDS,
    stage_seconds: int = 60,
) -> PlanTerms:
    """A plan for logistic regression on bounded records, one node per hospital."""
    steps = training(samples, rounds)
    hospitals = len({participant.msp_id for participant in participants})
    return PlanTerms(
        plan_id=plan_id,
        title=f"Classify {data.application}",
        data=data,
        model=ModelTerms(
            architecture="logistic",
            config={"features": len(data.features), "classes": len(data.classes)},
            architecture_sha256=architecture_sha256,
            parameters=parameters,
            base=base,
        ),
        training=steps,
        privacy=privacy(steps, samples),
        encryption=EncryptionTerms(),
        participation=ParticipationTerms(
            participants=participants,
            quorum=max(2, len(participants) - 1),
            agreement=hospitals // 2 + 1,
            ceremony_seconds=max(120, stage_seconds),
            # A node that starts only now imports torch first.
            update_seconds=max(60, stage_seconds),
            stage_seconds=stage_seconds,
        ),
        acceptance=AcceptanceTerms(max_drop_micro=100_000),
    )
