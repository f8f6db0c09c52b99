"""An application's training plan, for the demonstration, experiments and tests."""

from __future__ import annotations

from collections.abc import Sequence

from chaincode.schema import accounting, clipping
from chaincode.schema import sizes as fitting
from chaincode.schema.base import ContentRef
from chaincode.schema.encryption import EncryptionTerms, choose
from chaincode.schema.masking import MaskingTerms
from chaincode.schema.plans import (
    AcceptanceTerms,
    HospitalTerms,
    LayerTerms,
    ModelTerms,
    Participant,
    PlanTerms,
    PrivacyTerms,
    SizeTerms,
    TrainingTerms,
)
from chaincode.schema.strategies import Strategy
from client.drafting import Aggregation, Wish, draft
from trainer.applications.application import Application, Tuned

EPSILON_MICRO, DELTA_NANO = 3_000_000, 10_000
_NORM_LEVELS = 2**16
"""Of an update's norm: rounding costs it less than the noise does."""
ACCEPTANCE = AcceptanceTerms(max_drop_micro=100_000)


def training(tuned: Tuned, samples: int, rounds: int | None = None) -> TrainingTerms:
    """The application's training.

    Args:
        samples: training records of the smallest data set; the batch is at most half of them.
        rounds: others than the application was tuned for.
    """
    return TrainingTerms(
        strategy=Strategy.FEDAVG,
        rounds=rounds or tuned.rounds,
        steps=tuned.steps,
        batch_size=fitting.batch(tuned.batch, samples),
        learning_rate_micro=round(tuned.learning_rate * 10**6),
        momentum_micro=round(tuned.momentum * 10**6),
    )


def unprotected(tuned: Tuned, terms: TrainingTerms) -> TrainingTerms:
    """The same for gradients that are neither clipped nor noisy."""
    rate = tuned.plain_rate or tuned.learning_rate
    return terms.model_copy(update={"learning_rate_micro": round(rate * 10**6)})


def privacy(
    tuned: Tuned, terms: TrainingTerms, samples: int, epsilon_micro: int = EPSILON_MICRO
) -> PrivacyTerms:
    """Noise calibrated so that all rounds together stay within epsilon.

    Args:
        samples: training records of the smallest data set.
    """
    noise = fitting.fitted(terms, epsilon_micro, DELTA_NANO, terms.batch_size, samples)
    return PrivacyTerms(
        epsilon_micro=epsilon_micro,
        delta_nano=DELTA_NANO,
        noise_multiplier_micro=noise.noise_multiplier_micro,
        sample_clip_micro=round(tuned.clip * 10**6),
    )


def sizes(
    tuned: Tuned,
    terms: TrainingTerms,
    samples: Sequence[int],
    epsilon_micro: int = EPSILON_MICRO,
) -> tuple[SizeTerms, ...]:
    """What larger datasets do instead of what the smallest does, at the same epsilon.

    Args:
        samples: training records of each data set.
    """
    _, *larger = fitting.classes(samples)
    return tuple(
        fitting.fitted(terms, epsilon_micro, DELTA_NANO, tuned.batch, least) for least in larger
    )


def hiding_hospitals(
    terms: PlanTerms, norm_micro: int, epsilon_micro: int, colluding: int = 1
) -> PlanTerms:
    """The plan with discrete Gaussian noise that hides whole hospitals, in a clip that holds it.

    Args:
        norm_micro: largest L2 norm of an update, in 1e-6.
        epsilon_micro: what all rounds together may tell of a hospital, at DELTA_NANO.

    Raises:
        ValueError: no noise is enough.
        MedFabricError: ``PARAMETERS_REFUSED``.
    """
    work, hidden = terms.workload, terms.encryption

    def noise(norm_levels: int) -> HospitalTerms:
        least = accounting.calibrate_summed(
            norm_levels,
            terms.participation.quorum - colluding,
            work.parameters,
            work.rounds,
            epsilon_micro,
            DELTA_NANO,
        )
        return HospitalTerms(
            norm_levels=norm_levels,
            noise_levels=least,
            epsilon_micro=epsilon_micro,
            delta_nano=DELTA_NANO,
            colluding=colluding,
        )

    levels = noise(_NORM_LEVELS).least_levels * 9 // 8
    clip_micro = -(-norm_micro * levels // _NORM_LEVELS)
    if isinstance(hidden, MaskingTerms):
        changes = {"levels": levels, "clip_micro": clip_micro}
        chosen: EncryptionTerms | MaskingTerms = hidden.model_copy(update=changes)
    else:
        chosen = choose(
            work,
            clip_micro=clip_micro,
            # At most half a deviation of the noise, which is a thirteenth of the clip or less.
            error_nano=1000 * clip_micro // 25,
            weight_bits=hidden.weight_bits,
            threshold=hidden.threshold,
            tied=hidden.tied,
        )
    hospital = noise(norm_micro * chosen.levels // clip_micro)
    privacy = terms.privacy.model_copy(update={"hospital": hospital})
    norm = clipping.norm_terms(terms.training, privacy, chosen)
    acceptance = terms.acceptance.model_copy(update={"norm": norm})
    return terms.model_copy(
        update={"encryption": chosen, "privacy": privacy, "acceptance": acceptance}
    )


def plan(
    plan_id: str,
    application: Application,
    base: ContentRef,
    architecture_sha256: str,
    parameters: int,
    participants: tuple[Participant, ...],
    samples: Sequence[int],
    rounds: int | None = None,
    stage_seconds: int = 60,
    aggregation: Aggregation = Aggregation.CKKS,
    acceptance: AcceptanceTerms = ACCEPTANCE,
    layers: LayerTerms | None = None,
) -> PlanTerms:
    """A plan for an application, one node per hospital; the norm of its mean updates is bounded by
    what its own terms say of honest ones.

    Args:
        samples: training records of each data set.
        layers: what is trained; None for all.
    """
    tuned = application.tuned
    steps = training(tuned, tuned.batch * 2, rounds).model_copy(update={"layers": layers})
    wish = Wish(
        plan_id=plan_id,
        title=application.title,
        data=application.terms(),
        model=ModelTerms(
            architecture=application.architecture,
            config=dict(application.config),
            architecture_sha256=architecture_sha256,
            parameters=parameters,
            base=base,
        ),
        training=steps,
        sample_clip_micro=round(tuned.clip * 10**6),
        epsilon_micro=EPSILON_MICRO,
        delta_nano=DELTA_NANO,
        aggregation=aggregation,
        acceptance=acceptance,
    )
    terms = draft(wish, participants, samples)
    patience = {
        "ceremony_seconds": max(120, stage_seconds),
        # A node that starts only now imports torch first.
        "update_seconds": max(60, stage_seconds),
        "stage_seconds": stage_seconds,
    }
    participation = terms.participation.model_copy(update=patience)
    return terms.model_copy(update={"participation": participation})
