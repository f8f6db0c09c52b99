"""Missing values and codes: read, filled in and coded by the plan alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema.data import Category, DataTerms, Feature
from chaincode.schema.errors import MedFabricError
from trainer.data.files import load, read
from trainer.data.inputs import inputs
from trainer.data.raw import Raw, numbered
from trainer.data.statistics import statistics

AGE = Feature(name="age", low_micro=0, high_micro=100_000_000, missing_micro=50_000_000)
DOSE = Feature(name="dose", low_micro=-1_000_000, high_micro=1_000_000)
WARD = Category(
    name="ward", codes=("icu", "er", "unknown", "else"), missing="unknown", other="else"
)
SEX = Category(name="sex", codes=("f", "m"))


def terms(*columns: Any) -> DataTerms:
    return DataTerms(application="t", features=columns, label="outcome", classes=("well", "ill"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.csv"


def test_missing_number_becomes_the_plans_own(path: Path) -> None:
    path.write_text("age,dose,outcome\n25,0,ill\n,0,well\nNA,0,well\n nan ,0,well\n")

    records = read(path, terms(AGE, DOSE))

    assert records.features[:, 0].tolist() == [-0.5, 0.0, 0.0, 0.0]
    assert np.isnan(load(path, terms(AGE, DOSE)).values[1:, 0]).all()


def test_codes_become_one_input_each(path: Path) -> None:
    path.write_text("ward,sex,outcome\nicu,m,ill\n,f,well\ndialysis,f,well\n")

    data = terms(WARD, SEX)
    records = read(path, data)

    assert data.shape == (6,)
    assert records.features.tolist() == [
        [1, 0, 0, 0, 0, 1],
        [0, 0, 1, 0, 1, 0],
        [0, 0, 0, 1, 1, 0],
    ]


def test_code_may_be_written_like_a_missing_value(path: Path) -> None:
    path.write_text("side,outcome\nnone,ill\n,well\n")
    side = Category(name="side", codes=("left", "none", "?"), missing="?")

    assert read(path, terms(side)).features.tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("dose,outcome\nNA,ill\n", (DOSE,), "MF-9005.*line 2: column 'dose' is missing"),
        ("age,outcome\n1,ill\ninf,ill\n", (AGE,), "MF-9005.*line 3: column 'age'.*finite"),
        ("age,outcome\nold,ill\n", (AGE,), "MF-9005.*line 2: column 'age' is not a number"),
        ("sex,outcome\n,ill\n", (SEX,), "MF-9005.*line 2: column 'sex' is missing"),
        ("sex,outcome\nf,ill\nx,ill\n", (SEX,), "MF-9005.*line 3: column 'sex' is none"),
        ("age,outcome\n1,ill\n", (AGE, SEX), "MF-9006.*no column 'sex'"),
    ],
)
def test_what_the_plan_has_nothing_for_is_refused(
    path: Path, text: str, columns: tuple[Any, ...], message: str
) -> None:
    path.write_text(text)

    with pytest.raises(MedFabricError, match=message):
        read(path, terms(*columns))


def test_archive_has_codes_as_indices_and_missing_values_as_nan(tmp_path: Path) -> None:
    path = tmp_path / "records.npz"
    np.savez(path, features=np.array([[25, 0], [np.nan, np.nan]]), labels=np.array([0, 1]))

    assert read(path, terms(AGE, WARD)).features.tolist() == [[-0.5, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    for wrong in (4.0, 0.5, -1.0, np.inf):
        np.savez(path, features=np.array([[25, 0], [1, wrong]]), labels=np.array([0, 1]))
        with pytest.raises(MedFabricError, match=r"MF-9005.*record 1: column 'ward'"):
            read(path, terms(AGE, WARD))


_VALUES = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6))


@given(
    st.lists(st.tuples(_VALUES, st.sampled_from([0, 1, 2, 3, float("nan")])), min_size=1),
    st.lists(st.tuples(_VALUES, st.sampled_from([0, 1, 2, 3, float("nan")])), min_size=1),
)
def test_inputs_of_a_record_do_not_depend_on_any_other(
    mine: list[tuple[float, float]], others: list[tuple[float, float]]
) -> None:
    data = terms(AGE, WARD)

    def made(rows: list[tuple[float, float]]) -> np.ndarray:
        labels = np.zeros(len(rows), np.int64)
        return inputs(Raw(np.array(rows), labels, numbered(len(rows))), data)

    alone, among = made(mine), made(mine + others)

    assert np.array_equal(alone, among[: len(mine)])
    assert np.isfinite(alone).all()
    assert np.abs(alone).max() <= 1


def test_statistics_count_what_is_missing_and_leave_codes_out(path: Path) -> None:
    path.write_text("age,ward,outcome\n20,icu,ill\n,er,well\n40,er,well\n")

    found = statistics(path, terms(AGE, WARD))

    (age,) = found.features
    assert (age.name, age.missing, age.mean_micro) == ("age", 1, 30_000_000)
