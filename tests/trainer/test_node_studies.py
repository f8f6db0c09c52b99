"""A study by the hospitals' own agents: what is decrypted is what the records sum to."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.ledger_consortium import LedgerConsortium
from support.scenario import BAD, HOSPITALS, Scenario, at, dataset_args, terms
from support.studies import DATA, HOLDER, OWNERS, Steps, study_terms

from chaincode.schema import keys, studies
from chaincode.schema.encryption import EncryptionTerms
from chaincode.schema.errors import Code, MedFabricError
from chaincode.schema.plans import PlanTerms, ScheduleTerms
from chaincode.schema.studies import (
    Selection,
    Statistic,
    StudyDataset,
    StudyPrivacy,
    StudyShareProof,
    StudyTerms,
    StudyView,
)
from client.content import DirectoryStore
from trainer.data.files import load
from trainer.data.studied import values
from trainer.node.agent import Agent
from trainer.node.ceremony import KeyKeeper
from trainer.node.config import load as load_config
from trainer.node.content import Exchange
from trainer.node.duties import Me
from trainer.node.home import Home
from trainer.node.main import _studies, build, describe_data, open_store
from trainer.node.studies import Studies
from trainer.privacy import statistics
from trainer.privacy.sampling import fresh
from trainer.privacy.wire import Kind
from trainer.randomness import Secrets

RECORDS = 30
NEVER = 2**40


def _plan() -> PlanTerms:
    """With a key of any three hospitals, and no round for a long time."""
    times = dict.fromkeys(("ceremony_seconds", "update_seconds", "stage_seconds"), 10_000)
    changes = {
        "encryption": EncryptionTerms(threshold=3),
        "schedule": ScheduleTerms(first_round_at=NEVER),
    }
    return terms("plan-9", **times).model_copy(update=changes)


class Nodes:
    """The four hospitals' agents on one ledger and one store."""

    def __init__(self, folder: Path) -> None:
        self.scenario = at("enrolled")
        self.folder = folder
        self.store = DirectoryStore(folder / "store")
        self.homes: list[Home] = []
        self.agents: dict[str, Agent] = {}
        self._consortia: dict[str, LedgerConsortium] = {}
        for number, hospital in enumerate(HOSPITALS):
            self.agents[hospital] = self._agent(hospital, number)

    def _agent(self, hospital: str, number: int) -> Agent:
        path = self.folder / hospital
        path.mkdir()
        _write_records(path / "records.csv", number)
        name = f"{hospital.lower()}-masses"
        config = {
            "connection": "none",
            "identity": "none",
            "home": "home",
            "store": {"kind": "directory", "folder": str(self.folder / "store")},
            "datasets": [{"file": "records.csv", "dataset_id": name}],
        }
        (path / "node.json").write_text(json.dumps(config))
        (path / "terms.json").write_text(DATA.model_dump_json())
        about = describe_data(path / "node.json", path / "terms.json")
        registered = dataset_args(name) | {k: v for k, v in about.items() if k != "dataset_id"}
        self.scenario.do(hospital, "dataset:Register", registered)
        consortium = LedgerConsortium(self.scenario, hospital, "node1")
        self._consortia[hospital] = consortium
        home = Home(path / "home")
        self.homes.append(home)
        return build(load_config(path / "node.json"), consortium.identity, consortium, home)

    def run(self, until: Any) -> None:
        for _ in range(40):
            for agent in self.agents.values():
                if until():
                    return
                agent.run(once=True)
        raise AssertionError("the agents do not get there")

    def view(self, study: StudyTerms) -> StudyView:
        return self._consortia[HOLDER].studies.get(study_id=study.study_id)

    def studies(self, hospital: str) -> Studies:
        """What the hospital's agent does studies by, on its own folder."""
        path, consortium = self.folder / hospital, self._consortia[hospital]
        config, home = load_config(path / "node.json"), self.homes[HOSPITALS.index(hospital)]
        identity, made = consortium.identity, Secrets()
        exchange = Exchange(open_store(config), home, consortium)
        keys = KeyKeeper(hospital, consortium, home, exchange, made)
        me = Me(hospital, identity.name, frozenset(identity.roles))
        return _studies(config, me, consortium, home, exchange, keys, made)

    def raw(self, hospital: str, study: StudyTerms) -> np.ndarray:
        return values(load(self.folder / hospital / "records.csv", DATA), study)

    def close(self) -> None:
        for home in self.homes:
            home.close()


def _write_records(path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["radius", "texture", "ward", "malignant"])
        for _ in range(RECORDS):
            radius, texture = draw.normal(15, 4), draw.normal(20, 5)
            sick = "yes" if radius + draw.normal(0, 2) > 15 else "no"
            rows.writerow([radius, texture, draw.choice(["east", "west"]), sick])


def _begun(nodes: Nodes, plan: PlanTerms, study: StudyTerms) -> Steps:
    """The study's steps, of which the first are done: owners may hand their records over."""
    steps = Steps(nodes.scenario, plan, study)
    for step in (steps.propose, steps.consent, steps.approve, steps.advance):
        step()
    return steps


def _study(plan: PlanTerms, **changes: Any) -> StudyTerms:
    datasets = tuple(StudyDataset(msp_id=h, dataset_id=f"{h.lower()}-masses") for h in OWNERS)
    return study_terms(plan, datasets=datasets, stage_seconds=10_000, **changes)


@pytest.fixture
def nodes(tmp_path: Path) -> Any:
    made = Nodes(tmp_path)
    yield made
    made.close()


def _confirmed(nodes: Nodes) -> PlanTerms:
    plan = _plan()
    for step in (nodes.scenario.propose, nodes.scenario.consent, nodes.scenario.approve):
        step(plan)
    nodes.run(lambda: _plan_status(nodes.scenario, plan) == "ACTIVE")
    return plan


def _plan_status(scenario: Scenario, plan: PlanTerms) -> str:
    found = scenario.do(HOSPITALS[0], "plan:Get", {"plan_id": plan.plan_id})
    return str(found["plan"]["status"])


def test_the_agents_decrypt_what_the_records_sum_to(nodes: Nodes) -> None:
    plan = _confirmed(nodes)
    study = _study(plan)
    steps = _begun(nodes, plan, study)

    nodes.run(lambda: steps.study()["status"] == "PUBLISHED")

    result = nodes.scenario.do(HOSPITALS[3], "study:Get", steps.which)["result"]
    wanted = sum(nodes.raw(hospital, study).sum(axis=0) for hospital in OWNERS)
    assert result["sums"] == list(map(int, wanted))
    assert result["records"] == 3 * RECORDS


def test_the_holder_chooses_records_and_nothing_else_is_in_the_sum(nodes: Nodes) -> None:
    plan = _confirmed(nodes)
    study = _study(
        plan, holder_selects=True, statistics=(Statistic.MEAN,), logistic=None, linear=()
    )
    steps = _begun(nodes, plan, study)
    nodes.run(lambda: steps.study()["status"] == "HELD")
    places = [(0, 3, 20), (0, 25, 30), (2, 0, 12)]
    chosen = [
        Selection(dataset_id=study.datasets[d].dataset_id, first=a, last=b) for d, a, b in places
    ]

    nodes.studies(HOLDER).sum(nodes.view(study), chosen)
    nodes.run(lambda: steps.study()["status"] == "PUBLISHED")

    result = nodes.scenario.do(HOSPITALS[3], "study:Get", steps.which)["result"]
    wanted = sum(nodes.raw(OWNERS[d], study)[a:b].sum(axis=0) for d, a, b in places)
    assert result["sums"] == list(map(int, wanted))
    assert result["records"] == 34
    assert result["dataset_ids"] == [study.datasets[0].dataset_id, study.datasets[2].dataset_id]


def test_a_hospital_shares_in_one_sum_alone_with_noise_or_without(nodes: Nodes) -> None:
    plan = _confirmed(nodes)
    study = _study(plan, privacy=StudyPrivacy(noise_milli=20_000, quorum=3))
    steps = _begun(nodes, plan, study)
    nodes.run(lambda: steps.study()["status"] == "PUBLISHED")
    other = nodes.view(study)
    assert other.study.sum is not None
    assert other.result is not None
    exact = sum(nodes.raw(hospital, study).sum(axis=0) for hospital in OWNERS)
    assert other.result.sums[0] == exact[0]
    assert other.result.sums != tuple(map(int, exact))
    changed = other.study.sum.model_copy(update={"sha256": "ab" * 32})
    forged = other.model_copy(update={"study": other.study.model_copy(update={"sum": changed})})

    assert len(other.shares) == 3
    for hospital in HOSPITALS:
        with pytest.raises(MedFabricError, match=Code.AGGREGATE_REFUSED):
            nodes.studies(hospital)._share(forged)


def test_records_that_are_not_proven_sound_are_left_out(nodes: Nodes) -> None:
    plan = _confirmed(nodes)
    study = _study(plan)
    steps = _begun(nodes, plan, study)
    spoiled = study.datasets[1]
    assert isinstance(plan.encryption, EncryptionTerms)
    content = bytes(studies.deposit_bytes(study, plan.encryption, RECORDS))
    ref = nodes.store.put(content).model_dump()
    args = {**steps.which, "dataset_id": spoiled.dataset_id, "content": ref, "records": RECORDS}
    nodes.scenario.do(spoiled.msp_id, "study:Deposit", args)

    nodes.run(lambda: steps.study()["status"] == "PUBLISHED")

    result = nodes.scenario.do(HOSPITALS[3], "study:Get", steps.which)["result"]
    wanted = sum(nodes.raw(h, study).sum(axis=0) for h in (OWNERS[0], OWNERS[2]))
    assert result["sums"] == list(map(int, wanted))
    assert spoiled.dataset_id not in result["dataset_ids"]
    assert steps.study()["unsound"] == [spoiled.dataset_id]
    for subject, name in (("hospital", OWNERS[1]), ("node", f"{OWNERS[1]}/node1")):
        booked = nodes.scenario.asset(keys.reputation(subject, name))["tallies"]
        assert booked["content"][BAD] == 1


def test_the_others_decrypt_where_a_key_holder_stays_away(nodes: Nodes) -> None:
    plan = _confirmed(nodes)
    study = _study(plan)
    steps = _begun(nodes, plan, study)
    nodes.run(lambda: steps.study()["status"] == "AGREED")
    shared = [share.msp_id for share in nodes.view(study).shares]
    away = next(h for h in steps.study()["key_holders"] if h not in shared)
    del nodes.agents[away]
    nodes.run(lambda: len(nodes.view(study).shares) == 2)
    nodes.scenario.wait(20_000)

    again = steps.advance()
    nodes.run(lambda: steps.study()["status"] == "PUBLISHED")

    assert (again["attempt"], again["silent"]) == (2, [away])
    result = nodes.scenario.do(HOSPITALS[3], "study:Get", steps.which)["result"]
    wanted = sum(nodes.raw(hospital, study).sum(axis=0) for hospital in OWNERS)
    assert result["sums"] == list(map(int, wanted))


def test_whose_share_is_wrong_is_named_by_the_others(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a part of the key that was dealt."""
    plan = _confirmed(nodes)
    study = _study(plan)
    steps = _begun(nodes, plan, study)
    nodes.run(lambda: steps.study()["status"] == "AGREED")
    shared = [share.msp_id for share in nodes.view(study).shares]
    liar = next(h for h in steps.study()["key_holders"] if h not in shared)
    del nodes.agents[liar]
    with monkeypatch.context() as lying:
        lying.setattr("trainer.privacy.statistics.Study.share", _false_share)
        nodes.studies(liar)._share(nodes.view(study))

    nodes.run(lambda: steps.study()["status"] == "DISPUTED")
    with pytest.raises(MedFabricError, match=Code.SHARE_UNPROVEN):
        nodes.studies(liar)._prove(nodes.view(study))
    with monkeypatch.context() as careless:
        careless.setattr("trainer.privacy.rns.Rns.bounded", lambda *_: True)
        nodes.studies(liar)._prove(nodes.view(study))
    nodes.run(lambda: len(nodes.view(study).verdicts) == 3)
    nodes.scenario.wait(20_000)
    failed = steps.advance()

    assert (failed["failure"], failed["unproven"]) == (Code.DECRYPTION_FAILED, [liar])


def _false_share(study: statistics.Study, *_: Any) -> bytes:
    """Of the right form, and of nothing."""
    form = study.form(Kind.SHARE)
    return form.encode(fresh().uniform(form.degree, form.primes)[None, None])


def test_what_a_key_holder_does_not_give_in_time_counts_against_it(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _confirmed(nodes)
    study = _study(plan)
    steps = _begun(nodes, plan, study)
    nodes.run(lambda: steps.study()["status"] == "DECRYPTED")
    view, (away, *_) = nodes.view(study), steps.study()["key_holders"]
    other = next(h for h in HOSPITALS if h != away)
    missing = next(s.share for s in view.shares if s.msp_id == away)
    studies_, fetch = nodes.studies(other), Exchange.fetch

    def withholding(exchange: Exchange, ref: Any) -> bytes:
        if ref == missing:
            raise MedFabricError(Code.CONTENT_MISSING, "it is not there")
        return fetch(exchange, ref)

    monkeypatch.setattr(Exchange, "fetch", withholding)
    quarter, end = study.stage_seconds / 4, view.study.deadline
    monkeypatch.setattr("time.time", lambda: end - quarter - 1)
    with pytest.raises(MedFabricError, match=Code.CONTENT_MISSING):
        studies_._find(view)
    monkeypatch.setattr("time.time", lambda: end - quarter + 1)
    studies_._find(view)
    given = StudyShareProof(
        study_id=study.study_id, msp_id=away, node_id="node1", proof=missing, posted_at=1
    )

    assert next(f for f in nodes.view(study).findings if f.msp_id == other).sums == ()
    assert studies_._refuted(view, given)
