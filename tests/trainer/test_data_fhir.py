"""Tables made of FHIR R4 resources: the plan's columns, or a refusal that names the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from chaincode.schema.data import Category, DataTerms, Feature, problem
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.fhir import Coding, FhirColumn, FhirTerms, Source, Take
from client.cli.main import cli
from trainer.data.fhir import table
from trainer.data.files import read

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"


def _column(name: str, source: Source, *codes: str, **more: Any) -> FhirColumn:
    system = SNOMED if source is Source.CONDITION else LOINC
    codings = tuple(Coding(system=system, code=code) for code in codes)
    return FhirColumn(name=name, source=source, codings=codings, **more)


TERMS = DataTerms(
    application="wards",
    features=(
        Feature(name="age", low_micro=0, high_micro=120_000_000),
        Category(name="sex", codes=("female", "male", "other"), other="other"),
        Feature(name="pulse", low_micro=30_000_000, high_micro=180_000_000),
        Feature(name="systolic", low_micro=0, high_micro=250_000_000, missing_micro=126_000_000),
        Category(name="smoker", codes=("8517006", "77176002", "?"), missing="?"),
        Category(name="diabetes", codes=("no", "yes")),
    ),
    patient="id",
    label="outcome",
    classes=("well", "ill"),
    fhir=FhirTerms(
        reference_date="2024-06-30",
        columns=(
            _column("age", Source.AGE),
            _column("sex", Source.GENDER),
            _column("pulse", Source.QUANTITY, "8867-4", unit="/min"),
            _column("systolic", Source.QUANTITY, "8480-6", unit="mm[Hg]", take=Take.HIGHEST),
            _column("smoker", Source.CODE, "72166-2", system=SNOMED),
            _column("diabetes", Source.CONDITION, "44054006", present="yes", absent="no"),
            _column("outcome", Source.CONDITION, "422504002", present="ill", absent="well"),
        ),
    ),
)


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def _patient(name: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": name,
        "gender": "female",
        "birthDate": "1960-07-01",
        **more,
    }


def _observation(name: str, code: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": _concept(LOINC, code),
        "subject": {"reference": f"Patient/{name}"},
        "effectiveDateTime": "2024-05-01T08:00:00Z",
        **more,
    }


def _pulse(name: str, value: float, **more: Any) -> dict[str, Any]:
    quantity = {"value": value, "unit": "beats/minute", "code": "/min"}
    return _observation(name, "8867-4", valueQuantity=quantity, **more)


def _condition(name: str, code: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "code": _concept(SNOMED, code),
        "subject": {"reference": f"Patient/{name}"},
        "onsetDateTime": "2020-01-01",
        **more,
    }


def _bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The first patient's row, of a bundle of these resources."""

    def make(*resources: dict[str, Any]) -> dict[str, str]:
        path = tmp_path / "bundle.json"
        path.write_text(json.dumps(_bundle(*resources)))
        found = table(path, TERMS)
        return dict(zip(found.header, found.rows[0], strict=True))

    return make


Made = Callable[..., dict[str, str]]


def test_row_has_the_plans_columns(made: Made) -> None:
    pressure = _observation("a", "85354-9") | {
        "component": [
            {"code": _concept(LOINC, "8480-6"), "valueQuantity": {"value": 131, "code": "mm[Hg]"}},
            {"code": _concept(LOINC, "8462-4"), "valueQuantity": {"value": 80, "code": "mm[Hg]"}},
        ]
    }

    row = made(
        _patient("a"),
        _pulse("a", 71.5),
        pressure,
        _observation("a", "72166-2", valueCodeableConcept=_concept(SNOMED, "77176002")),
        _condition("a", "44054006"),
        _condition("a", "422504002", onsetDateTime="2024-09-01"),
    )

    assert row == {
        "age": "63",
        "sex": "female",
        "pulse": "71.5",
        "systolic": "131.0",
        "smoker": "77176002",
        "diabetes": "yes",
        "outcome": "ill",
        "id": "a",
    }


def test_what_the_plan_has_a_value_for_may_be_missing(made: Made) -> None:
    row = made(_patient("a", gender="unknown"), _pulse("a", 71))

    assert (row["systolic"], row["smoker"], row["sex"]) == ("", "", "unknown")
    assert (row["diabetes"], row["outcome"]) == ("no", "well")


def test_last_of_several_observations_counts_in_whatever_zone_it_is_told(made: Made) -> None:
    row = made(
        _patient("a"),
        _pulse("a", 1, effectiveDateTime="2024-05-01T10:00:00+02:00"),
        _pulse("a", 2, effectiveDateTime="2024-05-01T09:00:00Z"),
        _pulse("a", 3, effectiveDateTime="2024-05-01"),
        _pulse("a", 4, effectiveDateTime="2024-04"),
    )

    assert row["pulse"] == "2.0"


@pytest.mark.parametrize(
    "later",
    [{"effectiveDateTime": "2024-07-01"}, {"effectiveDateTime": "2024"}, {"status": "preliminary"}],
)
def test_what_comes_after_the_reference_date_or_is_no_result_does_not_count(
    made: Made, later: dict[str, str]
) -> None:
    undated = _pulse("a", 3)
    del undated["effectiveDateTime"]

    assert made(_patient("a"), _pulse("a", 1), _pulse("a", 2, **later), undated)["pulse"] == "1.0"


@pytest.mark.parametrize("how", ["refuted", "entered-in-error"])
def test_refuted_diagnosis_is_none(made: Made, how: str) -> None:
    status = {"coding": [{"code": how}]}

    row = made(
        _patient("a"), _pulse("a", 1), _condition("a", "44054006", verificationStatus=status)
    )

    assert row["diabetes"] == "no"


@pytest.mark.parametrize(
    ("born", "age"), [("1960-06-30", "64"), ("1960-07-01", "63"), ("1960-06", "64"), ("1960", "63")]
)
def test_age_is_in_whole_years_at_the_reference_date(made: Made, born: str, age: str) -> None:
    assert made(_patient("a", birthDate=born), _pulse("a", 1))["age"] == age


def test_lines_and_bundles_of_a_folder_make_the_same_table(tmp_path: Path) -> None:
    resources = [
        _patient("a"),
        _patient("b", birthDate="1990-01-01"),
        _pulse("b", 2),
        _pulse("a", 1),
    ]
    folder, lines = tmp_path / "folder", tmp_path / "all.ndjson"
    folder.mkdir()
    lines.write_text("\n".join(map(json.dumps, resources)))
    (folder / "1.json").write_text(json.dumps(_bundle(*resources[:2])))
    (folder / "2.ndjson").write_text("\n".join(map(json.dumps, resources[1:])))

    assert table(folder, TERMS).rows == table(lines, TERMS).rows
    assert [row[2] for row in table(lines, TERMS).rows] == ["1.0", "2.0"]


def test_patients_are_found_by_urn_and_by_absolute_url(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    bundle = _bundle(_patient("a"), _pulse("a", 1), _pulse("a", 2, effectiveDateTime="2024-06-01"))
    bundle["entry"][0]["fullUrl"] = "urn:uuid:1"
    bundle["entry"][1]["resource"]["subject"]["reference"] = "urn:uuid:1"
    bundle["entry"][2]["resource"]["subject"]["reference"] = "https://ehr.test/fhir/Patient/a"
    path.write_text(json.dumps(bundle))

    (row,) = table(path, TERMS).rows

    assert row[2] == "2.0"


def test_other_resources_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    device = _pulse("a", 1) | {"subject": {"reference": "Device/1"}}
    encounter = {"resourceType": "Encounter", "anything": 1}
    cancelled = _pulse("a", 1, status="cancelled")
    path.write_text(
        json.dumps(_bundle(_patient("a"), _pulse("a", 1), device, encounter, cancelled))
    )

    assert dict(table(path, TERMS).passed_over) == {
        "Encounter: no column is made of it": 1,
        "Observation: of no patient": 1,
        "Observation: status cancelled": 1,
    }


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ([_patient("a")], r"MF-9005.*bundle\.json, entry 0: .*nothing for column 'pulse'"),
        (
            [_patient("a"), _pulse("a", 1) | {"valueQuantity": {"value": 1, "code": "/s"}}],
            r"MF-9006.*bundle\.json, entry 1: valueQuantity\.code is not '/min'",
        ),
        ([_patient("a"), _pulse("b", 1)], r"MF-9005.*entry 1: subject\.reference"),
        ([_patient("a", birthDate="Jane")], r"MF-9005.*entry 0: Patient\.birthDate"),
        ([_patient("a", birthDate="2025-01-01"), _pulse("a", 1)], r"MF-9005.*birthDate is after"),
        ([_patient("a"), _pulse("a", 1, status=None)], r"MF-9005.*entry 1: Observation\.status"),
        ([_patient("a"), _patient("a", gender="male")], r"MF-9005.*entry 1: is another Patient"),
        ([_patient("")], r"MF-9005.*entry 0: Patient"),
        (
            [
                _patient("a"),
                _pulse("a", 1),
                _observation("a", "72166-2", valueCodeableConcept=_concept(SNOMED, "1")),
            ],
            r"MF-9005.*entry 0: .*another code in column 'smoker'",
        ),
        ([_pulse("a", 1)], "MF-9005.*subject"),
        ([], "MF-9006.*no Patient"),
    ],
)
def test_what_does_not_fit_is_refused_by_file_entry_and_element(
    made: Made, resources: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(MedFabricError, match=message) as caught:
        made(*resources)

    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", r"a\.json, the file: no JSON"),
        ("a.json", '{"resourceType": "Patient"}', "holds no Bundle"),
        ("a.json", '{"resourceType": "Bundle", "entry": [{}]}', "entry 0: no resource"),
        ("a.json", '{"resourceType": "Bundle", "entry": [{"resource": NaN}]}', "no JSON"),
        ("a.ndjson", '\n{"resourceType": "Encounter"}\n[]', "line 3: no resource"),
        ("a.json", "[" * 100_000, "no JSON"),
    ],
)
def test_file_that_is_no_fhir_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(MedFabricError, match=f"MF-9004.*{message}"):
        table(tmp_path / name, TERMS)


_GOOD = _bundle(_patient("a"), _pulse("a", 1), _condition("a", "44054006"))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        found.append((*path, key))
        if isinstance(inner, dict | list):
            found += _places(inner, (*path, key))
    return found


@given(
    st.sampled_from(_places(_GOOD)),
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just([{}])
    ),
)
def test_spoilt_bundle_is_read_or_refused_but_never_breaks(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[Any, ...], value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "spoilt.json"
    bundle = copy.deepcopy(_GOOD)
    inner = bundle
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(bundle))

    try:
        table(path, TERMS)
    except MedFabricError as error:
        assert error.code in (Code.DATA_FILE, Code.DATA_VALUE, Code.DATA_MISMATCH)  # noqa: PT017


def test_command_writes_a_table_that_reads_as_the_plans(tmp_path: Path) -> None:
    source, terms, out = (tmp_path / name for name in ("b.json", "terms.json", "records.csv"))
    source.write_text(
        json.dumps(
            _bundle(
                *(_patient(name) for name in "ab"),
                *(_pulse(name, 105) for name in "ab"),
                _condition("b", "422504002"),
            )
        )
    )
    terms.write_text(TERMS.model_dump_json())
    command = ["node", "fhir", str(source), str(terms), "--out", str(out), "--json"]

    first = CliRunner().invoke(cli, command)
    again = CliRunner().invoke(cli, command)

    assert json.loads(first.output)["classes"] == {"well": 1, "ill": 1}
    assert out.stat().st_mode & 0o777 == 0o600
    records = read(out, TERMS)
    assert records.labels.tolist() == [0, 1]
    assert records.features[:, 4].tolist() == [0, 0]  # a pulse of 105, half way
    assert again.exit_code != 0
    assert list(tmp_path.glob(".fhir-*")) == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"columns": TERMS.fhir.columns[:-1]}, "one column for each feature"),  # type: ignore[union-attr]
        ({"columns": (*TERMS.fhir.columns, TERMS.fhir.columns[0])}, "one column for each"),  # type: ignore[union-attr]
        ({"unit": None}, "needs codings, unit"),
        ({"codings": ()}, "needs codings, unit"),
        ({"present": "yes"}, "needs codings, unit"),
    ],
)
def test_terms_that_make_no_table_have_a_problem(change: dict[str, Any], why: str) -> None:
    assert TERMS.fhir is not None
    if "columns" not in change:
        columns = [
            c.model_copy(update=change if c.name == "pulse" else {}) for c in TERMS.fhir.columns
        ]
        change = {"columns": tuple(columns)}
    fhir = TERMS.fhir.model_copy(update=change)

    assert problem(TERMS) is None
    assert why in (problem(TERMS.model_copy(update={"fhir": fhir})) or "")
