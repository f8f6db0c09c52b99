"""What the ledger records of a dataset's files and split, and what a node then refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.datasets import IMAGES, SALT, TABLE

from chaincode.schema.data import DataTerms, Feature
from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import MedFabricError
from trainer.data.dataset import Recorded, Source, describe, open_recorded

ROWS = [f"{age},{('well', 'ill')[age % 2]}" for age in range(20)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "records.csv"
    path.write_text("\n".join(["age,outcome", *ROWS]))
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    from PIL import Image

    for name in IMAGES.classes:
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (2, 2), number).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def recorded(source: Source, terms: DataTerms = TABLE, salt: bytes = SALT) -> Recorded:
    """As the ledger and the node's folder have it after registration."""
    about, files = describe(source, terms, salt)
    dataset = Dataset(
        **about,
        dataset_id="wards",
        msp_id="Hospital1MSP",
        name="Wards",
        simulated=True,
        registered_at=1,
    )
    return Recorded(dataset, salt, files)


def test_unchanged_files_open_with_the_registered_counts(table: Path) -> None:
    source = Source(file=table, validation_fraction=0.2, test_fraction=0.1)
    known = recorded(source)

    opened = open_recorded(source, TABLE, known)

    counts = [len(opened.training), len(opened.validation), len(opened.test)]
    assert counts == [14, 4, 2]
    dataset = known.dataset
    assert counts == [dataset.train_samples, dataset.validation_samples, dataset.test_samples]


def test_other_bounds_of_another_plan_do_not_make_it_another_dataset(table: Path) -> None:
    wider = Feature(name="age", low_micro=0, high_micro=200_000_000)

    open_recorded(
        Source(file=table),
        TABLE.model_copy(update={"features": (wider,)}),
        recorded(Source(file=table)),
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text(path.read_text() + "\n"),
        lambda path: path.write_text(path.read_text().replace("7,ill", "8,ill")),
        lambda path: path.write_text("\n".join(["age,outcome", *reversed(ROWS)])),
    ],
    ids=["a byte more", "a value", "the order"],
)
def test_changed_file_is_refused(table: Path, change: Callable[[Path], None]) -> None:
    source = Source(file=table)
    known = recorded(source)
    change(table)

    with pytest.raises(MedFabricError, match=r"MF-9010.*records\.csv.*the file has changed"):
        open_recorded(source, TABLE, known)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda folder: (folder / "ill" / "1.png").unlink(), "ill/1.png is gone"),
        (
            lambda folder: (folder / "ill" / "9.png").write_bytes(
                (folder / "ill" / "1.png").read_bytes()
            ),
            "ill/9.png is new",
        ),
        (
            lambda folder: (folder / "well" / "2.png").write_bytes(
                (folder / "ill" / "1.png").read_bytes()
            ),
            "well/2.png has changed",
        ),
    ],
)
def test_changed_file_of_a_folder_is_named(
    images: Path, change: Callable[[Path], None], what: str
) -> None:
    source = Source(file=images, validation_fraction=0)
    known = recorded(source, IMAGES)
    change(images)

    with pytest.raises(MedFabricError, match=f"MF-9010.*{what}"):
        open_recorded(source, IMAGES, known)


@pytest.mark.parametrize(
    "other",
    [
        {"split_seed": 1},
        {"validation_fraction": 0.3},
        {"test_fraction": 0.1},
    ],
)
def test_another_split_than_the_registered_one_is_refused(
    table: Path, other: dict[str, int]
) -> None:
    known = recorded(Source(file=table))

    with pytest.raises(MedFabricError, match=r"MF-9010.*training, validation, test"):
        open_recorded(Source(file=table, **other), TABLE, known)


def test_hashes_cannot_be_tried_out_without_the_salt(table: Path) -> None:
    source = Source(file=table)
    one, other = (recorded(source, salt=salt).dataset for salt in (b"a" * 32, b"b" * 32))

    assert one.commitment_sha256 != other.commitment_sha256
    assert one.split_sha256 != other.split_sha256


def test_archive_of_another_dtype_is_another_file_but_splits_alike(tmp_path: Path) -> None:
    found = []
    for number, kind in enumerate((np.float32, np.float64)):
        path = tmp_path / f"{number}.npz"
        np.savez(path, features=np.ones((10, 1), kind), labels=np.arange(10) % 2)
        found.append(recorded(Source(file=path)).dataset)

    assert found[0].commitment_sha256 != found[1].commitment_sha256
    assert found[0].split_sha256 == found[1].split_sha256
