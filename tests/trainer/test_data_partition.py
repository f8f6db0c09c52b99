"""One data set among hospitals: nothing lost, nothing twice, the test set never given out."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema.errors import MedFabricError
from trainer import applications
from trainer.applications import breast_cancer
from trainer.applications.files import load, write
from trainer.data.partition import (
    LEAST,
    NAMES,
    PARTITIONERS,
    dirichlet,
    feature_shift,
    identical,
    quantity,
)

WDBC = applications.find("breast-cancer")
LABELS = np.random.default_rng(5).integers(0, 2, 400)
VALUES = np.random.default_rng(6).normal(size=(400, 5)) * (1, 0.3, 10, 1, 1)
VALUES[:, 1] += VALUES[:, 0]
"""The first two columns go together; the third has a larger unit."""


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), parts=st.integers(2, 8))
def test_every_record_goes_to_one_part(name: str, seed: int, parts: int) -> None:
    shares = PARTITIONERS[name](VALUES, LABELS, parts, seed)

    assert len(shares) == parts
    assert min(share.size for share in shares) >= LEAST
    assert sorted(np.concatenate(shares)) == list(range(LABELS.size))
    again = PARTITIONERS[name](VALUES, LABELS, parts, seed)
    assert all(np.array_equal(one, two) for one, two in zip(shares, again, strict=True))


@given(seed=st.integers(0, 2**32), parts=st.integers(2, 8))
def test_identical_parts_have_the_same_share_of_each_class(seed: int, parts: int) -> None:
    shares = identical(VALUES, LABELS, parts, seed)

    counts = [np.bincount(LABELS[rows]) for rows in shares]
    assert np.ptp(counts, axis=0).max() <= 1


def test_dirichlet_parts_differ_more_where_alpha_is_small() -> None:
    def skew(alpha: float) -> float:
        means = [
            [LABELS[rows].mean() for rows in dirichlet(VALUES, LABELS, 4, seed, alpha)]
            for seed in range(20)
        ]
        return float(np.std(means, axis=1).mean())

    assert skew(0.3) > 2 * skew(30)


@given(seed=st.integers(0, 2**32), parts=st.integers(2, 8))
def test_quantity_skew_keeps_the_shares_of_the_classes(seed: int, parts: int) -> None:
    for rows in quantity(VALUES, LABELS, parts, seed):
        # Every class is cut at the same fractions, rounded down: one record more or less of each.
        assert abs(LABELS[rows].sum() - rows.size * LABELS.mean()) <= 2


def test_quantity_parts_differ_more_where_alpha_is_small() -> None:
    def skew(alpha: float) -> float:
        sizes = [
            [rows.size for rows in quantity(VALUES, LABELS, 4, seed, alpha)] for seed in range(20)
        ]
        return float(np.std(sizes, axis=1).mean())

    assert skew(0.5) > 3 * skew(50)


@given(seed=st.integers(0, 2**32), parts=st.integers(2, 8))
def test_feature_shift_makes_equal_parts_of_patients_who_are_alike(seed: int, parts: int) -> None:
    shares = feature_shift(VALUES, LABELS, parts, seed, blend=0.1)

    assert np.ptp([rows.size for rows in shares]) <= 1
    means = np.array([VALUES[rows].mean(axis=0) for rows in shares])
    shift = means.std(axis=0) / VALUES.std(axis=0)
    # Patients differ most in what goes together, whatever its unit.
    assert shift[:2].min() > 2 * shift[2:].max()


def test_feature_shift_takes_missing_values_and_constant_columns() -> None:
    values = VALUES.copy()
    values[::3, 0] = np.nan
    values[:, 1] = 7

    shares = feature_shift(values, LABELS, 4, seed=1)

    assert sorted(np.concatenate(shares)) == list(range(400))


def test_impossible_partition_is_refused() -> None:
    with pytest.raises(MedFabricError, match="MF-9006"):
        dirichlet(VALUES[:20], LABELS[:20], 4, seed=0, alpha=0.01)


def test_breast_cancer_columns_are_bounded_by_the_public_description() -> None:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    terms = breast_cancer.terms()

    assert len(terms.features) == 20
    for feature in terms.features:
        column = data.data[:, list(data.feature_names).index(feature.name)]
        # The description prints rounded figures.
        assert feature.low_micro / 1e6 == pytest.approx(column.min(), rel=0.01, abs=0.001)
        reach = float(column.min() + breast_cancer.REACH * (column.max() - column.min()))
        assert feature.high_micro / 1e6 == pytest.approx(reach, rel=0.01)


@pytest.mark.parametrize("partition", NAMES)
def test_every_patient_is_in_one_hospital_or_held_out(tmp_path: Path, partition: str) -> None:
    files = write(WDBC, tmp_path, 4, seed=3, partition=partition)

    def patients(path: Path) -> list[tuple[str, ...]]:
        with path.open(newline="") as file:
            return [tuple(row) for row in csv.reader(file)][1:]

    held_out = patients(files.test)
    everybody = [row for path in (*files.hospitals, files.test) for row in patients(path)]
    assert len(everybody) == len(set(everybody)) == 569
    assert len(held_out) == 113
    # The test set is the same whatever the seed: no choice made on other seeds has seen it.
    other = write(WDBC, tmp_path / "other", 4, seed=4, partition=partition)
    assert patients(other.test) == held_out
    assert patients(other.hospitals[0]) != patients(files.hospitals[0])


def test_written_records_read_back_bounded(tmp_path: Path) -> None:
    hospitals, test = load(WDBC, write(WDBC, tmp_path, 4, seed=0))

    assert [len(records) for records in hospitals] == [115, 115, 113, 113]
    assert len(test) == 113
    for records in (*hospitals, test):
        assert records.features.shape[1] == 20
        assert np.abs(records.features).max() <= 1
        assert set(records.labels) == {0, 1}


def test_demonstration_offers_every_partition() -> None:
    from demo.cli import demo

    (option,) = [one for one in demo.params if one.name == "partition"]
    assert tuple(option.type.choices) == NAMES  # type: ignore[attr-defined]
