"""The report on a dataset before its hospital consents: what has drifted, and what is chance."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from chaincode.schema.data import (
    Category,
    DataTerms,
    Distribution,
    Expectation,
    Feature,
    TensorTerms,
    TextTerms,
    problem,
)
from client.cli.main import cli
from trainer.data import drift
from trainer.data.columns import expectation
from trainer.data.dataset import Source
from trainer.data.files import load
from trainer.data.report import report
from trainer.data.report_page import page

TERMS = DataTerms(
    application="wards",
    features=(
        Feature(name="age", low_micro=0, high_micro=100_000_000, missing_micro=0),
        Category(name="ward", codes=("icu", "er")),
    ),
    patient="who",
    label="outcome",
    classes=("well", "ill"),
    expected=Expectation(
        classes_micro=(500_000, 500_000),
        columns=(
            Distribution(
                name="age",
                edges_micro=(25_000_000, 50_000_000, 75_000_000),
                shares_micro=(250_000, 250_000, 250_000, 250_000),
            ),
            Distribution(name="ward", shares_micro=(800_000, 200_000)),
        ),
    ),
)


def _write(path: Path, ages: np.ndarray, icu: float = 0.8, patients: int | None = None) -> Path:
    draw = np.random.default_rng(1)
    rows = [
        f"{'' if np.isnan(age) else f'{age:.6f}'},{'icu' if draw.random() < icu else 'er'},"
        f"{('well', 'ill')[row % 2]},{row % (patients or len(ages))}"
        for row, age in enumerate(ages)
    ]
    path.write_text("\n".join(["age,ward,outcome,who", *rows]))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records.csv"


def _uniform(number: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 100, number)


@given(
    st.lists(st.integers(0, 500), min_size=2, max_size=20),
    st.lists(st.floats(0.01, 1), min_size=20, max_size=20),
)
def test_indices_are_distances(counts: list[int], weights: list[float]) -> None:
    observed = np.array(counts)
    expected = np.array(weights[: len(counts)]) / sum(weights[: len(counts)])

    assert drift.psi(observed, expected) >= 0
    assert 0 <= drift.ks(observed, expected) <= 1
    if observed.sum():
        same = observed / observed.sum()
        assert drift.psi(observed, same) == pytest.approx(0, abs=1e-12)
        assert drift.ks(observed, same) == pytest.approx(0, abs=1e-12)


def test_index_is_the_textbooks_where_bins_are_full() -> None:
    # ln(.4/.5) * (.4-.5) + ln(.6/.5) * (.6-.5)
    assert drift.psi(np.array([400_000, 600_000]), np.array([0.5, 0.5])) == pytest.approx(
        0.0405465, abs=1e-5
    )


def test_distance_nears_scipys_as_the_bins_get_finer() -> None:
    values = np.random.default_rng(2).beta(2, 3, 4000)
    edges = np.linspace(0, 1, 400)[1:-1]
    counts = np.bincount(np.searchsorted(edges, values), minlength=399)

    found = drift.ks(counts, np.full(399, 1 / 399))

    exact = kstest(values, "uniform").statistic
    assert exact - 0.01 < found <= exact + 1e-9


def test_chance_exceeds_its_bound_in_about_a_twentieth_of_cases() -> None:
    draw = np.random.default_rng(3)
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    counts = draw.multinomial(300, shares, 2000)

    psi = [drift.psi(row, shares) > drift.psi_by_chance(4, 300) for row in counts]
    ks = [drift.ks(row, shares) > drift.ks_by_chance(300) for row in counts]

    assert 0.03 < np.mean(psi) < 0.07
    assert np.mean(ks) < 0.05


def test_records_like_those_expected_have_no_finding(file: Path) -> None:
    made = report(Source(file=_write(file, _uniform(800))), TERMS)

    assert [column.verdict for column in made.columns] == ["as expected", "as expected"]
    assert made.class_verdict == "as expected"
    assert made.findings == ()
    assert (made.records, made.patients) == (800, 800)
    assert made.parts == {"training": 640, "validation": 160, "test": 0}
    assert sum(made.classes["training"].values()) == 640


def test_drift_missing_values_and_clipping_are_found_by_column(file: Path) -> None:
    ages = _uniform(800) * 0.5 + 70
    ages[::10] = np.nan
    made = report(Source(file=_write(file, ages, icu=0.4)), TERMS)

    age, ward = made.columns
    assert (age.verdict, ward.verdict) == ("drifted", "drifted")
    assert age.missing == 80
    assert age.drift is not None
    assert age.drift.ks is not None
    assert age.drift.ks > 0.5
    text = "; ".join(made.findings)
    assert "age has drifted" in text
    assert "ward has drifted" in text
    assert "10.0% of age are missing, the plan expects 0.0%" in text
    assert re.search(r"\d+% of age lie beyond the plan's bounds", text)


def test_few_patients_drift_by_chance_however_many_records_they_have(file: Path) -> None:
    ages = np.repeat(_uniform(6, seed=4), 50)

    many = report(Source(file=_write(file, ages)), TERMS)
    few = report(Source(file=_write(file, np.tile(_uniform(6, seed=4), 50), patients=6)), TERMS)

    assert (many.patients, few.patients) == (300, 6)
    assert many.columns[0].drift is not None
    assert few.columns[0].drift is not None
    assert many.columns[0].drift.psi == few.columns[0].drift.psi
    assert few.columns[0].drift.psi_chance == 50 * many.columns[0].drift.psi_chance


def test_copies_are_counted(file: Path) -> None:
    _write(file, _uniform(40))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[-1], lines[-2]]))

    made = report(Source(file=file), TERMS)

    assert made.repeated == 2
    assert any("2 records are copies" in one for one in made.findings)


def test_without_an_expectation_nothing_drifts(file: Path) -> None:
    terms = TERMS.model_copy(update={"expected": None})

    made = report(Source(file=_write(file, _uniform(100) * 0.1)), terms)

    assert {column.verdict for column in made.columns} == {"nothing expected"}
    assert made.findings == ()
    assert "<svg" in page(made)


def test_expectation_of_some_records_holds_for_others_of_their_kind(
    file: Path, tmp_path: Path
) -> None:
    public = _write(tmp_path / "public.csv", _uniform(2000, seed=7), icu=0.6)
    expected = expectation(load(public, TERMS), TERMS)
    terms = TERMS.model_copy(update={"expected": expected})

    assert problem(terms) is None
    assert report(Source(file=_write(file, _uniform(500), icu=0.6)), terms).findings == ()
    other = report(Source(file=_write(file, _uniform(500) ** 0.5, icu=0.6)), terms)
    assert other.columns[0].verdict == "drifted"


@pytest.mark.parametrize("kind", ["array", "text"])
def test_arrays_and_texts_are_summed_up(tmp_path: Path, kind: str) -> None:
    labels = np.arange(60) % 2
    if kind == "array":
        data = {"tensor": TensorTerms(shape=(1, 8), low_micro=-(10**7), high_micro=10**7)}
        values = np.random.default_rng(1).normal(size=(60, 1, 8))
        np.savez(tmp_path / "a.npz", features=values, labels=labels)
        path, names = tmp_path / "a.npz", ["mean", "deviation"]
    else:
        data = {"text": TextTerms(column="said", buckets=64)}
        path, names = tmp_path / "a.csv", ["words"]
        rows = [
            f"{'cough ' * (row % 3)} fever,{('a', 'b')[label]}" for row, label in enumerate(labels)
        ]
        path.write_text("\n".join(["said,kind", *rows]))
    terms = DataTerms(application="t", label="kind", classes=("a", "b"), **data)
    expected = expectation(load(path, terms), terms)
    terms = terms.model_copy(update={"expected": expected})

    made = report(Source(file=path), terms)

    assert problem(terms) is None
    assert [column.name for column in made.columns] == names
    assert {column.verdict for column in made.columns} == {"as expected"}


def test_command_writes_a_page_that_loads_nothing_and_says_the_same_as_json(
    file: Path, tmp_path: Path
) -> None:
    name = "<script>alert(1)</script>"
    terms = tmp_path / "terms.json"
    features = (TERMS.features[0], Category(name=name, codes=("icu", "er")))
    terms.write_text(
        TERMS.model_copy(update={"features": features, "expected": None}).model_dump_json()
    )
    _write(file, _uniform(60))
    file.write_text(file.read_text().replace("age,ward", f"age,{name}"))
    config = tmp_path / "node.json"
    places = dict.fromkeys(("connection", "identity", "home"), "x")
    config.write_text(
        json.dumps(
            {
                **places,
                "store": {"folder": "s"},
                "datasets": [{"dataset_id": "d", "file": "records.csv"}],
            }
        )
    )
    out = tmp_path / "report.html"

    result = CliRunner().invoke(
        cli, ["node", "data-report", str(config), str(terms), "--out", str(out), "--json"]
    )

    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["records"] == 60
    text = out.read_text()
    assert out.stat().st_mode & 0o777 == 0o600
    assert "<script" not in text
    assert not re.search(r"(src|href)=\"?https?:", text)
    assert text.count("<svg") == 1


def test_bad_records_have_no_report(file: Path, tmp_path: Path) -> None:
    file.write_text("age,ward,outcome,who\n1,icu,ill,1\n2,?,well,2\n")
    (tmp_path / "terms.json").write_text(TERMS.model_dump_json())
    config = {"store": {"folder": "s"}, "datasets": [{"dataset_id": "d", "file": "records.csv"}]}
    config |= dict.fromkeys(("connection", "identity", "home"), "x")  # type: ignore[arg-type]
    (tmp_path / "node.json").write_text(json.dumps(config))

    result = CliRunner().invoke(
        cli, ["node", "data-report", str(tmp_path / "node.json"), str(tmp_path / "terms.json")]
    )

    assert result.exit_code == 7
    assert "line 3: column 'ward'" in result.output
