"""Synthetic tables: what is counted, what is drawn, what the noise hides, and that each is made
once and given out when it is charged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.scenario import HOSPITALS, Scenario, at, dataset_args, dataset_of

from chaincode.schema import accounting, canonical
from chaincode.schema.data import Category, DataTerms, Feature
from chaincode.schema.datasets import DatasetView, Release
from chaincode.schema.errors import Code, MedFabricError
from trainer import attacks
from trainer.data import release
from trainer.data.dataset import Recorded, Source, describe
from trainer.data.files import load
from trainer.data.raw import Raw
from trainer.node import main
from trainer.node.home import Home
from trainer.node.releases import Releases
from trainer.privacy.sampling import Stream

ONE = HOSPITALS[0]
TERMS = DataTerms(
    application="tumours",
    features=(
        Feature(name="size", low_micro=0, high_micro=8_000_000, missing_micro=0),
        Category(name="site", codes=("left", "right")),
    ),
    label="kind",
    classes=("a", "b"),
)
RAW = Raw(
    np.array([[0.5, 0], [7.9, 1], [99.0, 1], [np.nan, 0], [-3.0, 1]]),
    np.array([0, 0, 1, 1, 1]),
    (),
)


def test_every_record_is_in_one_cell_of_each_table() -> None:
    sizes, sites = release.tables(RAW, TERMS)

    # Eight bins of one each; values beyond the bounds in the outer ones, missing ones in the last.
    assert sizes.tolist() == [[1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 1, 1]]
    assert sites.tolist() == [[1, 1], [1, 2]]


def test_the_noise_is_the_least_that_costs_no_more_than_epsilon() -> None:
    noise = release.least_noise(TERMS, 1_000_000, 10_000)

    def cost(noise: int) -> int:
        return accounting.epsilon_micro(accounting.rdp_pico(1, 1, noise * 10**6, 2), 10_000)

    assert cost(noise) <= 1_000_000 < cost(noise - 1)


def test_a_table_of_many_records_is_like_them_and_is_read_as_a_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 4000)
    size = np.where(labels == 0, draw.uniform(0, 4, 4000), draw.uniform(3, 8, 4000))
    size[:400] = np.nan
    raw = Raw(np.stack([size, (draw.random(4000) < 0.3 + 0.4 * labels)], axis=1), labels, ())
    stream = Stream(b"d" * 32)

    counts = release.noised(release.tables(raw, TERMS), 10, stream)
    file = tmp_path / "table.csv"
    file.write_bytes(release.drawn(counts, TERMS, 4000, stream))
    made = load(file, TERMS)

    assert made.labels.size == 4000
    for label in (0, 1):
        ours, theirs = made.values[made.labels == label], raw.values[raw.labels == label]
        assert np.nanmean(ours, axis=0) == pytest.approx(np.nanmean(theirs, axis=0), abs=0.15)
        assert np.isnan(ours[:, 0]).mean() == pytest.approx(0.1, abs=0.03)


def test_one_record_is_found_without_noise_and_hardly_with_it() -> None:
    noise = release.least_noise(TERMS, 1_000_000, 10_000)

    assert attacks.table_membership(RAW, TERMS, 0, 1, Stream(b"m" * 32)) == 1
    found = attacks.table_membership(RAW, TERMS, noise, 1000, Stream(b"m" * 32))
    assert found <= attacks.bound(1.0, 1e-5)


def test_records_without_columns_are_refused() -> None:
    texts = DataTerms.model_validate(
        {
            "application": "notes",
            "text": {"column": "note", "buckets": 16},
            "label": "kind",
            "classes": ("a", "b"),
        }
    )

    with pytest.raises(MedFabricError, match="MF-9006"):
        release.tables(RAW, texts)


# At a node.


def _dataset(folder: Path) -> tuple[Source, Recorded]:
    file = folder / "records.csv"
    rows = [
        f"{number % 8},{'left' if number % 3 else 'right'},{'ab'[number % 2]}"
        for number in range(60)
    ]
    file.write_text("\n".join(["size,site,kind", *rows]))
    source = Source(file=file)
    about, files = describe(source, TERMS, b"salt")
    dataset: Any = SimpleNamespace(dataset_id="wards", **about)
    return source, Recorded(dataset, b"salt", files)


def _charged(made: Any, **changes: Any) -> Release:
    facts = {"msp_id": "Hospital1MSP", "epsilon_micro": 1, "released_at": 1, **dict(made)}
    return Release(**{**facts, **changes})


def test_a_table_is_made_once_and_kept_and_given_out_as_it_was_charged(tmp_path: Path) -> None:
    source, recorded = _dataset(tmp_path)
    home = Home(tmp_path / "home")
    made = Releases(home, "data-wards").make(
        source, TERMS, recorded, None, "one", 2_000_000, 10_000
    )
    home.close()
    home = Home(tmp_path / "home")  # after a crash
    again = Releases(home, "data-wards")
    target = tmp_path / "out.csv"

    assert again.known("one") == made
    assert again.known("two") is None
    again.give_out(_charged(made), target)
    assert target.stat().st_mode & 0o777 == 0o600
    assert load(target, TERMS).labels.size == made.records == recorded.dataset.train_samples
    assert (made.tables, made.noise) == (2, release.least_noise(TERMS, 2_000_000, 10_000))
    with pytest.raises(MedFabricError, match="MF-9004"):
        again.give_out(_charged(made), target)
    home.close()


def test_another_table_than_the_charged_one_is_not_given_out(tmp_path: Path) -> None:
    source, recorded = _dataset(tmp_path)
    home = Home(tmp_path / "home")
    releases = Releases(home, "data-wards")
    made = releases.make(source, TERMS, recorded, None, "one", 2_000_000, 10_000)

    with pytest.raises(MedFabricError, match="MF-1010"):
        releases.give_out(_charged(made, sha256="cd" * 32), tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    home.close()


def test_other_terms_or_records_than_were_registered_make_no_table(tmp_path: Path) -> None:
    source, recorded = _dataset(tmp_path)
    home = Home(tmp_path / "home")
    releases = Releases(home, "data-wards")
    other = TERMS.model_copy(update={"label": "another"})

    with pytest.raises(MedFabricError, match="MF-9006"):
        releases.make(source, other, recorded, None, "one", 2_000_000, 10_000)
    source.file.write_text(source.file.read_text() + "\n1,left,a")
    with pytest.raises(MedFabricError, match="MF-9010"):
        releases.make(source, TERMS, recorded, None, "one", 2_000_000, 10_000)
    assert releases.known("one") is None
    home.close()


def test_the_command_gives_out_only_what_the_ledger_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = _dataset(tmp_path)
    (tmp_path / "terms.json").write_bytes(canonical.dumps(TERMS))
    config = {
        "connection": "connection.json",
        "identity": "identity",
        "home": "home",
        "store": {"kind": "directory", "folder": "store"},
        "datasets": [{"dataset_id": dataset_of(ONE), "file": str(source.file)}],
    }
    (tmp_path / "node.json").write_text(json.dumps(config))
    scenario = at("founded")
    about = main.describe_data(tmp_path / "node.json", tmp_path / "terms.json")
    scenario.do(ONE, "dataset:Register", dataset_args(**about))
    monkeypatch.setattr(main.Identity, "load", lambda _: None)
    monkeypatch.setattr(main.Consortium, "connect", lambda *_: _Ledger(scenario))
    out = tmp_path / "out.csv"

    def release_(to: Path | None = out) -> dict[str, Any]:
        files = tmp_path / "node.json", tmp_path / "terms.json"
        return main.release_data(*files, "one", 2_000_000, to)

    made = release_(None)
    assert release_(None) == made
    with pytest.raises(MedFabricError, match=f"{Code.NOT_YET}.*before it is charged"):
        release_()
    assert not out.exists()
    scenario.do(ONE, "dataset:Release", made)

    given = release_()

    assert given["epsilon_micro"] <= 2_000_000
    assert hashlib.sha256(out.read_bytes()).hexdigest() == given["sha256"] == made["sha256"]


class _Ledger:
    """A connection that reads the scenario's datasets."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario, self.datasets = scenario, self

    def __enter__(self) -> _Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def get(self, **args: str) -> DatasetView:
        found = self._scenario.do(ONE, "dataset:Get", args)
        return DatasetView.model_validate_json(json.dumps(found))
