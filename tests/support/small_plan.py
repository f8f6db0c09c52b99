"""A small plan of four hospitals, for what a node's agent does with one."""

from __future__ import annotations

from typing import Any

from chaincode.schema.base import ContentRef
from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.plans import (
    AcceptanceTerms,
    ModelTerms,
    Participant,
    ParticipationTerms,
    PlanTerms,
    PrivacyTerms,
    TrainingTerms,
)
from chaincode.schema.strategies import Strategy

HOSPITALS = tuple(f"Hospital{number}MSP" for number in range(1, 5))
REF = ContentRef(cid="abc", sha256="ab" * 32, size_bytes=3)


def small_terms(parameters: int = 4, **acceptance: Any) -> PlanTerms:
    """Of two rounds and three steps; a line of one column."""
    return PlanTerms(
        plan_id="plan",
        title="Plan",
        data=DataTerms(
            application="tumours",
            features=(Feature(name="size", low_micro=0, high_micro=1_000_000),),
            label="kind",
            classes=("a", "b"),
        ),
        model=ModelTerms(
            architecture="logistic",
            config={"features": 1, "classes": 2},
            architecture_sha256="ab" * 32,
            parameters=parameters,
            base=REF,
        ),
        training=TrainingTerms(
            strategy=Strategy.FEDAVG, rounds=2, steps=3, batch_size=4, learning_rate_micro=1
        ),
        privacy=PrivacyTerms(
            epsilon_micro=3_000_000,
            delta_nano=10_000,
            noise_multiplier_micro=4_000_000,
            sample_clip_micro=500_000,
        ),
        encryption=EncryptionTerms(),
        participation=ParticipationTerms(
            participants=tuple(
                Participant(msp_id=h, node_id="node1", dataset_id=f"data{n}")
                for n, h in enumerate(HOSPITALS)
            ),
            quorum=3,
            agreement=3,
        ),
        acceptance=AcceptanceTerms(**acceptance),
    )
