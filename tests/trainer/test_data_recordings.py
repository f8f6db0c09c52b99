"""Windows cut from a folder of recordings."""

from pathlib import Path

import numpy as np
import pytest

from chaincode.schema.data import DataTerms, RecordingTerms, TensorTerms
from chaincode.schema.errors import MedFabricError
from trainer.data.dataset import Source, open_dataset
from trainer.data.files import load, read

TERMS = DataTerms(
    application="test",
    tensor=TensorTerms(
        shape=(2, 4),
        low_micro=-10_000_000,
        high_micro=10_000_000,
        recording=RecordingTerms(channels=("x", "y"), rate_millihertz=32_000, stride=3),
    ),
    label="event",
    classes=("none", "fall"),
)
INDEX = "recording,rate_hz,event\na.csv,32,none\nb.csv,32.0,fall\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, samples in (("a", 10), ("b", 6)):
        rows = [f"{9 - row % 10},{row % 10},7" for row in range(samples)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["y,x,other", *rows]))
    (tmp_path / "index.csv").write_text(INDEX)
    return tmp_path


def test_windows_begin_every_stride_and_the_rest_is_passed_over(folder: Path) -> None:
    raw = load(folder, TERMS)

    assert raw.values[:, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [0, 1, 2, 3]]
    assert raw.values[0, 1].tolist() == [9, 8, 7, 6]
    assert raw.labels.tolist() == [0, 0, 0, 1]
    assert raw.places[2] == "a.csv, window 2"
    assert read(folder, TERMS).features[0, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])


def test_windows_of_a_recording_are_one_patients(folder: Path) -> None:
    assert load(folder, TERMS).patients.tolist() == [0, 0, 0, 1]
    (folder / "index.csv").write_text(
        INDEX.replace("event", "event,who").replace(",none", ",none,z")
    )
    (folder / "index.csv").write_text(
        "recording,rate_hz,event,who\na.csv,32,none,z\nb.csv,32,fall,z\n"
    )
    named = TERMS.model_copy(update={"patient": "who"})

    assert load(folder, named).patients.tolist() == [0, 0, 0, 0]


def test_index_may_say_what_a_recording_is_for(folder: Path) -> None:
    (folder / "index.csv").write_text(
        "recording,rate_hz,event,part\na.csv,32,none,training\nb.csv,32,fall,test\n"
    )
    lenient = TERMS.model_copy(update={"least_per_class": 0})

    opened = open_dataset(Source(file=folder, split_column="part"), lenient)

    assert (len(opened.training), len(opened.test)) == (3, 1)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("index.csv", "recording,event\na.csv,none\n", "MF-9006.*index.*no column 'rate_hz'"),
        ("index.csv", "recording,rate_hz,event\n", "MF-9006.*names no recording"),
        ("index.csv", INDEX + "a.csv,32,fall\n", "MF-9006.*a recording twice"),
        ("index.csv", INDEX.replace("32.0", "50"), "MF-9005.*line 3: column 'rate_hz'.*32"),
        ("index.csv", INDEX.replace("32.0", "?"), "MF-9005.*line 3: column 'rate_hz'"),
        ("index.csv", INDEX.replace("fall", "trip"), "MF-9005.*line 3: column 'event'"),
        ("index.csv", INDEX.replace("b.csv", "../b.csv"), "MF-9005.*line 3: column 'recording'"),
        ("index.csv", INDEX.replace("b.csv", "c.csv"), r"MF-9004.*c\.csv"),
        ("b.csv", "x,z\n1,1\n", r"MF-9006.*b\.csv has no column 'y'"),
        ("b.csv", "x,y\n1,1\n", r"MF-9006.*b\.csv has 1 samples"),
        ("b.csv", "x,y\n1,1\n1,\n", r"MF-9005.*b\.csv, line 3: column 'y'"),
        ("b.csv", "x,y\n1,inf\n", r"MF-9005.*b\.csv, line 2: column 'y'"),
    ],
)
def test_unusable_recording_is_refused_by_name(
    folder: Path, file: str, content: str, message: str
) -> None:
    (folder / file).write_text(content)

    with pytest.raises(MedFabricError, match=message):
        load(folder, TERMS)


def test_array_that_is_not_finite_is_named_with_its_place(tmp_path: Path) -> None:
    values = np.zeros((3, 2, 4))
    values[1, 1, 2] = np.nan
    np.savez(tmp_path / "a.npz", features=values, labels=np.zeros(3, np.int64))

    with pytest.raises(MedFabricError, match=r"MF-9005.*a\.npz, record 1: the value at \(1, 2\)"):
        load(tmp_path / "a.npz", TERMS)
