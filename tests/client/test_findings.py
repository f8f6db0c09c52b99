"""What follows from a study's sums, beside what numpy and scikit-learn make of the records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.scenario import terms
from support.studies import study_terms

from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.studies import Histogram, Statistic, StudyTerms, Term, terms_of
from client.findings import Findings, findings
from trainer.data.raw import Raw, numbered
from trainer.data.studied import values

LEVELS = 1000
NAMES = ("radius", "texture", "concavity")
HIGH = (30.0, 40.0, 0.5)
ROOM = EncryptionTerms(poly_modulus_degree=8192, modulus_bits=(48, 48, 48))


def _study(**changes: Any) -> StudyTerms:
    plan = terms().model_copy(update={"encryption": ROOM})
    data = DataTerms(
        application="wdbc",
        features=tuple(
            Feature(name=name, low_micro=0, high_micro=int(high * 1e6))
            for name, high in zip(NAMES, HIGH, strict=True)
        ),
        label="malignant",
        classes=("no", "yes"),
    )
    asked = {
        "data": data,
        "levels": LEVELS,
        "statistics": tuple(Statistic),
        "histograms": (Histogram(name="radius", bins=3), Histogram(name="malignant")),
        "linear": ("concavity",),
        "logistic": None,
    }
    return study_terms(plan, **asked | changes)


@pytest.fixture(scope="module")
def records() -> Raw:
    """Real: breast masses as scikit-learn ships them."""
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer()
    columns = [0, 1, 6]
    # Its classes are malignant, benign.
    return Raw(loaded.data[:, columns], 1 - loaded.target, numbered(len(loaded.data)))


def _found(study: StudyTerms, records: Raw) -> Findings:
    return findings(study, list(map(int, values(records, study).sum(axis=0))))


def _stepped(records: Raw) -> np.ndarray:
    """The records as the study tells them apart."""
    return np.rint(records.values / HIGH * LEVELS) / LEVELS * HIGH


def test_moments_are_those_of_the_records(records: Raw) -> None:
    found, seen = _found(_study(), records), _stepped(records)

    covariances, correlations = np.cov(seen.T), np.corrcoef(seen.T)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found.records == 569
    means = [column.mean_micro for column in found.columns]
    assert means == pytest.approx(list(1e6 * seen.mean(axis=0)), abs=1)
    variances = [column.variance_micro for column in found.columns]
    assert variances == pytest.approx(list(1e6 * np.diag(covariances)), abs=1)
    given = [pair.covariance_micro for pair in found.pairs]
    assert given == pytest.approx([1e6 * covariances[p] for p in pairs], abs=1)
    given = [pair.correlation_micro for pair in found.pairs]
    assert given == pytest.approx([1e6 * correlations[p] for p in pairs], abs=1)


def test_histograms_count_every_record_once(records: Raw) -> None:
    radius, label = _found(_study(), records).histograms

    wanted, _ = np.histogram(records.values[:, 0], bins=3, range=(0, 30))
    assert [b.records for b in radius.bins] == list(wanted)
    assert [(b.name, b.records) for b in label.bins] == [("no", 357), ("yes", 212)]
    assert [b.name for b in radius.bins] == ["0", "10000000", "20000000"]


def test_a_linear_regression_is_that_of_least_squares(records: Raw) -> None:
    (found,), seen = _found(_study(), records).linear, _stepped(records)

    design = np.column_stack([np.ones(len(seen)), seen[:, :2]])
    wanted, *_ = np.linalg.lstsq(design, seen[:, 2], rcond=None)
    given = [found.intercept_micro, *found.coefficients_micro]
    assert found.names == ("radius", "texture")
    assert given == pytest.approx(list(1e6 * wanted), abs=1)


def test_columns_that_depend_on_each_other_have_no_regression() -> None:
    twice = Raw(np.tile(np.arange(20.0)[:, None] / 50, 3), np.arange(20) % 2, numbered(20))
    same = tuple(Feature(name=n, low_micro=0, high_micro=10**6) for n in NAMES)
    data = _study().data.model_copy(update={"features": same})

    found = _found(_study(data=data, histograms=(), logistic=1), twice)

    assert found.linear[0].intercept_micro is None
    assert found.logistic is not None
    assert found.logistic.coefficients_micro == ()
    assert [pair.correlation_micro for pair in found.pairs] == [10**6] * 3


@pytest.mark.parametrize(("degree", "behind"), [(1, 0.02), (3, 0.01)])
def test_a_logistic_regression_from_sums_is_nearly_as_accurate_as_one_on_the_records(
    records: Raw, degree: int, behind: float
) -> None:
    from sklearn.linear_model import LogisticRegression

    own, plain = [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(records.labels.size)
        seen, kept = order[:400], order[400:]
        trained = Raw(records.values[seen], records.labels[seen], numbered(400))
        model = _found(_study(logistic=degree, linear=()), trained).logistic
        assert model is not None
        assert model.intercept_micro is not None
        odds = model.intercept_micro + records.values[kept] @ np.array(model.coefficients_micro)
        scaled = records.values / HIGH
        beside = LogisticRegression(C=1e4, max_iter=5000).fit(scaled[seen], records.labels[seen])
        own.append(np.mean((odds > 0) == records.labels[kept]))
        plain.append(beside.score(scaled[kept], records.labels[kept]))

    print(degree, np.mean(own), np.mean(plain))
    assert np.mean(own) > np.mean(plain) - behind


def test_what_noise_makes_impossible_is_left_out_or_cut(records: Raw) -> None:
    study = _study(linear=())
    sums = list(map(int, values(records, study).sum(axis=0)))
    listed = terms_of(study)
    sums[listed.index(Term((0, 0)))] = 0
    sums[listed.index(Term((1, 2)))] *= 1000
    sums[listed.index(Term(name="radius", bin=2))] = -3

    found = findings(study, sums)

    assert found.columns[0].variance_micro is None
    assert found.columns[1].variance_micro is not None
    by_names = {pair.names: pair.correlation_micro for pair in found.pairs}
    assert by_names["radius", "texture"] is None
    assert by_names["texture", "concavity"] == 10**6
    assert found.histograms[0].bins[2].records == 0
