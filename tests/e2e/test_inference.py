"""Private predictions between hospitals of a running consortium, by the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.network_scenario import NetworkScenario
from support.networks import KINDS
from support.scenario import HOSPITALS, terms

from chaincode.schema.base import ContentRef
from chaincode.schema.data import Feature, TensorTerms
from chaincode.schema.errors import Code
from chaincode.schema.plans import ModelTerms, PlanTerms
from client.cli.main import cli
from client.content import DirectoryStore
from network.base import up
from trainer.models import registry, weights
from trainer.training import parameters

ONE, TWO, THREE, FOUR = HOSPITALS
CONFIG = {
    "channels": 1,
    "height": 4,
    "width": 4,
    "classes": 2,
    "filters": 2,
    "stride": 1,
    "pool": 2,
}
Command = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def module() -> Any:
    """An untrained model: what it predicts is to be the same, not to be right."""
    torch.manual_seed(1)
    made = registry.build("square-cnn", CONFIG)
    for parameter in made.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module", params=KINDS)
def life(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NetworkScenario]:
    network = up(tmp_path_factory.mktemp("inference") / "consortium", request.param, 4)
    try:
        running = NetworkScenario(network)
        running.found()
        running.enrol()
        yield running
        running.close()
    finally:
        network.down()


@pytest.fixture(scope="module")
def address(life: NetworkScenario, store: Path, module: Any) -> str:
    """Of the model, which a plan that was approved begins from."""
    shapes = registry.layout(module)
    ref = DirectoryStore(store).put(weights.encode(parameters(module), shapes))
    plan = _plan(ref, shapes)
    life.propose(plan)
    life.approve(plan)
    return ref.sha256


@pytest.fixture
def command(life: NetworkScenario, store: Path, tmp_path: Path) -> Command:
    """``medfabric node infer`` as a hospital's node; its exit code, and what it says."""

    def run(msp_id: str, word: str, *rest: object) -> tuple[int, Any]:
        layout, slug = life.network.layout, life._slugs[msp_id]
        config = {
            "connection": str(layout.connection(slug).resolve()),
            "identity": str(layout.user(slug, "node1").resolve()),
            "home": "home",
            "store": {"kind": "directory", "folder": str(store)},
        }
        node = tmp_path / f"{slug}.json"
        node.write_text(json.dumps(config))
        words = ["node", "infer", word, str(node), *map(str, rest), "--json"]
        done = CliRunner().invoke(cli, words)
        life.settle(life._consortium(msp_id, "admin"))
        return done.exit_code, json.loads(done.stdout or done.stderr)

    return run


def test_a_hospital_asks_two_others_of_which_one_lies(
    life: NetworkScenario, address: str, command: Command, module: Any, tmp_path: Path
) -> None:
    images = np.random.default_rng(1).uniform(0, 16, (5, 1, 4, 4))
    np.savez(tmp_path / "images.npz", features=images)
    key, query, out, other = (tmp_path / name for name in ("key", "query", "out", "other"))

    asked = command(ONE, "ask", address, tmp_path / "images.npz", "--key", key, "--out", query)[1]
    told = command(TWO, "answer", address, query, "--out", out)[1]
    lie = {"model_sha256": address, "query_sha256": asked["query"]}
    life.do(THREE, "inference:Answer", {**lie, "answer_sha256": "ab" * 32})
    opened = command(ONE, "open", out, "--key", key)[1]
    again = command(TWO, "answer", address, query, "--out", other)

    with torch.no_grad():
        expected = module(torch.from_numpy((images / 8 - 1).astype(np.float32))).numpy()
    scores = np.array([row["scores"] for row in opened["predictions"]])
    assert np.abs(scores - expected).max() < 0.02
    assert [int(row["class"]) for row in opened["predictions"]] == list(expected.argmax(axis=1))
    assert key.stat().st_mode & 0o777 == 0o600
    assert opened["answered_by"] == [f"{TWO}/node1"]
    assert opened["answered_otherwise_by"] == [f"{THREE}/node1"]
    assert again[1]["error"] == Code.DUPLICATE_CONTRIBUTION
    # What the ledger has of it: who, and hashes.
    view = life.do(FOUR, "inference:Get", lie, "auditor")
    assert view["inquiry"]["msp_id"] == ONE
    assert asked["query"] == hashlib.sha256(query.read_bytes()).hexdigest()
    assert told["answer"] == hashlib.sha256(out.read_bytes()).hexdigest()
    digests = {one["msp_id"]: one["answer_sha256"] for one in view["inferences"]}
    assert digests == {TWO: told["answer"], THREE: "ab" * 32}
    listed = _told(life, "queries", address)
    assert [(one["asked_by"], len(one["answers"])) for one in listed] == [(f"{ONE}/node1", 2)]


def test_what_is_not_on_the_ledger_is_neither_answered_nor_opened(
    life: NetworkScenario, address: str, command: Command, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", features=np.zeros((1, 1, 4, 4)))
    key, query, out = (tmp_path / name for name in ("key", "query", "out"))
    command(ONE, "ask", address, tmp_path / "images.npz", "--key", key, "--out", query)
    changed = bytearray(query.read_bytes())
    changed[-1] ^= 1
    (tmp_path / "changed").write_bytes(changed)

    foreign = command(TWO, "answer", address, tmp_path / "changed", "--out", out)
    out.write_bytes(b"invented")
    invented = command(ONE, "open", out, "--key", key)

    assert foreign[1]["error"] == Code.NOT_FOUND
    assert invented[1]["error"] == Code.NOT_ANSWERED


def test_a_recalled_model_is_neither_asked_nor_answers_nor_is_believed(
    life: NetworkScenario, address: str, command: Command, tmp_path: Path
) -> None:
    np.savez(tmp_path / "images.npz", features=np.zeros((1, 1, 4, 4)))
    key, query, out, more = (tmp_path / name for name in ("key", "query", "out", "more"))
    command(ONE, "ask", address, tmp_path / "images.npz", "--key", key, "--out", query)
    command(TWO, "answer", address, query, "--out", out)
    recall = {"sha256": address, "reason": "a label was wrong"}
    motion = life.do(TWO, "model:ProposeRecall", recall)
    for hospital in (ONE, TWO, THREE):
        life.vote(hospital, "recall", address, motion["terms_sha256"])
    life.do(ONE, "consortium:Advance", {"subject": "recall", "subject_id": address})

    refused = [
        command(ONE, "ask", address, tmp_path / "images.npz", "--key", more, "--out", more),
        command(THREE, "answer", address, query, "--out", more),
        command(ONE, "open", out, "--key", key),
    ]

    assert [told["error"] for _, told in refused] == [Code.MODEL_RECALLED] * 3
    assert not more.exists()


def test_a_model_is_lent_encrypted_and_scores_another_hospitals_records(
    life: NetworkScenario, command: Command, tmp_path: Path
) -> None:
    plan = _linear_plan()
    life.propose(plan)
    draw = np.random.default_rng(1)
    weight, bias = draw.normal(size=(2, 4)), draw.normal(size=2)
    model = registry.build("logistic", plan.model.config)
    flat = np.concatenate([bias, weight.reshape(-1)]).astype(np.float32)
    (tmp_path / "model").write_bytes(weights.encode(flat, registry.layout(model)))
    values = draw.uniform(0, 2, (7, 4))
    np.savez(tmp_path / "records.npz", features=values)

    def lent(name: str) -> tuple[Path, Path]:
        key, out = tmp_path / f"key {name}", tmp_path / f"lent {name}"
        files = (tmp_path / "model", "--to", TWO, "--key", key, "--out", out)
        told = command(ONE, "lend", plan.plan_id, *files)
        assert told[0] == 0, told
        return key, out

    key, first = lent("1")
    scores, records = tmp_path / "scores", tmp_path / "records.npz"
    elsewhere = command(THREE, "score", plan.plan_id, first, records, "--out", scores)[1]
    assert not scores.exists()
    told = command(TWO, "score", plan.plan_id, first, records, "--out", scores)[1]
    read = command(ONE, "read", scores, "--key", key)[1]
    (tmp_path / "invented").write_bytes(scores.read_bytes()[:-1] + b"x")
    invented = command(ONE, "read", tmp_path / "invented", "--key", key)[1]
    more = [
        command(TWO, "score", plan.plan_id, lent(str(number))[1], records, "--out", scores)
        for number in (2, 3, 4)
    ]

    expected = (values - 1) @ weight.T + bias
    found = np.array([row["scores"] for row in read["predictions"]])
    assert np.abs(found - expected).max() < 0.02
    assert [row["class"] for row in read["predictions"]] == [
        "no" if row[0] > row[1] else "yes" for row in expected
    ]
    assert key.stat().st_mode & 0o777 == 0o600
    # What many models could read of a record together, they do not get.
    assert [code for code, _ in more] == [0, 0, 7]
    assert more[-1][1]["error"] == Code.NOT_PRIVATE
    # What the ledger has of it: who lent what to whom, who scored, and hashes.
    assert elsewhere["error"] == Code.GRANT_MISSING
    assert invented["error"] == Code.NOT_ANSWERED
    assert read["scored_by"] == f"{TWO}/node1"
    loans = {one["lent"]: one for one in _told(life, "loans", plan.plan_id)}
    assert len(loans) == 4
    loan = loans[hashlib.sha256(first.read_bytes()).hexdigest()]
    assert loan["model"] == hashlib.sha256((tmp_path / "model").read_bytes()).hexdigest()
    assert (loan["lent_by"], loan["lent_to"]) == (f"{ONE}/node1", TWO)
    assert loan["scores"] == [{"scores": told["scores"], "scored_by": f"{TWO}/node1", "records": 7}]


def _told(life: NetworkScenario, word: str, subject: str) -> list[dict[str, Any]]:
    layout, slug = life.network.layout, life._slugs[FOUR]
    who = ["--connection", layout.connection(slug), "--identity", layout.user(slug, "auditor")]
    words = ["admin", "model", word, subject, *map(str, who), "--json"]
    found: list[dict[str, Any]] = json.loads(CliRunner().invoke(cli, words).stdout)
    return found


def _linear_plan() -> PlanTerms:
    plan = terms("records", ceremony_seconds=1000)
    columns = tuple(Feature(name=f"x{n}", low_micro=0, high_micro=2_000_000) for n in range(4))
    config = {"features": 4, "classes": 2}
    shapes = registry.layout(registry.build("logistic", config))
    changed = {
        "config": config,
        "architecture_sha256": registry.sha256("logistic", config, shapes),
        "parameters": registry.size(shapes),
    }
    return plan.model_copy(
        update={
            "model": plan.model.model_copy(update=changed),
            "data": plan.data.model_copy(update={"features": columns}),
        }
    )


def _plan(ref: ContentRef, shapes: registry.Layout) -> PlanTerms:
    plan = terms("images", ceremony_seconds=1000)
    tensor = TensorTerms(shape=(1, 4, 4), low_micro=0, high_micro=16_000_000)
    data = {"features": (), "tensor": tensor, "classes": ("0", "1")}
    model = ModelTerms(
        architecture="square-cnn",
        config=CONFIG,
        architecture_sha256=registry.sha256("square-cnn", CONFIG, shapes),
        parameters=registry.size(shapes),
        base=ref,
    )
    return plan.model_copy(update={"model": model, "data": plan.data.model_copy(update=data)})
