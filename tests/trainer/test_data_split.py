"""Training, validation, test: no patient in two parts, whoever made them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.errors import MedFabricError
from trainer.data.dataset import Source, open_dataset
from trainer.data.split import PARTS, TEST, TRAINING, VALIDATION, Split

TERMS = DataTerms(
    application="test",
    features=(Feature(name="age", low_micro=0, high_micro=100_000_000),),
    patient="id",
    label="outcome",
    classes=("well", "ill"),
)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=120),
    st.integers(0, 2**32),
    st.floats(0, 0.49),
    st.floats(0, 0.49),
)
def test_no_patient_is_in_two_parts_and_no_part_exceeds_its_fraction(
    owners: list[int], seed: int, validation: float, test: float
) -> None:
    patients = np.array(owners)

    split = Split.drawn(patients.size, patients, seed, validation, test)

    parts = [split.rows(part) for part in (TRAINING, VALIDATION, TEST)]
    assert sorted(np.concatenate(parts)) == list(range(patients.size))
    seen = [set(patients[rows]) for rows in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert parts[VALIDATION].size <= round(patients.size * validation)
    assert parts[TEST].size <= round(patients.size * test)
    again = Split.drawn(patients.size, patients, seed, validation, test)
    assert np.array_equal(split.part, again.part)


def test_a_test_part_takes_nothing_from_the_validation_part() -> None:
    without = Split.drawn(50, None, 3, 0.2)
    with_test = Split.drawn(50, None, 3, 0.2, 0.1)

    assert np.array_equal(without.rows(VALIDATION), with_test.rows(VALIDATION))
    assert with_test.rows(TEST).size == 5


def test_hash_tells_parts_and_salt_apart() -> None:
    parts = [Split(np.array(part, np.int8)) for part in ([0, 0, 1], [0, 1, 0], [0, 0, 2])]

    found = {split.sha256(salt) for split in parts for salt in (b"a", b"b")}

    assert len(found) == 6


def test_file_may_say_itself_what_each_record_is_for(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text(
        "id,age,outcome,part\na,1,ill,training\na,2,well,training\nb,3,ill,test\nc,4,ill,validation\n"
    )

    opened = open_dataset(Source(file=path, split_column="part"), TERMS)

    assert [len(part) for part in (opened.training, opened.validation, opened.test)] == [2, 1, 1]


def test_patient_in_two_parts_is_refused_by_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text(
        "id,age,outcome,part\nSmith,1,ill,training\nb,3,well,training\nSmith,2,well,test\n"
    )

    with pytest.raises(MedFabricError) as caught:
        open_dataset(Source(file=path, split_column="part"), TERMS)

    assert caught.value.code == "MF-9011"
    assert "records.csv: line 2 (training) and line 4 (test)" in caught.value.message
    assert "Smith" not in caught.value.message


def test_patient_in_two_parts_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "records.npz"
    arrays = {"features": np.ones((4, 1)), "labels": np.array([0, 1, 0, 1])}
    np.savez(path, **arrays, patients=np.array([1, 2, 3, 2]), part=np.array(PARTS)[[0, 0, 1, 2]])

    with pytest.raises(MedFabricError, match=r"MF-9011.*record 1 \(training\) and record 3 \(test"):
        open_dataset(Source(file=path, split_column="part"), TERMS)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("id,age,outcome\na,1,ill\n", "MF-9006.*no column 'part'"),
        ("id,age,outcome,part\na,1,ill,train\n", "MF-9005.*line 2.*training, validation, test"),
    ],
)
def test_unusable_part_is_refused(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "records.csv"
    path.write_text(rows)

    with pytest.raises(MedFabricError, match=message):
        open_dataset(Source(file=path, split_column="part"), TERMS)


def test_class_without_a_training_record_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text("id,age,outcome,part\na,1,ill,training\nb,3,well,validation\n")
    source = Source(file=path, split_column="part")

    with pytest.raises(MedFabricError, match=r"MF-9012.*records\.csv: 0 training.*'well'.*outcome"):
        open_dataset(source, TERMS)

    lenient = TERMS.model_copy(update={"least_per_class": 0})
    assert len(open_dataset(source, lenient).training) == 1
