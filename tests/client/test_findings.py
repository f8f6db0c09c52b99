"""What follows from a study's sums, beside what numpy and scikit-learn make of the records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.scenario import terms
from support.studies import study_terms

from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.studies import (
    Histogram,
    Statistic,
    StudyPrivacy,
    StudyTerms,
    Term,
    noises,
    terms_of,
)
from client.findings import Findings, findings
from trainer.data.raw import Raw, numbered
from trainer.data.studied import values

LEVELS = 1000
NAMES = ("radius", "texture", "concavity")
HIGH = (30.0, 40.0, 0.5)
ROOM = EncryptionTerms(poly_modulus_degree=8192, modulus_bits=(48, 48, 48, 48))


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
    return (np.rint((2 * records.values / HIGH - 1) * LEVELS) / LEVELS + 1) * HIGH / 2


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
    assert found.ridge_micro == 0


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


def _noised(records: Raw, study: StudyTerms, seed: int) -> list[int]:
    """Sums with the noise of three owners."""
    exact = values(records, study).sum(axis=0)
    drawn = np.random.default_rng(seed).normal(0, np.sqrt(3) * np.array(noises(study)))
    return [int(total) for total in exact + np.rint(drawn)]


NOISED = StudyPrivacy(noise_milli=8000, quorum=3)
"""For the sums of three columns and a label an epsilon of 1.3."""


def test_regressions_from_sums_with_noise_stay_near_those_without(records: Raw) -> None:
    study = _study(logistic=1, linear=("radius",), histograms=(), privacy=NOISED)
    target, others = records.values[:, 0], records.values[:, 1:]
    told_apart, errors = [], []
    for seed in range(20):
        found = findings(study, _noised(records, study, seed))
        (line,), odds = found.linear, found.logistic
        assert odds is not None
        assert odds.intercept_micro is not None
        assert line.intercept_micro is not None
        right = odds.intercept_micro + records.values @ np.array(odds.coefficients_micro) > 0
        told_apart.append(np.mean(right == records.labels))
        predicted = line.intercept_micro + others @ np.array(line.coefficients_micro)
        errors.append(np.mean((predicted / 1e6 - target) ** 2) / target.var())

    # Without noise 0.92 and 0.53. Without the ridge the steepest odds are thrown away, and the mean
    # error of the lines is many times that of no line at all.
    assert np.mean(told_apart) > 0.86
    assert np.mean(errors) < 1.1


@pytest.mark.parametrize("milli", [500, 4000, 10**6])
def test_the_ridge_is_the_least_that_lifts_the_moments_out_of_their_noise(
    records: Raw, milli: int
) -> None:
    privacy = NOISED.model_copy(update={"noise_milli": milli})
    study = _study(logistic=1, linear=(), levels=50, privacy=privacy)
    sums = _noised(records, study, 1)

    found = findings(study, sums).logistic

    by_term = dict(zip(terms_of(study), sums, strict=True))
    first = np.array([by_term[Term((i,))] for i in range(3)])
    second = np.array([[by_term[Term((min(i, j), max(i, j)))] for i in range(3)] for j in range(3)])
    smallest = np.linalg.eigvalsh(second - np.outer(first, first) / 569)[0]
    noise = 50 * 50 * milli / 1000 * np.sqrt(3 * 3)
    assert found is not None
    ridge = found.ridge_micro / 1e6 * 569 * 50 * 50
    assert 0 <= ridge - max(0, noise - smallest) < noise / 7


def test_a_mean_is_told_with_the_deviation_of_its_noise(records: Raw) -> None:
    exact, noised = _study(), _study(linear=(), histograms=(), privacy=NOISED)
    wanted = [column.mean_micro for column in _found(exact, records).columns]

    drawn = [findings(noised, _noised(records, noised, seed)).columns for seed in range(60)]

    assert [column.mean_noise_micro for column in _found(exact, records).columns] == [0, 0, 0]
    for place, mean in enumerate(wanted):
        off = [column[place].mean_micro - mean for column in drawn]
        told = drawn[0][place].mean_noise_micro
        assert 0.8 * told < np.std(off) < 1.2 * told


def test_a_cubic_that_noise_drives_away_has_no_coefficients(records: Raw) -> None:
    privacy = NOISED.model_copy(update={"noise_milli": 300_000})
    study = _study(logistic=3, histograms=(), linear=(), levels=20, privacy=privacy)

    found = findings(study, _noised(records, study, 2)).logistic

    assert found is not None
    assert found.coefficients_micro == ()
    assert found.ridge_micro > 0


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
