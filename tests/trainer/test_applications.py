"""Applications: their records go to files and come back, patient by patient; models take them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chaincode.schema import jsonschema
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import MedFabricError
from trainer import applications, presets
from trainer.applications.application import Sample
from trainer.applications.files import Files, existing, load, write
from trainer.data.dataset import Source
from trainer.data.files import load as load_raw
from trainer.data.records import Records, split
from trainer.data.report import report
from trainer.models import registry
from trainer.randomness import Seeds
from trainer.training import evaluate, parameters, train

LIMIT = EncryptionTerms().clip_micro / 1e6


@pytest.fixture(scope="module", params=applications.NAMES)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[applications.Application, Files]:
    application = applications.find(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return application, write(application, folder, 4, seed=7)


Written = tuple[applications.Application, Files]
Loaded = tuple[list[Records], Records]


@pytest.fixture(scope="module")
def loaded(written: Written) -> Loaded:
    return load(*written)


@pytest.fixture(scope="module")
def sample(written: Written) -> Sample:
    application, _ = written
    return application.sample(0)


def test_records_come_back_bounded_and_of_every_class(written: Written, loaded: Loaded) -> None:
    application, files = written
    hospitals, test = loaded

    assert existing(application, files.test.parent, 4) == files
    for records in (*hospitals, test):
        assert records.features.shape[1:] == application.terms().shape
        assert records.features.dtype == np.float32
        assert np.abs(records.features).max() <= 1
        assert set(records.labels) == set(range(len(application.terms().classes)))


@pytest.mark.parametrize("name", ["kidney", "drowsiness"])
def test_bundles_and_recordings_give_the_records_that_they_were_made_of(
    name: str, tmp_path: Path
) -> None:
    application = applications.find(name)
    few = application.sample(0)
    rows = np.flatnonzero(few.patients < 40)
    small = replace(application, sample=lambda _: few.take(rows))

    files = write(small, tmp_path, 2, seed=7)

    found = [load_raw(path, application.terms()) for path in (*files.hospitals, files.test)]
    for made, original in (
        (np.concatenate([raw.values for raw in found]), few.values[rows]),
        (np.concatenate([raw.labels for raw in found]), few.labels[rows]),
    ):
        assert sorted(map(repr, made.astype(np.float64).tolist())) == sorted(
            map(repr, original.astype(np.float64).tolist())
        )


@pytest.mark.parametrize(("partition", "as_it_is"), [("identical", True), ("dirichlet", False)])
def test_records_are_compared_with_what_the_plan_expects(
    partition: str, as_it_is: bool, tmp_path: Path
) -> None:
    application = applications.find("kidney")
    small = replace(application, sample=lambda seed: application.sample(seed).take(np.arange(1000)))
    files = write(small, tmp_path, 2, 1, partition)

    made = report(Source(file=files.hospitals[0]), application.terms())

    assert {one.name for one in made.columns if one.drift} == {
        one.name for one in application.terms().features
    }
    verdicts = {made.class_verdict, *(one.verdict for one in made.columns)}
    assert (verdicts == {"as expected"}) is as_it_is


def test_no_class_is_so_frequent_that_guessing_it_would_do(loaded: Loaded) -> None:
    _, test = loaded

    assert np.bincount(test.labels).max() / len(test) < 0.7


def test_every_patient_is_in_one_place(written: Written, loaded: Loaded, sample: Sample) -> None:
    application, _ = written
    hospitals, test = loaded

    assert sum(map(len, (*hospitals, test))) == sample.labels.size
    seen: list[set[bytes]] = []
    for records in (*hospitals, test):
        training, validation = split(records, 0.2, seed=1)
        seen += [{row.tobytes() for row in part.features} for part in (training, validation)]
        if records.patients is not None:
            assert training.patients is not None
            assert validation.patients is not None
            assert not set(training.patients) & set(validation.patients)
    if application.terms().text is None:
        # Short texts may be alike; nothing else is.
        assert sum(map(len, seen)) == len(set().union(*seen)) == sample.labels.size


def test_simulated_records_follow_their_seed(written: Written, sample: Sample) -> None:
    application, _ = written
    one, again, other = sample, application.sample(0), application.sample(6)

    with_gaps = one.values.dtype.kind == "f"
    assert np.array_equal(one.values, again.values, equal_nan=with_gaps)
    assert np.array_equal(one.values, other.values) is not application.simulated


def test_model_takes_the_records_and_learns_with_privacy(written: Written, loaded: Loaded) -> None:
    application, _ = written
    hospitals, _ = loaded
    assert registry.shape(application.architecture, application.config) == application.terms().shape
    model = registry.build(application.architecture, application.config)
    base = parameters(model)
    terms = presets.training(application.tuned, len(hospitals[0]), rounds=1)
    terms = terms.model_copy(update={"steps": 3})
    privacy = presets.privacy(application.tuned, terms, len(hospitals[0]))

    trained = train(model, base, hospitals[0], terms, privacy, Seeds(3))

    assert trained.delta.shape == base.shape
    assert np.isfinite(trained.delta).all()
    assert np.abs(trained.delta).max() < LIMIT
    correct, total = evaluate(model, base + trained.delta.astype(np.float32), hospitals[0])
    assert 0 < correct <= total == len(hospitals[0])


@pytest.mark.parametrize("name", applications.NAMES)
def test_own_records_fit_the_schema_that_the_application_registers(name: str) -> None:
    provenance = applications.find(name).provenance
    schema = provenance.schema()
    records = (provenance.dataset(), provenance.stated_use(), provenance.learned(3, 100))

    jsonschema.check_schema(schema)
    for record in records:
        jsonschema.validate(schema, record)
        for field in record:
            missing = {name: value for name, value in record.items() if name != field}
            with pytest.raises(MedFabricError, match="MF-"):
                jsonschema.validate(schema, missing)
        with pytest.raises(MedFabricError, match="MF-"):
            jsonschema.validate(schema, {**record, "patient": "x"})


def test_unknown_application_is_refused() -> None:
    with pytest.raises(MedFabricError, match=r"MF-9008.*breast-cancer"):
        applications.find("astrology")


def test_patients_stay_together_and_the_fraction_is_not_exceeded() -> None:
    patients = np.repeat(np.arange(40), np.arange(40) % 4 + 1)
    records = Records(np.zeros((patients.size, 1), np.float32), patients % 2, patients)

    for seed in range(20):
        training, validation = split(records, 0.25, seed)

        assert training.patients is not None
        assert validation.patients is not None
        assert not set(training.patients) & set(validation.patients)
        assert 0.2 * patients.size < len(validation) <= round(0.25 * patients.size)
