"""Datasets at rest: sealed, read without a copy in the clear, sealed anew."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.datasets import IMAGES, SALT, TABLE
from support.pki import make_authority, make_identity

from chaincode.schema.datasets import Dataset
from chaincode.schema.errors import Code, MedFabricError
from client.cli.main import cli
from client.content import envelope as envelopes
from trainer.data import sealed
from trainer.data.dataset import Recorded, Source, describe, open_dataset, open_recorded
from trainer.data.manifest import Manifest

AUTHORITY = make_authority()
MINE, OTHER = make_identity(AUTHORITY, "node1"), make_identity(AUTHORITY, "node2")
SECRET = "Weisz"


def table(folder: Path) -> Path:
    path = folder / "records.csv"
    rows = [f"{age},{('well', 'ill')[age % 2]},{SECRET}" for age in range(20)]
    path.write_text("\n".join(["age,outcome,name", *rows]))
    return path


def archive(folder: Path) -> Path:
    path = folder / "records.npz"
    np.savez(path, features=np.ones((6, 1, 2, 2)), labels=np.arange(6) % 2)
    return path


def images(folder: Path) -> Path:
    from PIL import Image

    for name in IMAGES.classes:
        (folder / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (2, 2), number).save(folder / "images" / name / f"{SECRET}{number}.png")
    return folder / "images"


def seal(source: Path, target: Path, *others: bytes) -> sealed.SealedRecord:
    record = sealed.SealedRecord(
        msp_id="Hospital1MSP",
        dataset_id="wards",
        commitment_sha256=Manifest.of(source).commitment(SALT),
    )
    sealed.seal(source, target, record, [MINE.certificate_pem, *others])
    return record


@pytest.mark.parametrize(
    ("make", "terms"),
    [(table, TABLE), (archive, IMAGES), (images, IMAGES)],
    ids=["csv", "npz", "folder"],
)
def test_sealed_records_are_those_that_were_sealed(tmp_path, make, terms):
    source = make(tmp_path)
    seal(source, tmp_path / "sealed")

    plain = open_dataset(Source(file=source), terms)
    opened = open_dataset(Source(file=tmp_path / "sealed"), terms, MINE)

    assert np.array_equal(opened.records.features, plain.records.features)
    assert np.array_equal(opened.records.labels, plain.records.labels)
    assert np.array_equal(opened.split.part, plain.split.part)
    assert list(opened.raw.places) == list(plain.raw.places)
    assert Manifest.of(sealed.readable(tmp_path / "sealed", MINE)) == Manifest.of(source)


def test_nothing_on_the_disk_tells_of_a_patient(tmp_path):
    source = images(tmp_path)
    (source / "ill" / "note.txt").write_text(f"{SECRET} has a fever")
    seal(source, tmp_path / "sealed")

    for path in (tmp_path / "sealed").rglob("*"):
        assert SECRET not in path.name
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()
            assert path.parent.name != "files" or path.stat().st_mode & 0o777 == 0o600


def test_reading_writes_nothing(tmp_path, monkeypatch):
    source = table(tmp_path)
    seal(source, tmp_path / "sealed")
    source.unlink()
    before = sorted(tmp_path.rglob("*"))
    written = []
    real = io.open

    def watched(file, mode="r", *args, **kwargs):
        if set(mode) & set("wax+"):
            written.append(file)
        return real(file, mode, *args, **kwargs)

    monkeypatch.setattr("io.open", watched)
    monkeypatch.setattr("builtins.open", watched)
    open_dataset(Source(file=tmp_path / "sealed"), TABLE, MINE)

    assert written == []
    assert sorted(tmp_path.rglob("*")) == before


def test_the_ledgers_record_opens_it_and_no_other(tmp_path):
    source, target = table(tmp_path), tmp_path / "sealed"
    about, files = describe(Source(file=source), TABLE, SALT)
    dataset = Dataset(
        **about,
        dataset_id="wards",
        msp_id="Hospital1MSP",
        name="Wards",
        simulated=True,
        registered_at=1,
    )
    seal(source, target)

    opened = open_recorded(Source(file=target), TABLE, Recorded(dataset, SALT, files), MINE)
    assert len(opened.training) == dataset.train_samples
    other = dataset.model_copy(update={"dataset_id": "wards2"})
    with pytest.raises(MedFabricError, match=r"MF-9010.*sealed as wards of"):
        open_recorded(Source(file=target), TABLE, Recorded(other, SALT, files), MINE)

    # Whoever renames the record finds that neither key nor content opens.
    record = json.loads((target / "sealed.json").read_text())
    (target / "sealed.json").write_text(json.dumps({**record, "dataset_id": "wards2"}))
    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        open_recorded(Source(file=target), TABLE, Recorded(other, SALT, files), MINE)


def test_files_of_a_dataset_cannot_be_exchanged(tmp_path):
    seal(images(tmp_path), tmp_path / "sealed")
    one, two = tmp_path / "sealed" / "files" / "0", tmp_path / "sealed" / "files" / "1"
    one.write_bytes(two.read_bytes())

    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        open_dataset(Source(file=tmp_path / "sealed"), IMAGES, MINE)


def test_it_is_sealed_for_further_nodes_and_anew_without_one(tmp_path):
    target = tmp_path / "sealed"
    seal(table(tmp_path), target)
    with pytest.raises(MedFabricError, match=r"MF-7025.*not sealed for node2"):
        sealed.readable(target, OTHER)

    sealed.reseal(target, MINE, [OTHER.certificate_pem], new_key=False)
    stolen = {path.name: path.read_bytes() for path in (target / "keys").iterdir()}
    assert len(open_dataset(Source(file=target), TABLE, OTHER).records) == 20

    assert sealed.reseal(target, MINE, [], new_key=True) == [MINE.public_key_sha256]
    assert len(open_dataset(Source(file=target), TABLE, MINE).records) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.csv", "sealed"]
    # The revoked node kept its wrapped key: it opens nothing any more.
    (target / "keys" / OTHER.public_key_sha256).write_bytes(stolen[OTHER.public_key_sha256])
    with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
        sealed.readable(target, OTHER)


def test_a_sealed_dataset_that_lacks_something_is_refused(tmp_path):
    for part in ("files/0", "files/index", "sealed.json"):
        target = tmp_path / part.replace("/", "-")
        seal(table(tmp_path), target)
        (target / part).write_bytes(b"")
        with pytest.raises(MedFabricError, match=f"{Code.SEALED_DAMAGED}|{Code.ENVELOPE_REFUSED}"):
            open_dataset(Source(file=target), TABLE, MINE)
    (target / "sealed.json").unlink()
    with pytest.raises(MedFabricError):
        open_dataset(Source(file=target), TABLE, MINE)
    with pytest.raises(MedFabricError, match=Code.FILE_UNUSABLE):
        seal(table(tmp_path), target)


# The envelope.

KEY, HERE = envelopes.new_key(), b"\x01" * 32
SEGMENT = envelopes.SEGMENT


@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT])
def test_any_size_is_read_at_any_place(size):
    content = random.Random(size).randbytes(size)
    whole = b"".join(envelopes.seal_stream([content[:7], content[7:]], KEY, HERE))

    with envelopes.EnvelopeFile(io.BytesIO(whole), KEY, HERE) as file:
        assert file.size == size
        for place in (0, size // 2, max(0, size - 1), size, size + 5):
            file.seek(place)
            assert file.read(100) == content[place : place + 100]
        file.seek(0)
        assert file.read() == content
    assert envelopes.unseal(whole, KEY, HERE) == content


def test_segments_cannot_be_left_out_moved_or_repeated():
    whole = envelopes.seal(bytes(3 * SEGMENT), KEY, HERE)
    start, each = 36, SEGMENT + 16
    parts = [whole[start + each * n : start + each * (n + 1)] for n in range(3)]
    orders = ([0], [0, 1], [1, 0, 2], [0, 2], [0, 1, 2, 2], [0, 2, 1], [])

    for order in orders:
        with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
            envelopes.unseal(whole[:start] + b"".join(parts[n] for n in order), KEY, HERE)


def test_ten_thousand_mutations_are_refused():
    draw = random.Random(1)
    whole = envelopes.seal(draw.randbytes(300), KEY, HERE)
    for _ in range(10_000):
        raw = bytearray(whole)
        kind = draw.randrange(4)
        if kind == 0:
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del raw[draw.randrange(len(raw)) :]
        elif kind == 2:
            raw += draw.randbytes(draw.randrange(1, 40))
        else:
            place = draw.randrange(len(raw))
            raw[place:place] = draw.randbytes(draw.randrange(1, 20))
        with pytest.raises(MedFabricError, match=Code.ENVELOPE_REFUSED):
            envelopes.unseal(bytes(raw), KEY, HERE)


def test_a_large_file_passes_in_constant_memory(tmp_path):
    chunk = bytes(1024 * 1024)
    with (tmp_path / "large").open("wb") as file:
        for sealed_chunk in envelopes.seal_stream((chunk for _ in range(24)), KEY, HERE):
            file.write(sealed_chunk)

    tracemalloc.start()
    with (tmp_path / "large").open("rb") as raw, envelopes.EnvelopeFile(raw, KEY, HERE) as file:
        length = sum(len(some) for some in iter(lambda: file.read(SEGMENT), b""))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert length == 24 * len(chunk)
    assert peak < 2 * 1024 * 1024


def test_a_node_seals_and_reseals_at_the_command_line(tmp_path):
    source = table(tmp_path)
    MINE.save(tmp_path / "me")
    (tmp_path / "other.pem").write_bytes(OTHER.certificate_pem)
    (tmp_path / "terms.json").write_text(TABLE.model_dump_json())
    config = {
        "connection": "connection.json",
        "identity": "me",
        "home": "home",
        "store": {"kind": "directory", "folder": "store"},
        "datasets": [{"dataset_id": "wards", "file": "records.csv"}],
    }
    file = tmp_path / "node.json"
    file.write_text(json.dumps(config))

    def run(*words):
        result = CliRunner().invoke(cli, ["node", *map(str, words), "--json"])
        return result.exit_code, json.loads(result.stdout or result.stderr)

    assert run("seal", file, tmp_path / "sealed")[1]["error"] == Code.DATA_CHANGED
    described = run("data", file, tmp_path / "terms.json")[1]
    assert run("seal", file, tmp_path / "sealed")[1]["sealed_for"] == [MINE.public_key_sha256]
    source.unlink()
    config["datasets"][0]["file"] = "sealed"
    file.write_text(json.dumps(config))
    assert run("data", file, tmp_path / "terms.json") == (0, described)
    assert run("statistics", file, tmp_path / "terms.json")[1]["samples"] == 20
    assert run("data-report", file, tmp_path / "terms.json")[1]["records"] == 20
    both = run("reseal", file, tmp_path / "sealed", "--for", tmp_path / "other.pem")[1]
    assert both["sealed_for"] == sorted([MINE.public_key_sha256, OTHER.public_key_sha256])
    alone = run("reseal", file, tmp_path / "sealed", "--new-key")[1]
    assert alone["sealed_for"] == [MINE.public_key_sha256]
