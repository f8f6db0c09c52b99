"""A hospital's own files: scaled by public bounds alone, refused with row and column."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema.data import DataTerms, Feature, TensorTerms
from chaincode.schema.errors import MedFabricError
from trainer.data.files import load, read
from trainer.data.records import Records, split
from trainer.data.text import hashed

TERMS = DataTerms(
    application="test",
    features=(
        Feature(name="age", low_micro=0, high_micro=100_000_000),
        Feature(name="dose", low_micro=-1_000_000, high_micro=1_000_000),
    ),
    label="outcome",
    classes=("well", "ill"),
)
RECORDS = Records(np.zeros((50, 2), np.float32), np.arange(50, dtype=np.int64))

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "records.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_csv_is_scaled_by_the_plans_bounds_and_clipped(write: Write) -> None:
    path = write("outcome,dose,age,other\nill,0.5,25,x\nwell,-7,130,y\n")

    records = read(path, TERMS)

    assert records.features.dtype == np.float32
    assert records.features.tolist() == [[-0.5, 0.5], [1.0, -1.0]]
    assert records.labels.tolist() == [1, 0]


def test_scaling_of_a_record_does_not_depend_on_the_others(write: Write) -> None:
    alone = read(write("age,dose,outcome\n40,0.2,ill\n"), TERMS)
    among = read(write("age,dose,outcome\n40,0.2,ill\n99,1,well\n1,-1,well\n"), TERMS)

    assert np.array_equal(alone.features[0], among.features[0])


def test_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_bytes(b"\xef\xbb\xbfage,dose,outcome\r\n1,1,ill\r\n")

    assert len(read(path, TERMS)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,outcome\n1,ill\n", "MF-9006.*no column 'dose'"),
        ("age,dose,age,outcome\n1,1,1,ill\n", "MF-9006.*more than one column 'age'"),
        ("age,dose,outcome\n", "MF-9006.*no records"),
        ("", "MF-9006.*no column 'age'"),
        (
            "age;dose;outcome\n1;1;ill\n",
            "MF-9006.*semicolons between its fields; write it with commas",
        ),
        ('"age"\tdose\toutcome\n1\t1\till\n', "MF-9006.*tabs between its fields"),
        ("age,dose,outcome\n1,1,ill\n1,,ill\n", "MF-9005.*line 3: column 'dose' is missing"),
        ("age,dose,outcome\n1,nan,ill\n", "MF-9005.*line 2: column 'dose'"),
        ("age,dose,outcome\nold,1,ill\n", "MF-9005.*line 2: column 'age'"),
        ("age,dose,outcome\n1,1\n", "MF-9005.*line 2: fewer fields"),
        ("age,dose,outcome\n1,1,dead\n", "MF-9005.*line 2: column 'outcome'"),
        ("age,dose,outcome\n1,1,ill,5\n", "MF-9005.*line 2: more fields"),
        ('age,dose,outcome\n1,1,"ill\n', "MF-9004"),
    ],
)
def test_unusable_csv_is_refused(write: Write, text: str, message: str) -> None:
    with pytest.raises(MedFabricError, match=message):
        read(write(text), TERMS)


def test_refusal_does_not_repeat_what_a_record_says(write: Write) -> None:
    with pytest.raises(MedFabricError) as caught:
        read(write("age,dose,outcome\nJane Doe,1,ill\n"), TERMS)

    assert "Jane" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MedFabricError, match=r"MF-9004.*absent\.csv"):
        read(tmp_path / "absent.csv", TERMS)


def test_numpy_file_reads_like_csv(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "records.npz"
    np.savez(path, features=np.array([[25, 0.5], [130, -7]]), labels=np.array([1, 0]))

    records = read(path, TERMS)

    same = read(write("age,dose,outcome\n25,0.5,ill\n130,-7,well\n"), TERMS)
    assert np.array_equal(records.features, same.features)
    assert np.array_equal(records.labels, same.labels)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": np.zeros((3, 2))}, "MF-9004.*labels"),
        ({"features": np.zeros((3, 2)), "labels": np.zeros(2, int)}, "MF-9006.*not one label"),
        ({"features": np.zeros((3, 3)), "labels": np.zeros(3, int)}, "MF-9006"),
        ({"features": np.zeros((2, 2)), "labels": np.zeros((2, 1), int)}, "MF-9006"),
        ({"features": np.zeros((2, 2)), "labels": np.array([0, 2])}, "MF-9005.*label"),
        ({"features": np.full((2, 2), np.nan), "labels": np.zeros(2, int)}, "MF-9005.*finite"),
        ({"features": np.array([["a", "b"]]), "labels": np.zeros(1, int)}, "MF-9005.*numbers"),
    ],
)
def test_unusable_numpy_file_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    path = tmp_path / "records.npz"
    np.savez(path, **arrays)

    with pytest.raises(MedFabricError, match=message):
        read(path, TERMS)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "records.npz"
    np.savez(path, features=np.array([[object()]], dtype=object), labels=np.zeros(1, int))

    with pytest.raises(MedFabricError, match="MF-9004"):
        read(path, TERMS)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(lambda rest: b"\x93NUMPY\x01\x00" + rest),
        st.binary(max_size=60).map(lambda rest: b"PK\x03\x04" + rest),
    )
)
def test_garbage_is_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name in ("garbage.csv", "garbage.npz"):
        (folder / name).write_bytes(content)
        with pytest.raises(MedFabricError, match=r"MF-900[456]"):
            read(folder / name, TERMS)


def test_bounds_that_bound_nothing_are_refused(write: Write) -> None:
    flat = Feature(name="dose", low_micro=5, high_micro=5)
    terms = TERMS.model_copy(update={"features": (TERMS.features[0], flat)})

    with pytest.raises(MedFabricError, match=r"MF-9006.*bound"):
        read(write("age,dose,outcome\n1,1,ill\n"), terms)


@given(st.floats(0, 0.9), st.integers(0, 2**32))
def test_split_loses_and_repeats_no_record(fraction: float, seed: int) -> None:
    training, validation = split(RECORDS, fraction, seed)

    assert len(validation) == round(50 * fraction)
    assert sorted([*training.labels, *validation.labels]) == list(range(50))
    assert np.array_equal(training.labels, split(RECORDS, fraction, seed)[0].labels)


IMAGES = DataTerms(
    application="images",
    tensor=TensorTerms(shape=(1, 6, 4), low_micro=0, high_micro=255_000_000),
    label="kind",
    classes=("well", "ill"),
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    from PIL import Image

    for name, grey in (("well", 0), ("ill", 255)):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 6), grey).save(tmp_path / name / "a.png")
    return tmp_path


def test_folder_of_images_is_read_class_by_class(images: Path) -> None:
    records = read(images, IMAGES)

    assert records.features.shape == (2, 1, 6, 4)
    assert records.features.reshape(2, -1).mean(1).tolist() == [-1.0, 1.0]
    assert records.labels.tolist() == [0, 1]


def test_image_of_another_size_is_refused_by_name(images: Path) -> None:
    from PIL import Image

    Image.new("L", (5, 6)).save(images / "ill" / "b.png")

    with pytest.raises(MedFabricError, match=r"MF-9006.*b\.png is 5 x 6"):
        read(images, IMAGES)


@given(content=st.binary(max_size=200))
def test_file_that_is_no_image_is_refused_by_name(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("images")
    for name in IMAGES.classes:
        (folder / name).mkdir()
    (folder / "well" / "c.png").write_bytes(content)

    with pytest.raises(MedFabricError, match=r"MF-9004.*c\.png"):
        read(folder, IMAGES)


def test_class_without_a_folder_is_refused(images: Path) -> None:
    (images / "ill" / "a.png").unlink()
    (images / "ill").rmdir()

    with pytest.raises(MedFabricError, match=r"MF-9006.*'ill'"):
        read(images, IMAGES)


def test_folder_that_is_no_class_is_refused(images: Path) -> None:
    (images / "unsure").mkdir()

    with pytest.raises(MedFabricError, match=r"MF-9006.*unsure is none of the plan's classes"):
        read(images, IMAGES)


def test_grey_of_sixteen_bits_is_read_whole(images: Path) -> None:
    from PIL import Image

    deep = np.linspace(0, 65535, 24).reshape(6, 4).astype(np.uint16)
    Image.fromarray(deep).save(images / "ill" / "a.png")

    values = load(images, IMAGES).values

    assert np.array_equal(values[1, 0], deep)
    assert values[0].max() == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_image_of_another_kind_is_refused_by_name(images: Path, mode: str) -> None:
    from PIL import Image

    Image.new(mode, (4, 6)).save(images / "ill" / "b.png")

    with pytest.raises(MedFabricError, match=rf"MF-9006.*b\.png is of kind {mode}"):
        read(images, IMAGES)


def test_index_says_whose_an_image_is_and_what_for(images: Path) -> None:
    terms = IMAGES.model_copy(update={"patient": "who"})
    with pytest.raises(MedFabricError, match=r"MF-9006.*no index\.csv.*'who'"):
        load(images, terms)
    (images / "index.csv").write_text("image,who,part\nill/a.png,p1,test\n")
    with pytest.raises(MedFabricError, match=r"MF-9006.*nothing of well/a\.png"):
        load(images, terms)
    (images / "index.csv").write_text("image,who,part\nill/a.png,p1,test\nwell/a.png,p1,test\n")

    found = load(images, terms, "part")

    assert found.patients is not None
    assert found.patients[0] == found.patients[1]
    assert found.parts is not None
    assert found.parts.tolist() == [2, 2]


def test_arrays_without_the_patients_that_the_plan_asks_for_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.zeros((3, 1, 6, 4)), labels=np.zeros(3, np.int64))

    with pytest.raises(MedFabricError, match=r"MF-9006.*no array 'patients'"):
        read(tmp_path / "a.npz", IMAGES.model_copy(update={"patient": "who"}))


def test_patients_of_arrays_are_numbers_or_names(tmp_path: Path) -> None:
    path, terms = tmp_path / "a.npz", IMAGES.model_copy(update={"patient": "who"})
    records = {"features": np.zeros((3, 1, 6, 4)), "labels": np.zeros(3, np.int64)}

    for patients in ([7, -2, 7], ["anna", "bela", "anna"]):
        np.savez(path, patients=np.array(patients), **records)
        found = read(path, terms).patients
        assert found is not None
        assert found[0] == found[2] != found[1]
    for wrong in ([0.5, 1, 2], [b"a", b"b", b"c"]):
        np.savez(path, patients=np.array(wrong), **records)
        with pytest.raises(MedFabricError, match=r"MF-9005.*patients integers or text"):
            read(path, terms)
    for wrong in (["a", "b"], [["a", "b"], ["c", "d"], ["e", "f"]], [1, 2], [[1], [2], [3]]):
        np.savez(path, patients=np.array(wrong), **records)
        with pytest.raises(MedFabricError, match=r"MF-9\d+.*patients"):
            read(path, terms)


def test_arrays_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.zeros((3, 1, 4, 6)), labels=np.zeros(3, np.int64))

    with pytest.raises(MedFabricError, match=r"MF-9006.*\(1, 4, 6\).*\(1, 6, 4\)"):
        read(tmp_path / "a.npz", IMAGES)


def test_text_is_a_unit_vector_over_hashed_words() -> None:
    one, same, other = (hashed(text, 64) for text in ("Dry COUGH", "cough, dry!", "no words: 12"))

    assert np.array_equal(one, same)
    assert np.linalg.norm(one) == pytest.approx(1)
    assert not np.array_equal(one, other)
    assert not hashed("12 34", 64).any()


def test_patients_column_keeps_records_together(write: Write) -> None:
    terms = TERMS.model_copy(update={"patient": "id"})
    path = write("age,dose,outcome,id\n1,0,ill,b\n2,0,well,a\n3,0,well,b\n")

    assert read(path, terms).patients.tolist() == [1, 0, 1]
    with pytest.raises(MedFabricError, match=r"MF-9005.*line 2.*'id'"):
        read(write("age,dose,outcome,id\n1,0,ill,\n"), terms)
