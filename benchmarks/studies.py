"""Statistics of encrypted records beside numpy's of plain ones, and regressions beside
scikit-learn's, on breast masses (WDBC, real).

A key of any three of four hospitals, under the terms that plans have by default. All statistics of
five columns, and a logistic regression from their second moments; the one from fourth moments needs
a wider ring. Accuracy is that of the mean of SPLITS random splits, 400 records to train on; the
sums are those that decryption gives, which are exact. Columns: radius, texture, smoothness,
concavity, concave points (means).
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import _noised
from benchmarks._rows import alone
from chaincode.schema import studies
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
from chaincode.schema.studies import Flooding, Statistic, StudyDataset, StudyTerms
from client.findings import findings
from trainer.data.raw import Raw, numbered
from trainer.data.studied import values
from trainer.privacy import KeySecret, Scheme
from trainer.privacy.statistics import Study

COLUMNS = (0, 1, 4, 6, 7)
NAMES = ("radius", "texture", "smoothness", "concavity", "concave-points")
HIGH = (30.0, 40.0, 0.2, 0.5, 0.25)
LEVELS = 1000
SPLITS, TRAINED = 10, 400
RUNS = 5
_HOSPITALS = tuple(f"Hospital{number}MSP" for number in range(1, 5))
_POINTS = (1, 2, 3)
_DIGEST = "00" * 32
_WIDE = EncryptionTerms(modulus_bits=(48, 48, 48, 48), threshold=3)
_DEFAULT = EncryptionTerms(threshold=3)


def rows() -> list[dict[str, Any]]:
    """Measure, and compare. What it costs stands with the other encryption's costs (`privacy`)."""
    records = _masses()
    return [*(_accuracy(records, degree) for degree in (1, 3)), *_noised.rows()]


def costs() -> list[dict[str, Any]]:
    """Seconds and bytes of the encrypted statistics."""
    records = _masses()
    return [*_costs(records, 1, _DEFAULT), *_costs(records, 3, _WIDE)]


def _costs(records: Raw, degree: int, ring: EncryptionTerms) -> list[dict[str, Any]]:
    plan, number = _plan(ring), records.labels.size
    study = _study(degree, plan)
    made, scheme = _encryption(study, plan)
    secrets = [KeySecret(os.urandom(32)) for _ in _HOSPITALS]
    documents = [scheme.dealing.make(secret, i) for i, secret in enumerate(secrets, 1)]
    key = scheme.collective_key(documents)
    dealt = list(zip(*map(scheme.dealing.subshares, secrets), strict=True))
    own = [scheme.share_key(point, dict(enumerate(dealt[point - 1], 1))) for point in _POINTS]
    content: list[bytes] = []
    plain = values(records, study)

    def encrypt() -> None:
        content[:] = [b"".join(made.encrypt(values(records, study), key, "masses"))]

    def check() -> None:
        fresh, _ = _encryption(study, plan)
        fresh.check(io.BytesIO(content[0]), "masses", number)

    def add() -> bytes:
        return made.sum([(io.BytesIO(content[0]), "masses", number, [(0, number)])])

    encrypted = _seconds(encrypt)
    checked, added = _seconds(check), _seconds(add)
    total = add()
    shared = _seconds(lambda: made.share(own[0], total, _POINTS))
    shares = [made.share(one, total, _POINTS) for one in own]
    decoded = _seconds(lambda: made.decode(total, shares, number))
    if made.decode(total, shares, number) != tuple(map(int, plain.sum(axis=0))):
        raise SystemExit("the decrypted sums are not those of the records")
    numpy = _seconds(lambda: values(records, study).sum(axis=0))
    asked = f"degree {degree}, {len(studies.terms_of(study))} sums of {number} records"
    what = f"encrypted statistics, {asked}"
    bytes_each = len(content[0]) / number
    return [
        alone(f"{what}: encrypted and proven, per record", bytes_each, "bytes", runs=1),
        _beside(f"{what}: encode, encrypt and prove", encrypted, numpy),
        alone(f"{what}: check the proofs, per hospital", checked, "s", runs=RUNS),
        _beside(f"{what}: sum of all records", added, numpy),
        alone(f"{what}: decryption share, per hospital", shared, "s", runs=RUNS),
        alone(f"{what}: share's size", float(len(shares[0])), "bytes", runs=1),
        alone(f"{what}: combine shares", decoded, "s", runs=RUNS),
    ]


def _beside(what: str, ours: float, numpy: float) -> dict[str, Any]:
    peer = {"peer": numpy, "peer_name": "numpy, plain records", "ratio": ours / numpy}
    return {**alone(what, ours, "s", runs=RUNS), **peer}


def _accuracy(records: Raw, degree: int) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression

    study, scaled = _study(degree, _plan(_WIDE)), records.values / HIGH
    own, plain = [], []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(records.labels.size)
        seen, kept = order[:TRAINED], order[TRAINED:]
        trained = Raw(records.values[seen], records.labels[seen], numbered(TRAINED))
        sums = values(trained, study).sum(axis=0)
        model = findings(study, list(map(int, sums))).logistic
        assert model is not None
        assert model.intercept_micro is not None
        odds = model.intercept_micro + records.values[kept] @ np.array(model.coefficients_micro)
        own.append(float(np.mean((odds > 0) == records.labels[kept])))
        beside = LogisticRegression(C=1e4, max_iter=5000).fit(scaled[seen], records.labels[seen])
        plain.append(float(beside.score(scaled[kept], records.labels[kept])))
    ours, theirs = float(np.mean(own)), float(np.mean(plain))
    what = f"logistic regression from encrypted sums, degree {degree}: test accuracy"
    peer = {"peer": theirs, "peer_name": "scikit-learn, plain records", "ratio": ours / theirs}
    return {**alone(what, ours, "share", better="higher", runs=SPLITS), **peer}


def _seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(RUNS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def _masses() -> Raw:
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer()
    chosen: NDArray[np.float64] = loaded.data[:, list(COLUMNS)]
    # Its classes are malignant, benign.
    return Raw(chosen, 1 - loaded.target, numbered(len(chosen)))


def _encryption(study: StudyTerms, plan: PlanTerms) -> tuple[Study, Scheme]:
    assert isinstance(plan.encryption, EncryptionTerms)
    scheme = Scheme(plan.encryption, plan.workload, bytes.fromhex(plan.sha256))
    return Study(study, plan, scheme), scheme


def _study(degree: int, plan: PlanTerms) -> StudyTerms:
    drawn = StudyTerms.model_validate(
        {
            "study_id": "masses",
            "title": "Masses",
            "plan_id": plan.plan_id,
            "data": _data(),
            "levels": LEVELS,
            "datasets": (StudyDataset(msp_id=_HOSPITALS[0], dataset_id="masses"),),
            "holder": _HOSPITALS[3],
            "statistics": tuple(Statistic),
            "linear": NAMES[:1],
            "logistic": degree,
            "least_records": 50,
            "most_records": 1000,
            "flooding": Flooding(scale_bits=10, flood_bits=10),
        }
    )
    assert isinstance(plan.encryption, EncryptionTerms)
    fitted = studies.fitted(drawn, plan.encryption, len(_HOSPITALS))
    assert fitted is not None
    return fitted


def _data() -> DataTerms:
    columns = zip(NAMES, HIGH, strict=True)
    features = (Feature(name=n, low_micro=0, high_micro=int(high * 1e6)) for n, high in columns)
    return DataTerms(
        application="wdbc", features=tuple(features), label="malignant", classes=("no", "yes")
    )


def _plan(ring: EncryptionTerms) -> PlanTerms:
    """Whose key is used; nothing is trained by it."""
    participants = tuple(
        Participant(msp_id=h, node_id="node1", dataset_id="masses") for h in _HOSPITALS
    )
    return PlanTerms(
        plan_id="masses",
        title="Masses",
        data=_data(),
        model=ModelTerms(
            architecture="logistic",
            config={},
            architecture_sha256=_DIGEST,
            parameters=12,
            base=ContentRef(cid="none", sha256=_DIGEST, size_bytes=0),
        ),
        training=TrainingTerms(
            strategy="fedavg", rounds=1, steps=1, batch_size=1, learning_rate_micro=1
        ),
        privacy=PrivacyTerms(
            epsilon_micro=1, delta_nano=1, noise_multiplier_micro=10**6, sample_clip_micro=1
        ),
        encryption=ring,
        participation=ParticipationTerms(participants=participants, quorum=3, agreement=3),
        acceptance=AcceptanceTerms(),
    )
