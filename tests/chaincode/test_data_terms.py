"""Data terms by which no record could be read are refused when a plan is proposed."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.scenario import HOSPITALS, at, terms

from chaincode.schema.data import (
    Category,
    DataTerms,
    Distribution,
    Expectation,
    Feature,
    RecordingTerms,
    TensorTerms,
    problem,
)
from chaincode.schema.errors import Code

AGE = Feature(name="age", low_micro=0, high_micro=10)
SEX = Category(name="sex", codes=("f", "m"))
SIGNAL = TensorTerms(shape=(2, 8), low_micro=0, high_micro=1)
RECORDING = RecordingTerms(channels=("x", "y"), rate_millihertz=1000, stride=8)


def table(*columns: Any, **more: Any) -> DataTerms:
    return DataTerms(application="t", features=columns, label="l", classes=("a", "b"), **more)


def signal(**changes: Any) -> DataTerms:
    tensor = SIGNAL.model_copy(update=changes)
    return DataTerms(application="t", tensor=tensor, label="l", classes=("a", "b"))


def expecting(**changes: Any) -> DataTerms:
    age = Distribution(name="age", edges_micro=(3, 6), shares_micro=(500_000, 300_000, 200_000))
    sex = Distribution(name="sex", shares_micro=(400_000, 600_000), missing_micro=10)
    columns = (age.model_copy(update=changes), sex)
    expected = Expectation(classes_micro=(900_000, 100_000), columns=columns)
    return table(AGE, SEX, expected=expected)


@pytest.mark.parametrize("good", [table(AGE, SEX), expecting(), signal(recording=RECORDING)])
def test_terms_that_hold_together_have_no_problem(good: DataTerms) -> None:
    assert problem(good) is None
    assert DataTerms.model_validate_json(good.model_dump_json()) == good


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (table(AGE.model_copy(update={"high_micro": 0})), "bounds of age"),
        (table(AGE, SEX.model_copy(update={"name": "age"})), "same name"),
        (table(Category(name="sex", codes=("f", "f"))), "two codes of sex"),
        (table(Category(name="sex", codes=("f", "m"), missing="x")), "no such code"),
        (table(Category(name="sex", codes=("f", "m"), other="x")), "no such code"),
        (signal(low_micro=1), "bounds"),
        (signal(recording=RECORDING.model_copy(update={"channels": ("x",)})), "shape"),
        (signal(recording=RECORDING.model_copy(update={"channels": ("x", "x")})), "same name"),
        (signal(shape=(2, 8, 8), recording=RECORDING), "shape"),
        (expecting(name="weight"), "no column weight"),
        (expecting(name="sex"), "two expected columns"),
        (expecting(edges_micro=(6, 3)), "do not follow"),
        (expecting(edges_micro=(3, 3)), "do not follow"),
        (expecting(edges_micro=(3,)), "one for each of 2"),
        (expecting(shares_micro=(500_000, 300_000, 200_001)), "not 1000000"),
        (table(AGE, expected=Expectation(classes_micro=(1_000_000,))), "classes"),
        (table(AGE, expected=Expectation(classes_micro=(500_000, 400_000))), "classes"),
    ],
)
def test_terms_that_do_not_hold_together_are_refused_with_the_reason(
    wrong: DataTerms, why: str
) -> None:
    scenario = at("enrolled")

    assert why in (problem(wrong) or "")
    plan = terms().model_copy(update={"data": wrong})
    error = scenario.refused(HOSPITALS[0], "plan:Propose", plan)

    assert error.code == Code.PLAN_INVALID
    assert why in error.message


def test_a_column_is_either_numbers_or_codes() -> None:
    both = {**AGE.model_dump(), **SEX.model_dump(), "name": "age"}

    with pytest.raises(ValidationError):
        table().model_validate({**table(AGE).model_dump(), "features": (both,)})
